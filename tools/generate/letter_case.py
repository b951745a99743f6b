#!/usr/bin/env python3
"""Writes testdata/text/letter_case.txt: which characters the `tokenizers` library (0.23.3) takes for one letter in (?i:...).

    pip install tokenizers==0.23.3
    tools/generate/letter_case.py > testdata/text/letter_case.txt

A line has the code points of one letter. Characters whose other form is several characters (U+00DF and ss) are left out.
"""
import unicodedata

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

CASED = [c for c in map(chr, range(0x20000)) if unicodedata.category(c) in ("Lu", "Ll", "Lt") or (c.lower(), c.upper()) != (c, c)]
TEXT = " ".join(c for c in CASED if len(c.casefold()) == 1)

letters = set()
for character in TEXT.split():
    found = Split(Regex(f"(?i:{character})"), "removed", invert=True).pre_tokenize_str(TEXT)
    letters.add(" ".join(sorted(f"{ord(text):04X}" for text, _ in found)))
print("\n".join(sorted(letters)))
