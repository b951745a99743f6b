#!/usr/bin/env python3
"""Writes testdata/tokenizer-pipelines/cases.jsonl: small pipelines, texts, and what the Hugging Face `tokenizers` library makes of them.

    pip install tokenizers==0.23.3
    tools/generate/tokenizer_pipelines.py > testdata/tokenizer-pipelines/cases.jsonl

One line per pipeline: `name`; `tokenizer`, the tokenizer.json; `cases`, each with `text`, `ids`, `special` (ids with the tokens that
the post-processor adds), `decoded` (of `ids`) and `hidden` (the same with special tokens left out). Every one stands for a rule of the library that is easily missed.
"""
import json

from tokenizers import Tokenizer, pre_tokenizers

BYTES = ["<0x%02X>" % b for b in range(256)]
FIRST = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
ALWAYS = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
NEVER = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}
BLANKS = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
UNIGRAM = {"type": "Unigram", "unk_id": 0, "byte_fallback": False}


def sequence(kind, *steps):
    return {"type": "Sequence", {"n": "normalizers", "p": "pretokenizers", "d": "decoders"}[kind]: list(steps)}


def split(regex, behavior="Isolated"):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}


def replace(regex, content):
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def added(identifier, content, **flags):
    return {"id": identifier, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False,
            **flags}


def bpe(tokens, merges=(), **options):
    tokens = list(tokens) + [a + b for a, b in merges if a + b not in tokens]
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "ignore_merges": False, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges], **options}


def llama(letters, merges=()):
    return bpe(["<unk>"] + BYTES + list("▁" + letters), merges, unk_token="<unk>", byte_fallback=True)


def wordpiece(*tokens):
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {t: i for i, t in enumerate(("[UNK]",) + tokens)}}


def unigram(*pieces):
    return {**UNIGRAM, "vocab": [["<unk>", 0.0]] + [[p, -float(i + 1)] for i, p in enumerate(pieces)]}


