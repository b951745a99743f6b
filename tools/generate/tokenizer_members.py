#!/usr/bin/env python3
"""Writes testdata/tokenizer-pipelines/members.jsonl: small tokenizer.json files of which one member is absent, null or of another type, and
what the Hugging Face `tokenizers` library makes of them.

    pip install tokenizers==0.23.3
    tools/generate/tokenizer_members.py > testdata/tokenizer-pipelines/members.jsonl

One line per file: `name`; `tokenizer`; `text`; `ids`, those of the library, or null where it refuses the file; `original`, those of the
file before the change.
"""
import copy
import json
import os

from tokenizers import Tokenizer

from tokenizer_pipelines import added, bpe, replace, sequence, unigram

TEXT = "Hello  ab abab café 12 a,b x▁y 你 "
LETTERS = "▁ Helo abcfxy12,é你你ĠAB_"
MARKED = {"single": [{"SpecialToken": {"id": "[A]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
          "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
          "special_tokens": {"[A]": {"id": "[A]", "ids": [1], "tokens": ["[A]"]}}}


def letters(**options):
    return bpe(["<unk>", "[A]", "[B]", "##b", "b</w>"] + sorted(set(LETTERS)), [("a", "b")], **{"unk_token": "<unk>", **options})


def words():
    return {t: i for i, t in enumerate(["<unk>", "[A]", "[B]", "ab", "##ab", "a", "b", "Hello", "12", "hello"])}


def bases():
    """Name, the parts of a tokenizer.json; together every component, with values that are no defaults."""
    yield "bpe", {"model": letters(fuse_unk=True, continuing_subword_prefix=None)}
    yield "bpe-affixes", {"model": {**letters(continuing_subword_prefix="##", end_of_word_suffix="</w>"), "merges": []}}
    yield "unigram", {"model": {**unigram("a", "ab", "b", "▁", "H", "e", "<0xC3>", "<0xA9>"), "byte_fallback": True}}
    yield "wordpiece", {"model": {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 4, "vocab": words()},
                        "pre_tokenizer": {"type": "BertPreTokenizer"}}
    yield "wordlevel", {"model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": words()}, "pre_tokenizer": {"type": "Whitespace"}}
    yield "normalizers", {"model": letters(), "normalizer": sequence(
        "n", {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False, "strip_accents": True, "lowercase": False},
        {"type": "Strip", "strip_left": False, "strip_right": False}, {"type": "Prepend", "prepend": "A"}, replace("a+", "B"), {"type": "NFC"})}
    yield "byte-level", {"model": letters(), "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}}
    yield "metaspace", {"model": letters(), "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": False}}
    yield "pre-tokenizers", {"model": letters(), "pre_tokenizer": sequence(
        "p", {"type": "Split", "pattern": {"String": "l"}, "behavior": "Removed", "invert": False}, {"type": "Digits", "individual_digits": True},
        {"type": "Punctuation", "behavior": "Removed"}, {"type": "CharDelimiterSplit", "delimiter": "x"})}
    yield "template", {"model": letters(), "post_processor": {"type": "TemplateProcessing", **MARKED}}
    yield "bert-processing", {"model": letters(), "post_processor": {"type": "BertProcessing", "sep": ["[B]", 2], "cls": ["[A]", 1]}}
    yield "added", {"model": letters(), "added_tokens": [added(len(letters()["vocab"]), "ab", single_word=True, lstrip=True, rstrip=True, normalized=True)]}


def mutants(value, path=()):
    """(path, the value put there) of every structural member; `...` takes it away."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if path[-1:] == ("model",) and key in ("vocab", "merges") or "special_tokens" in path or key == "type_id":
            continue
        yield path + (key,), ...
        yield path + (key,), None
        yield path + (key,), 7 if isinstance(item, (str, bool)) else "text"
        yield from mutants(item, path + (key,))


def changed(tokenizer, path, value):
    out = copy.deepcopy(tokenizer)
    at = out
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return out


def ids(tokenizer):
    """None where the library refuses, or panics."""
    try:
        return Tokenizer.from_str(json.dumps(tokenizer)).encode(TEXT).ids
    except BaseException as error:  # pylint: disable=broad-except
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return None


def main():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # panics write there
    for name, parts in bases():
        base = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, **parts}
        original = ids(base)
        changes = [c for c in mutants(base) if len(parts) == 1 or c[0][0] in parts and (c[0][0] != "model" or name.startswith("word"))]
        for path, value in changes:
            tokenizer = changed(base, path, value)
            what = "absent" if value is ... else json.dumps(value)
            print(json.dumps({"name": f"{name}: {'.'.join(map(str, path))} {what}", "tokenizer": tokenizer, "text": TEXT,
                              "ids": ids(tokenizer), "original": original}, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
