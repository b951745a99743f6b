#!/usr/bin/env python3
"""SentencePiece models with every option: `smelt tokenize` and the vocabulary that `smelt convert` writes against the library.

    pip install sentencepiece==0.2.3 protobuf
    tests/peers/sentencepiece_models.py --smelt SMELT --shared SHARED --work WORK [--only NAME] [--count 120] [--seed 1]
    tests/peers/sentencepiece_models.py ... --golden testdata/sentencepiece   # writes the models and answers that text_test reads

Trains small models on fixtures/text, changes some by hand where the trainer has no option for it, and compares ids and decoded texts,
from the tokenizer.model alone and through the written GGUF vocabulary. Exit status 1 when anything differs.
"""
import io
import json
import pathlib
import random
import subprocess

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

from peers import Checks, Peers, parser
from tokenizers_peer import assigned, random_text

SYMBOLS = ["<user>", "foo bar", "é!", "  ", "\u2581the", "ing", "<|x|>"]
RULES = "41\t61\n42 43\t62 20 63\n64\t20\n65 66\t\n3000\t20\nE9\t65 301\n"  # code points, hexadecimal: A -> a, BC -> "b c", d -> " " ...
BACK = "61\t41\n"
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)

# Name -> options of the trainer, besides those of COMMON.
COMMON = {"vocab_size": 400, "hard_vocab_limit": False, "character_coverage": 0.98}
OPTIONS = {
    "plain": {},
    "nfkc": {"normalization_rule_name": "nfkc"},
    "nfkc_cf": {"normalization_rule_name": "nfkc_cf"},
    "nmt_nfkc_cf": {"normalization_rule_name": "nmt_nfkc_cf"},
    "identity": {"normalization_rule_name": "identity"},
    "own_rules": {"rules": RULES},
    "back": {"back": BACK},
    "no_prefix": {"add_dummy_prefix": False},
    "keeps_spaces": {"remove_extra_whitespaces": False},
    "keeps_spaces_no_prefix": {"remove_extra_whitespaces": False, "add_dummy_prefix": False},
    "suffix": {"treat_whitespace_as_suffix": True},
    "suffix_keeps_spaces": {"treat_whitespace_as_suffix": True, "remove_extra_whitespaces": False},
    "suffix_no_prefix": {"treat_whitespace_as_suffix": True, "add_dummy_prefix": False},
    "bytes": {"byte_fallback": True, "vocab_size": 600},
    "bytes_identity_spaces": {"byte_fallback": True, "vocab_size": 600, "normalization_rule_name": "identity",
                              "remove_extra_whitespaces": False},
    "digits": {"split_digits": True, "split_by_number": False},
    "across_words": {"split_by_whitespace": False},
    "across_scripts": {"split_by_unicode_script": False},
    "blank_pieces": {"allow_whitespace_only_pieces": True, "remove_extra_whitespaces": False, "byte_fallback": True, "vocab_size": 600},
    "symbols": {"user_defined_symbols": SYMBOLS, "control_symbols": ["<sep>", "<cls>", "[MASK]"]},
    "symbols_bytes": {"user_defined_symbols": SYMBOLS + ["<s>", "</s>"], "byte_fallback": True, "vocab_size": 600,
                      "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "symbols_suffix": {"user_defined_symbols": SYMBOLS, "treat_whitespace_as_suffix": True},
    "ids": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": 3},
    "ids_far": {"unk_id": 5, "bos_id": 9, "eos_id": 0, "pad_id": 2},
    "no_ends": {"bos_id": -1, "eos_id": -1},
    "ends_renamed": {"bos_piece": "<begin>", "eos_piece": "<end>", "unk_piece": "[?]"},
    "unk_surface": {"unk_surface": "<?>"},
    "unk_surface_empty": {"unk_surface": ""},
}


def all_ways(model):  # scores that tie
    for piece in model.pieces:
        if piece.type == NORMAL:
            piece.score = -1.0


def rounded(model):
    for piece in model.pieces:
        piece.score = round(piece.score / 16)


def unused(model):
    for i, piece in enumerate(model.pieces):
        if piece.type == NORMAL and len(piece.piece) > 1 and i % 3 == 0:
            piece.type = UNUSED


def user_defined(model):
    for i, piece in enumerate(model.pieces):
        if piece.type == NORMAL and len(piece.piece) > 1 and i % 5 == 0:
            piece.type = USER


def positive(model):
    for piece in model.pieces:
        piece.score = -piece.score


def raw_blanks(model):
    model.normalizer_spec.escape_whitespaces = False
    for piece in model.pieces:
        piece.piece = piece.piece.replace("\u2581", " ")


# Models that the trainer does not make: name -> (options, change).
CHANGED = {
    "equal_scores": ({}, all_ways),
    "tied_scores": ({"byte_fallback": True, "vocab_size": 600}, rounded),
    "unused": ({}, unused),
    "unused_bytes": ({"byte_fallback": True, "vocab_size": 600}, unused),
    "user_defined": ({}, user_defined),
    "user_defined_unused": ({"byte_fallback": True, "vocab_size": 600}, lambda model: (user_defined(model), unused(model))),
    "positive_scores": ({}, positive),
    "raw_blanks": ({}, raw_blanks),
    "raw_blanks_kept": ({"remove_extra_whitespaces": False}, raw_blanks),
    "raw_blanks_suffix": ({"treat_whitespace_as_suffix": True}, raw_blanks),
}


def train(corpus, folder, options, change, kind):
    options = {**COMMON, **options}
    for key, argument in (("rules", "normalization_rule_tsv"), ("back", "denormalization_rule_tsv")):
        if key in options:
            table = folder / f"{key}.tsv"
            table.write_text(options.pop(key))
            options[argument] = table
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=out, model_type=kind, num_threads=2,
                                             minloglevel=2, **options)
    model = proto.ModelProto.FromString(out.getvalue())
    change(model)
    data = model.SerializeToString()
    (folder / "tokenizer.model").write_bytes(data)
    return data