def pipelines():
    # Metaspace "first": where the beginning of a text is after a normalizer.
    letters = llama("abcefix1éÉ\u0301X", [("▁", "a"), ("▁", "b")])
    texts = ["a b", "\x01a b", "\x01\x01 a", "\ue000a", " a", "éa b", "é", "e\u0301\u0301a", "ﬁa b", "1a", "a1b", "", "aab", "xxa", "\u0301a", "É1"]
    for name, normalizer, steps in (
            ("first-clean", {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": False, "lowercase": True}, [FIRST]),
            ("first-nfd", {"type": "NFD"}, [split(r"\p{M}"), FIRST]), ("first-nfc", {"type": "NFC"}, [split(r"\p{M}"), FIRST]),
            ("first-nfkc", {"type": "NFKC"}, [split("i"), FIRST]), ("first-strip", {"type": "Strip", "strip_left": True, "strip_right": False}, [FIRST]),
            ("first-accents", sequence("n", {"type": "NFD"}, {"type": "StripAccents"}), [FIRST]),
            ("first-replace-removes", replace("x+", ""), [FIRST]), ("first-replace-one", replace("a", "bb"), [split("b"), FIRST]),
            ("first-replace-many", replace("aa|xx", "bX"), [split("b"), FIRST]), ("first-prepend", {"type": "Prepend", "prepend": "x"}, [split("x"), FIRST]),
            ("first-digits", None, [{"type": "Digits", "individual_digits": True}, FIRST])):
        yield name, {"model": letters, "normalizer": normalizer, "pre_tokenizer": sequence("p", *steps)}, texts

    # Added tokens that the model lacks are no results of merges and no pieces; those that it has are words too.
    texts = ["ab", "abc", "xabx", "a b", "abx ab", "x", "ﬁ", "aﬁ", "ﬁ a", "  a", "▁▁"]
    yield "outside-bpe", {"model": llama("abcx", [("a", "b")]), "pre_tokenizer": NEVER, "added_tokens": [
        added(263, "ﬁ", single_word=True), added(264, "▁▁", lstrip=True, normalized=True), added(265, "abx", single_word=True)]}, texts
    yield "outside-unigram", {"model": unigram("▁", "a", "b", "c", "x", "▁a"), "pre_tokenizer": ALWAYS, "added_tokens": [
        added(7, "ab", single_word=True), added(8, "ﬁ", single_word=True)]}, texts
    yield "inside-wordpiece", {"model": wordpiece("ab", "##x", "##c", "a", "##ab", "x"), "pre_tokenizer": {"type": "BertPreTokenizer"}, "added_tokens": [
        added(1, "ab", single_word=True), added(6, "x", single_word=True, normalized=True), added(7, "ﬁ", single_word=True)]}, texts

    # The normalizer changes the texts of added tokens too: here they are found behind a space only, and are hidden no more.
    marks = {"model": llama("abcs<>/", [("a", "b"), ("▁", "ab")]), "normalizer": sequence("n", *BLANKS), "decoder": sequence(
        "d", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}),
        "added_tokens": [added(267, "<s>", special=True, normalized=True), added(268, "abc", normalized=True), added(269, "</s>", special=True)]}
    yield "normalized-blanks", marks, ["<s>ab", "a<s>ab", "a <s> ab", "abc abcabc", "a</s>abc</s> abc", "  abc", "ab"]

    # A list of merges that scores cannot say: not every pair that makes a token merges.
    yield "listed-merges", {"model": llama("ethn", [("h", "e"), ("t", "h"), ("th", "e"), ("e", "n"), ("th", "en"), ("▁", "th")]),
                            "pre_tokenizer": ALWAYS}, ["the then", "hethe", "tthhee", "thethen en", "  the"]
    yield "blanks-crossed", {"model": llama("ab", [("▁", "▁"), ("a", "▁"), ("▁▁", "b")]), "pre_tokenizer": NEVER}, ["a  b", "a a ", "   ", "b a  b"]

    # WordPiece finds tokens as they stand: a continuation where a word begins with its mark, U+2581 inside a word.
    yield "wordpiece-marks", {"model": wordpiece("#", "###", "##@", "##▁", "a", "##a", "▁", "▁a", "##▁a", "@"), "pre_tokenizer": {"type": "WhitespaceSplit"}}, [
        "### ##@ #", "##", "a#", "a▁", "▁a▁a", "▁ a▁a", "@a ##a", "###@"]
    yield "wordpiece-bytes", {"model": wordpiece("Ġ", "a", "##a", "##Ġ", "Ã", "##©"), "pre_tokenizer": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}}, ["a a", " ", "é", "aé", "  a"]

    # A token of spaces whose spaces the one before has taken is none.
    yield "spaces-taken", {"model": wordpiece("a"), "pre_tokenizer": {"type": "BertPreTokenizer"}, "added_tokens": [
        added(2, "\n\n", lstrip=True, rstrip=True), added(3, "  ")]}, ["\n\n\n\na", "\n\n  \n\n", "a\n\n\n\n\na", "   \n\n", "\n\n  a"]

    # Matches of nothing; texts of nothing.
    yield "empty-matches", {"model": wordpiece("X", "a", "b", "##X", "##a", "##b"), "normalizer": replace("x?", "X"), "pre_tokenizer": {"type": "WhitespaceSplit"},
                            "decoder": replace("b?", "-")}, ["ab", "", "xa", "axb", "a b"]

    # Beginning and end tokens that are not where GGUF takes them to be when nothing is said.
    around = [{"id": "<s>", "ids": [263], "tokens": ["<s>"]}, {"id": "</s>", "ids": [262], "tokens": ["</s>"]}]
    parts = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    yield "template-late-ids", {"model": llama("abcd"), "pre_tokenizer": ALWAYS, "added_tokens": [
        added(262, "</s>", special=True), added(263, "<s>", special=True)], "post_processor": {
            "type": "TemplateProcessing", "single": parts, "pair": parts + parts[1:2], "special_tokens": {t["id"]: t for t in around}}}, ["a b", "", "a</s>b"]

    # Affixes fall back to bytes with the character.
    affixes = bpe(["<unk>"] + BYTES + ["a", "##a", "a</w>", "##a</w>"], unk_token="<unk>", byte_fallback=True, continuing_subword_prefix="##",
                  end_of_word_suffix="</w>")
    yield "affixes-bytes", {"model": affixes, "pre_tokenizer": {"type": "WhitespaceSplit"}}, ["a", "aa", "éé", "b" * 30, "aéa a"]

    # An ordinary token whose text is no byte-level text is never made, whatever its bytes are.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    joiner = "\u200d"
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(joiner)[0][0]
    level_bpe = bpe([joiner, "a b"] + alphabet, [(level[0], level[1]), (level[:2], level[2]), ("a", "b")])
    yield "no-byte-level-text", {"model": level_bpe, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                                 "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}, [
        joiner, "a" + joiner + "b", joiner * 3, "ab a b", "ab" + joiner]

    # Added tokens are looked for in what the normalizer makes of the text, as it makes them.
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    yield "bert-added", {"model": wordpiece("hello", "world", "##s", "new", "##word", "cafe", "你"), "normalizer": bert, "pre_tokenizer": {"type": "BertPreTokenizer"},
                         "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}, "added_tokens": [
        added(8, "NewTok", normalized=True), added(9, "Café", normalized=True, single_word=True), added(10, "RAW"), added(11, "[É]", normalized=True, special=True, lstrip=True)]}, [
        "hello NewTok", "NewToken hello NEWTOK", "CAFÉ cafe Cafés", "raw RAW RAWs", "x [É] [e] [E]", "你newtok你"]

    # What has no token, where byte tokens lack: each run of characters one unknown token, or each character one.
    for name, fuse in (("unknown-fused", True), ("unknown-each", False)):
        for some, found in (("no-bytes", []), ("some-bytes", ["<0xC3>", "<0xA9>", "<0x78>"])):
            model = bpe(["<unk>", "▁", "a", "b", "c"] + found, [("a", "b"), ("b", "c"), ("ab", "c")], unk_token="<unk>", fuse_unk=fuse, byte_fallback=True)
            yield f"{name}-{some}", {"model": model, "normalizer": sequence("n", *BLANKS), "added_tokens": [added(0, "<unk>", special=True)]}, [
                "xyz", "    leading and trailing   ", "éa", "ab newtok", "yéy", "yyéa", "zxz c", "ëabc"]
    yield "unknown-dropped", {"model": bpe(["▁", "a", "b"], [("a", "b")], byte_fallback=True), "pre_tokenizer": ALWAYS}, ["xab", "a x b", "axb", "x"]

    # Scores as the library reads them, the last bit not always the nearest: sums tie, or do not.
    model = {**UNIGRAM, "vocab": [["<unk>", 0.0], ["x", -9.353443465588871], [" ", -2.3284786277849827], [" " * 16, -6.716574757167143], ["j", -6.480529490522749],
                                  ["id", -6.3416313623531435]]}
    yield "scores-last-bit", {"model": model}, ["j  id  x" + " " * 17, "x" + " " * 17, "xx" + " " * 18, "jidx" + " " * 33]

    # The type of a model that does not say it.
    yield "type-unigram", {"model": {k: v for k, v in unigram("a", "b", "▁").items() if k != "type"}, "pre_tokenizer": ALWAYS}, ["ab", "a x"]
    yield "type-wordpiece", {"model": {k: v for k, v in wordpiece("a", "##b").items() if k != "type"}, "pre_tokenizer": {"type": "BertPreTokenizer"}}, ["ab", "a x"]
    yield "type-wordlevel", {"model": {"unk_token": "[UNK]", "vocab": {"[UNK]": 0, "ab": 1}}, "pre_tokenizer": {"type": "BertPreTokenizer"}}, ["ab", "a x"]
    yield "type-bpe", {"model": {k: v for k, v in llama("ab", [("a", "b")]).items() if k != "type"}, "pre_tokenizer": ALWAYS}, ["ab", "a x"]


def main():
    for name, parts, texts in pipelines():
        data = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
                "post_processor": None, "decoder": None, **parts}
        library = Tokenizer.from_str(json.dumps(data))
        cases = []
        for text in texts:
            ids = library.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "ids": ids, "special": library.encode(text).ids, "decoded": library.decode(ids, skip_special_tokens=False), "hidden": library.decode(ids)})
        print(json.dumps({"name": name, "tokenizer": data, "cases": cases}))


if __name__ == "__main__":
    main()
