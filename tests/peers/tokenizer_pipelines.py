#!/usr/bin/env python3
"""Pipelines put together at random from every component of the `tokenizers` library, models trained on the fixtures' text: `smelt
tokenize` against the library, from the files and through the vocabulary that `smelt convert --vocab-only` writes of them.

    pip install tokenizers==0.23.3
    tests/peers/tokenizer_pipelines.py --smelt SMELT --shared SHARED --work WORK [--count 60] [--seed 1] [--only N]

Ids without and with special tokens and the decoded text must be the library's. A conversion may be refused (no GGUF form), but what it
writes must encode equally. Exit status 1 when anything differs; pipelines that differ are left in WORK.
"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import peers
from tokenizers_peer import assigned, random_text

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = [
    GPT2, LLAMA3, LLAMA3.replace("{1,3}", ""), r"\s+", r"\d{1,3}", r"[0-9]{3}", r"\p{L}+", r"\w+|[^\w\s]+", r"[a-z]+", r" ", r"e", r"\p{P}", r"(?=[A-Z])",
    r"[^\S\n]+", r"\p{Lu}\p{Ll}*", r"(\p{N}|\p{S})+", r".{1,4}", r"\s*\p{L}+", r"[\p{Han}]", r"(?:a|e|i|o|u)+?", r"\n+|\r",
    r"(?<=\d)(?=\p{L})", r"(?<!\s)\s(?!\s)", r"[ \t]+\n", r"\b", r"\p{M}+", r"[^\x00-\x7f]+", r"ab|abc", r"(?i:the)", r"\A.", r"x?",
    r"t(?i)he|an", r"(?>a|an)d", r"^.", r"\s\Z", r"(?:\p{L}\p{M}*)++", r"(?:|e)+", r"(?i:[éüж])", r"(?=th|an)", r"e(?#comment)+", r"(?<=^)\w", r"(?<!th|an)\B",
]
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]


def some(rng, choices, low, high):
    return [rng.choice(choices)(rng) for _ in range(rng.randrange(low, high + 1))]


def pattern(rng):
    return Regex(rng.choice(PATTERNS)) if rng.random() < 0.7 else rng.choice([" ", "e", "th", "\n", "▁", "  ", "."])


NORMALIZERS = [
    lambda r: normalizers.NFC(), lambda r: normalizers.NFD(), lambda r: normalizers.NFKC(), lambda r: normalizers.NFKD(),
    lambda r: normalizers.Lowercase(), lambda r: normalizers.StripAccents(), lambda r: normalizers.Strip(r.random() < 0.5, r.random() < 0.5),
    lambda r: normalizers.Nmt(), lambda r: normalizers.Replace(pattern(r), r.choice(["", " ", "▁", "X", "ab", "\\1$0"])),
    lambda r: normalizers.Prepend(r.choice(["▁", " ", "x"])),
    lambda r: normalizers.BertNormalizer(r.random() < 0.5, r.random() < 0.5, r.choice([None, True, False]), r.random() < 0.5),
]
PRE_TOKENIZERS = [
    lambda r: pre_tokenizers.Split(pattern(r), r.choice(BEHAVIORS), r.random() < 0.3),
    lambda r: pre_tokenizers.Split(pattern(r), r.choice(BEHAVIORS), r.random() < 0.3),
    lambda r: pre_tokenizers.Digits(r.random() < 0.5), lambda r: pre_tokenizers.Punctuation(r.choice(BEHAVIORS)),
    lambda r: pre_tokenizers.Whitespace(), lambda r: pre_tokenizers.WhitespaceSplit(), lambda r: pre_tokenizers.BertPreTokenizer(),
    lambda r: pre_tokenizers.CharDelimiterSplit(r.choice([" ", "e", "\n", "é"])),
    lambda r: pre_tokenizers.Metaspace(r.choice(["▁", "_"]), r.choice(["always", "never", "first"]), r.random() < 0.6),
    lambda r: pre_tokenizers.ByteLevel(r.random() < 0.5, False, r.random() < 0.5),
]


def normalizer(rng):
    parts = some(rng, NORMALIZERS, 0, 3)
    return None if not parts else parts[0] if len(parts) == 1 and rng.random() < 0.5 else normalizers.Sequence(parts)


def decoder(rng, kind):
    if kind == "bytes":
        return decoders.ByteLevel() if rng.random() < 0.9 else None
    if kind == "blank":
        return rng.choice([
            lambda: decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
            lambda: decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
            lambda: decoders.Metaspace("▁", rng.choice(["always", "never", "first"])),
        ])()
    return rng.choice([
        lambda: None, lambda: decoders.WordPiece("##", rng.random() < 0.5), lambda: decoders.BPEDecoder("</w>"), lambda: decoders.Fuse(),
        lambda: decoders.Metaspace("▁", rng.choice(["always", "never", "first"])), lambda: decoders.Strip("e", 1, 1),
        lambda: decoders.Sequence([decoders.Replace(pattern(rng), rng.choice(["", "X", " "])), decoders.Strip(" ", 1, 2), decoders.Fuse()]),
    ])()


def add_tokens(rng, tokenizer):
    contents = ["<s>", "</s>", "<pad>", "[MASK]", "the", "ab", "abc", " a", "  ", "\n\n", "É", "<|im_start|>", "e", "TH", "▁▁", "12", "<e>",
                "ﬁ", "Straße"]
    tokens = []
    for content in rng.sample(contents, rng.randrange(0, 8)):
        flags = {k: rng.random() < 0.25 for k in ("single_word", "lstrip", "rstrip")}
        special = content.startswith(("<", "["))
        tokens.append(AddedToken(content, normalized=rng.random() < (0.2 if special else 0.6), special=special, **flags))
    # Of two tokens that are looked for by one text the library takes any, by the order of a hash table. One of which the normalizer
    # leaves nothing it finds everywhere, also inside characters.
    seen = {(True, "")}
    for token in list(tokens):
        text = tokenizer.normalizer.normalize_str(token.content) if token.normalized and tokenizer.normalizer else token.content
        if (token.normalized, text) in seen:
            tokens.remove(token)
        seen.add((token.normalized, text))
    tokenizer.add_special_tokens([t for t in tokens if t.special])
    tokenizer.add_tokens([t for t in tokens if not t.special])


def post_processor(rng, tokenizer):
    ids = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>") if tokenizer.token_to_id(t) is not None]
    if len(ids) < 2 or rng.random() < 0.3:
        return None if rng.random() < 0.5 else processors.ByteLevel(trim_offsets=rng.random() < 0.5)
    single = rng.choice(["<s> $A </s>", "<s> $A", "$A </s>", "<s>:0 $A:0 </s>:1", "<s> <s> $A </s>"])
    template = processors.TemplateProcessing(single, "<s> $A </s> $B:1 </s>:1", ids)
    return rng.choice([
        lambda: template, lambda: processors.BertProcessing(ids[1], ids[0]), lambda: processors.RobertaProcessing(ids[1], ids[0]),
        lambda: processors.Sequence([processors.ByteLevel(), template]), lambda: processors.Sequence([template, processors.ByteLevel()]),
    ])()


def byte_level(rng):
    parts = rng.choice([
        lambda: [pre_tokenizers.ByteLevel(rng.random() < 0.3, False, True)],
        lambda: [pre_tokenizers.Split(Regex(rng.choice(PATTERNS[:3])), "isolated", False), pre_tokenizers.ByteLevel(False, False, False)],
        lambda: [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False, False, True)],
        lambda: [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(False, False, True), pre_tokenizers.Digits(False),
                 pre_tokenizers.Split(Regex(r"[0-9][0-9][0-9]"), "isolated", False)],
        lambda: some(rng, PRE_TOKENIZERS[:6], 0, 2) + [pre_tokenizers.ByteLevel(rng.random() < 0.3, False, rng.random() < 0.5)],
    ])()
    return parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)


def bpe(rng, kind, text):
    options = {}
    if kind == "bytes":
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        special = []
    else:
        alphabet, special = [], ["<unk>"] + (["<0x%02X>" % b for b in range(256)] if kind == "blank" or rng.random() < 0.2 else [])
        options["unk_token"] = "<unk>"
        if rng.random() < 0.3 and kind != "blank":
            options["continuing_subword_prefix"] = "##"
        if rng.random() < 0.3 and kind != "blank":
            options["end_of_word_suffix"] = "</w>"
    tokenizer = Tokenizer(models.BPE(fuse_unk=rng.random() < 0.5, byte_fallback="<0x00>" in special and rng.random() < 0.9, **options))
    if kind == "blank":
        style = rng.randrange(4)
        if style == 0:
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        elif style == 1:
            tokenizer.normalizer = normalizers.Replace(" ", "▁")
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", rng.choice(["always", "never", "first"]), rng.random() < 0.5)
            tokenizer.normalizer = normalizer(rng) if rng.random() < 0.3 else None
    else:
        tokenizer.normalizer = normalizer(rng) if rng.random() < 0.5 else None
        tokenizer.pre_tokenizer = byte_level(rng) if kind == "bytes" else pre_tokenizers.Sequence(some(rng, PRE_TOKENIZERS, 1, 3))
    trainer = trainers.BpeTrainer(vocab_size=rng.randrange(300, 900), initial_alphabet=alphabet, special_tokens=special, show_progress=False,
                                  **{k: v for k, v in options.items() if k != "unk_token"},
                                  **({"limit_alphabet": 60} if kind != "bytes" and rng.random() < 0.5 else {}),
                                  **({"max_token_length": 6} if rng.random() < 0.3 else {}))
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def other(rng, kind, text):
    unknown = "[UNK]"
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=rng.randrange(300, 600), special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    elif kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=unknown, max_input_chars_per_word=rng.choice([100, 10])))
        trainer = trainers.WordPieceTrainer(vocab_size=rng.randrange(300, 600), special_tokens=[unknown], show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
        trainer = trainers.WordLevelTrainer(vocab_size=500, special_tokens=[unknown], show_progress=False)
    tokenizer.normalizer = normalizer(rng)
    usual = {"unigram": lambda: pre_tokenizers.Metaspace("▁", rng.choice(["always", "never", "first"]), rng.random() < 0.7),
             "wordpiece": pre_tokenizers.BertPreTokenizer, "wordlevel": pre_tokenizers.Whitespace}[kind]
    tokenizer.pre_tokenizer = usual() if rng.random() < 0.6 else pre_tokenizers.Sequence(some(rng, PRE_TOKENIZERS, 1, 3))
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def edit(rng, path):
    """What only the file can say: flags of the model."""
    data = json.loads(path.read_text())
    if data["model"]["type"] == "BPE" and rng.random() < 0.3:
        data["model"]["ignore_merges"] = True
    if data["model"]["type"] == "Unigram" and rng.random() < 0.3 and len(data["model"]["vocab"]) > 300:
        for byte in range(256):
            data["model"]["vocab"].append(["<0x%02X>" % byte, -20.0])
        shift = 256
        size = len(data["model"]["vocab"]) - shift
        for token in data["added_tokens"]:
            if token["id"] >= size:
                token["id"] += shift
        data["post_processor"] = None
        data["model"]["byte_fallback"] = True
    path.write_text(json.dumps(data, ensure_ascii=rng.random() < 0.5))


def make(rng, text, folder):
    kind = rng.choice(["bytes", "bytes", "bytes", "blank", "blank", "chars", "chars", "unigram", "wordpiece", "wordlevel"])
    tokenizer = bpe(rng, kind, text) if kind in ("bytes", "blank", "chars") else other(rng, kind, text)
    add_tokens(rng, tokenizer)
    tokenizer.post_processor = post_processor(rng, tokenizer)
    tokenizer.decoder = decoder(rng, "blank" if kind == "unigram" and rng.random() < 0.7 else kind)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    edit(rng, path)
    return kind, Tokenizer.from_file(str(path))


def lines(smelt, source, items, *options):
    """One JSON line in and out per item; the error as a text when the program refuses."""
    run = subprocess.run([smelt, "tokenize", source, "--jsonl", *options], input="".join(json.dumps(x) + "\n" for x in items),
                         capture_output=True, text=True, check=False)
    return [json.loads(x) for x in run.stdout.split("\n") if x] if run.returncode == 0 else run.stderr.strip()


def first_difference(texts, ours, theirs):
    for text, a, b in zip(texts, ours, theirs):
        if a != b:
            return f"\n     {ascii(text)}\n     ours   {ascii(a)}\n     theirs {ascii(b)}"
    return ""


def attempts(function, items):
    """function(item) for each; None where the library fails (a Unigram without an unknown token) or panics (Strip on a short token)."""
    out = []
    silent, stderr = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(silent, 2)  # panics write there
    try:
        for item in items:
            try:
                out.append(function(item))
            except BaseException as error:  # pylint: disable=broad-except
                if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                    raise
                out.append(None)
    finally:
        os.dup2(stderr, 2)
        os.close(silent)
        os.close(stderr)
    return out


def library_ids(library, texts, special):
    return attempts(lambda text: library.encode(text, add_special_tokens=special).ids, texts)


def library_texts(library, ids, hide):
    return attempts(lambda one: library.decode(one, skip_special_tokens=hide), ids)


def check(checks, smelt, name, folder, library, texts):
    plain, special = library_ids(library, texts, False), library_ids(library, texts, True)
    texts = [t for t, ids in zip(texts, plain) if ids is not None]
    special = [s for s, ids in zip(special, plain) if ids is not None]
    plain = [ids for ids in plain if ids is not None]
    decoded, hidden = library_texts(library, special, False), library_texts(library, special, True)
    items, ids = [{"text": t} for t in texts], [{"ids": i} for i in special]
    for what, source, options, inputs, key, wanted in (
            ("ids", folder, ("--no-special",), items, "ids", plain), ("ids with special tokens", folder, (), items, "ids", special),
            ("decoded", folder, ("--decode",), ids, "text", decoded), ("decoded, hidden", folder, ("--decode", "--hide-special"), ids, "text", hidden)):
        ours = lines(smelt, source, inputs, *options)
        if isinstance(ours, str):
            checks.check(False, f"{name}: {what}: {ours}")
            return
        ours = [x[key] if w is not None else None for x, w in zip(ours, wanted)]
        checks.check(ours == wanted, f"{name}: {what}{first_difference([i.get('text', i.get('ids')) for i in inputs], ours, wanted)}")
    gguf = folder / "vocab.gguf"
    run = subprocess.run([smelt, "convert", folder, "--vocab-only", "-o", gguf, "--force"], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        ok = run.returncode == 1 and run.stderr.count("smelt: ") >= 1 and "encodes" not in run.stderr
        checks.check(ok, f"{name}: refused, {run.stderr.strip()[-300:]}")
        return
    for what, options, wanted in (("ids", ("--no-special",), plain), ("ids with special tokens", (), special)):
        ours = lines(smelt, gguf, items, *options)
        ours = [ours] * len(texts) if isinstance(ours, str) else [x["ids"] for x in ours]
        checks.check(ours == wanted, f"{name}: GGUF {what}{first_difference(texts, ours, wanted)}")


def main():
    parser = peers.parser(__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--texts", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    a = parser.parse_args()
    checks = peers.Checks(verbose=False)
    characters = assigned()
    text = (pathlib.Path(a.shared) / "fixtures/text/eval.txt").read_text()[:60000].split("\n")
    print("tokenizers", tokenizers.__version__)
    left_out = 0
    for number in range(a.count) if a.only is None else [a.only]:
        rng = random.Random(f"{a.seed}-{number}")
        folder = pathlib.Path(a.work) / f"{a.seed}-{number}"
        made = attempts(lambda random_state: make(random_state, text, folder), [rng])[0]  # pylint: disable=cell-var-from-loop
        if made is None:
            shutil.rmtree(folder, ignore_errors=True)
            left_out += 1
            continue
        kind, library = made
        texts = [random_text(rng, characters) for _ in range(a.texts)]
        pieces = [library.id_to_token(i) or "" for i in rng.sample(range(library.get_vocab_size()), min(60, library.get_vocab_size()))]
        texts += ["".join(rng.choice(pieces) + rng.choice(["", " ", "  "]) for _ in range(8)) for _ in range(20)]
        texts += ["", " ", "  ", "\n", " the", "the ", "<s>a</s>", "a <pad> b", "x [MASK]  y", "THE abc abcd ab é É"]
        texts += rng.sample([t for t in text if t], 20)
        before = checks.failed
        check(checks, a.smelt, f"{a.seed}-{number} {kind}", folder, library, texts)
        if checks.failed == before:
            shutil.rmtree(folder)
    checks.check(4 * left_out <= a.count, f"the library itself refuses {left_out} of {a.count} pipelines")
    sys.exit(checks.close())


if __name__ == "__main__":
    main()