def deep():
    """A model whose unused pieces are made of each other: the library stops taking them apart at some depth."""
    model = proto.ModelProto()
    model.trainer_spec.model_type = 2
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = model.normalizer_spec.remove_extra_whitespaces = False
    pieces = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL), ("b", -999, NORMAL), ("a", -1000, NORMAL)]
    for text, score, kind in pieces + [("b" + i * "a", -i, UNUSED) for i in range(1, 161)]:
        model.pieces.add(piece=text, score=score, type=kind)
    return model.SerializeToString()


def texts_for(rng, characters, corpus, count):
    texts = ["", " ", "   ", "\u2581", " \u2581 a", "a", "  a  b  ", "\n", "\t a", "<unk>", "<s>", "</s>a", "<0x41>", "x<sep>y", "ABCdefd \u3000é e\u0301!",
             "foo bar foo  bar", "a" * 300, " " * 70 + "z", "[MASK]<user><|x|>", "ﬁ ½ Å ｶﾞ", "\u2047", " \u2047 ", "<?>", "\ufffd", "\x00a", "\u200b"]
    special = SYMBOLS + ["<sep>", "<unk>", "\u2581", " ", "<0x0A>", "BC", "def"]
    while len(texts) < count:
        kind = rng.randrange(4)
        if kind == 0:
            texts.append(random_text(rng, characters))
        elif kind == 1:
            line = rng.choice(corpus)
            start = rng.randrange(len(line))
            texts.append(line[start:start + rng.randrange(1, 200)])
        else:
            parts = [rng.choice(special) if rng.randrange(3) == 0 else rng.choice(corpus)[:rng.randrange(1, 12)] for _ in range(rng.randrange(1, 7))]
            texts.append("".join(parts))
    return texts


def lines(peers, source, items, *flags):
    p = subprocess.run([peers.program, "tokenize", source, "--jsonl", *flags], input="".join(json.dumps(item) + "\n" for item in items),
                       capture_output=True, text=True, check=False)
    if p.returncode != 0:
        return p.stderr.strip()
    return [json.loads(line) for line in p.stdout.splitlines()]


def compare(checks, what, inputs, ours, theirs, key):
    if isinstance(ours, str):
        checks.check(False, f"{what}: {ours}")
        return
    wrong = [i for i, item in enumerate(ours) if item[key] != theirs[i]]
    shown = "" if not wrong else (f", first {ascii(inputs[wrong[0]])}\n  ours   {ascii(ours[wrong[0]][key])}"
                                  f"\n  theirs {ascii(theirs[wrong[0]])}")
    checks.check(not wrong and len(ours) == len(theirs), f"{what}: {len(wrong)} of {len(theirs)} differ{shown}")


