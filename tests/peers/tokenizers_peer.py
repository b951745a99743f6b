#!/usr/bin/env python3
"""Random strings over all assigned code points: `smelt tokenize --jsonl` against the `tokenizers` library.

    pip install tokenizers==0.23.3
    tests/peers/tokenizers_peer.py SMELT FOLDER... [--count 2000] [--seed 1]

FOLDER holds a tokenizer.json. Exit status 1 when any ids differ; the first difference of each folder is shown.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer


def assigned():
    return [chr(c) for c in range(0x110000)
            if not 0xD800 <= c <= 0xDFFF and unicodedata.category(chr(c)) != "Cn"]


def random_text(rng, characters):
    parts = []
    for _ in range(rng.randrange(1, 12)):
        kind = rng.randrange(4)
        if kind == 0:
            parts.append("".join(rng.choice(characters) for _ in range(rng.randrange(1, 6))))
        elif kind == 1:
            start = rng.randrange(len(characters) - 8)
            parts.append("".join(rng.sample(characters[start:start + 8], rng.randrange(1, 8))))
        elif kind == 2:
            parts.append("".join(rng.choice(" \n\t\r.,!'-_/0123456789abcSTéß") for _ in range(rng.randrange(1, 8))))
        else:
            parts.append(rng.choice([" ", "  ", "\n\n", "'s", "don't", "https://x.y/z", "12345"]))
    return "".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("smelt")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    characters = assigned()
    failed = False
    for folder in arguments.folders:
        library = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        library.no_truncation()
        library.no_padding()
        texts = [random_text(rng, characters) for _ in range(arguments.count)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        run = subprocess.run([arguments.smelt, "tokenize", folder, "--jsonl", "--no-special"], input=lines,
                             capture_output=True, text=True, check=False)
        if run.returncode != 0:
            print(f"{folder}: {run.stderr.strip()}")
            failed = True
            continue
        ours = [json.loads(line)["ids"] for line in run.stdout.splitlines()]
        theirs = [library.encode(text, add_special_tokens=False).ids for text in texts]
        wrong = [i for i in range(len(texts)) if ours[i] != theirs[i]]
        print(f"{folder}: {len(texts) - len(wrong)} of {len(texts)} equal")
        if wrong:
            failed = True
            print(f"  {ascii(texts[wrong[0]])}\n  ours   {ours[wrong[0]]}\n  theirs {theirs[wrong[0]]}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