# Small ones for a test that needs no Python: kind and name of OPTIONS.
GOLDEN = {"ids_far": "unigram", "symbols_bytes": "unigram", "bytes_identity_spaces": "bpe", "unk_surface_empty": "bpe", "back": "bpe"}


def write_cases(folder, library, texts, ids):
    with open(folder / "cases.jsonl", "w") as file:
        for text, some in zip(texts, ids):
            file.write(json.dumps({"text": text, "ids": some, "decoded": library.decode(some)}) + "\n")


def golden(peers, corpus, out):
    rng = random.Random(1)
    few = [line for line in corpus if line.isascii()][:12]
    for name, kind in GOLDEN.items():
        options = {"normalization_rule_name": "identity", **OPTIONS[name]}
        options["vocab_size"] = options.get("vocab_size", 400) - 280
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        data = train(few, folder, options, lambda model: None, kind)
        for table in folder.glob("*.tsv"):
            table.unlink()
        library = sentencepiece.SentencePieceProcessor(model_proto=data)
        texts = texts_for(rng, ["é", "日", "x", "\u0301", "😀", "\t"] * 8, few, 40)
        ids = [library.encode(text) for text in texts]
        random_ids = [[rng.randrange(library.get_piece_size()) for _ in range(rng.randrange(1, 9))] for _ in range(40)]
        write_cases(folder, library, texts + [None] * 40, ids + random_ids)
    folder = out / "deep"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(deep())
    library = sentencepiece.SentencePieceProcessor(model_proto=deep())
    texts = ["b" + "a" * n for n in range(60, 210, 2)]
    write_cases(folder, library, texts, [library.encode(text) for text in texts])


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--only", help="only the models whose name contains this")
    arguments.add_argument("--golden", type=pathlib.Path, help="write test data there instead")
    arguments.add_argument("--count", type=int, default=120)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    peers, checks = Peers(arguments), Checks(verbose=False)
    rng = random.Random(arguments.seed)
    characters = assigned()
    corpus = [line for line in (peers.fixture("text/eval.txt")).read_text()[:30000].split("\n") if line.strip()]
    if arguments.golden:
        golden(peers, corpus, arguments.golden)
        return
    models = {name: (options, lambda model: None) for name, options in OPTIONS.items()} | CHANGED
    for name, (options, change) in models.items():
        for kind in ("bpe", "unigram"):
            what = f"{name} {kind}"
            if arguments.only and arguments.only not in what:
                continue
            folder = peers.work / "sentencepiece" / f"{name}_{kind}"
            folder.mkdir(parents=True, exist_ok=True)
            library = sentencepiece.SentencePieceProcessor(model_proto=train(corpus, folder, options, change, kind))
            texts = texts_for(rng, characters, corpus, arguments.count)
            ids = [library.encode(text) for text in texts]
            ids += [[rng.randrange(library.get_piece_size()) for _ in range(rng.randrange(1, 9))] for _ in range(arguments.count // 2)]
            decoded = [library.decode(some) for some in ids]
            written = folder / "vocabulary.gguf"
            p = subprocess.run([peers.program, "convert", folder, "--vocab-only", "-o", written, "--force"], capture_output=True, text=True,
                               check=False)
            checks.check(p.returncode == 0, f"{what}: {p.stderr.strip()}")
            for source in (folder, written):
                where = f"{what} {source.name.replace(folder.name, 'model')}"
                if source == written and p.returncode != 0:
                    continue
                compare(checks, f"{where} ids", texts, lines(peers, source, [{"text": t} for t in texts], "--no-special", "--plain"),
                        ids[:len(texts)], "ids")
                compare(checks, f"{where} text", ids, lines(peers, source, [{"ids": i} for i in ids], "--decode", "--hide-special"), decoded,
                        "text")
    for kind in ("char", "word"):
        folder = peers.work / "sentencepiece" / kind
        folder.mkdir(parents=True, exist_ok=True)
        train(corpus, folder, {}, lambda model: None, kind)
        message = lines(peers, folder, [{"text": "a"}])
        checks.check(isinstance(message, str) and f"model_type {kind}" in message, f"{kind}: {message}")
    raise SystemExit(checks.close())


if __name__ == "__main__":
    main()
