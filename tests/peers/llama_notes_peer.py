#!/usr/bin/env python3
"""What `smelt convert` says about llama.cpp, against llama.cpp: no note, the same ids; a note, other ids of the kind that it names.

    pip install xllamacpp==2026.9.11063 numpy
    tests/peers/llama_notes_peer.py --smelt SMELT --shared SHARED --work WORK

Exit status 1 when a tokenizer without a note is encoded otherwise, or one with a note is not.
"""
import json
import subprocess
import sys

from peers import Checks, Peers, parser

SMALL = "bl-nfc-split bl-prefix-roberta bl-punct-digits bl-split-ignore-merges spm-bpe-noprefix spm-metaspace-first wordpiece-bert"
PUBLISHED = "bge gpt-4o gpt2 llama2 phi-3 tekken"

COMMON = [
    "Hello world, it's a TEST of camelCase words.", "Straße naïve café ÉCOLE", "Москва ПРИВЕТ Привет мир", "İstanbul ǅ ªº", "你好世界",
    "日本語のテキスト", "Հայերեն ქართული", "🚀 👩‍👩‍👧 👍🏽", "€ £ ∑ ≤ → ½ ²", "a$b a+b a|b `x`", "«quoted» “double” — …", "1 12 123 1234 123456789",
    "١٢٣٤", "a  b   c", "a\n\nb\r\nc \n x", "a\u00a0b\u3000c", "<0x41>", "https://example.com/a?b=c", "def f(x):\n    return x**2\n"]
# A word of the note -> texts of that kind. All of them are the same where no note stands.
KINDS = {
    "NFC": ["cafe\u0301 na\u0308ive"],
    "combining marks": ["नमस्ते दुनिया", "বাংলা ভাষা"],
    "capitals inside": ["шкоЛА моСКВА"],
    "vowel signs": ["नमस्ते दुनिया", "한국어 안녕하세요"],
    "very long words": ["x" * 101 + " y"],
    "control characters": ["a\x0bb\x0cc"],
    "typed": ["a▁b", "▁▁a"],
    "add_prefix_space": ["Hello"],
    "after special tokens": ["a<s>b"],
    "spaces around special tokens": ["a {special} b"],
    "user-defined": ["a {user} b"],
}
# What a small vocabulary has no words of, or what no token of the tokenizer can show.
UNSEEN = {"wordpiece-bert": ("vowel signs",), "spm-metaspace-first": ("typed",)}


def main():
    arguments = parser(__doc__).parse_args()
    peers, checks = Peers(arguments), Checks()
    sys.path.insert(0, str(peers.shared / "tools"))
    import llama_peer
    from gguf import GGUFReader
    library = llama_peer.Llama("auto", False)
    folder = peers.work / "published_tokenizers"
    subprocess.run(["bash", peers.shared / "tools/unpack_fixtures.sh", peers.fixture("tokenizers"), folder], check=True)
    sources = [peers.fixture("tokenizers-small") / name for name in SMALL.split()] + [folder / name for name in PUBLISHED.split()]
    for source in sources:
        written = peers.work / f"notes-{source.name}.gguf"
        written.unlink(missing_ok=True)
        run = subprocess.run([arguments.smelt, "convert", source, "--vocab-only", "-o", written], capture_output=True, text=True,
                             check=True)
        note = " ".join(line for line in (run.stdout + run.stderr).splitlines() if "note: llama.cpp" in line)
        library.load(str(written), vocab_only=True)
        names = {"special": "x", "user": "x"}
        if "special tokens" in note or "user-defined" in note:
            fields = GGUFReader(written).fields
            tokens, user = fields["tokenizer.ggml.tokens"], fields.get("smelt.tokenizer.user_defined")
            special = [i for i, kind in enumerate(fields["tokenizer.ggml.token_type"].contents()) if kind == 3]
            names = {"special": tokens.contents(special[-1]) if special else "x", "user": tokens.contents(user.contents()[0]) if user else "x"}
        texts = {kind: [t.format(**names) if "{" in t else t for t in kinds] for kind, kinds in KINDS.items()}
        flat = COMMON + [text for kinds in texts.values() for text in kinds]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in flat)
        answer = subprocess.run([arguments.smelt, "tokenize", source, "--jsonl", "--no-special"], input=lines, capture_output=True,
                                text=True, check=True).stdout
        ours = dict(zip(flat, (json.loads(line)["ids"] for line in answer.splitlines())))
        differs = {text for text in flat if library.tokenize(text, special=False, parse_special=True) != ours[text]}
        if not note:
            checks.check(not differs, f"{source.name}: no note, {len(flat) - len(differs)} of {len(flat)} the same {sorted(differs)[:2]}")
        for kind, kinds in texts.items():
            if kind in note and kind not in UNSEEN.get(source.name, ()):
                checks.check(differs & set(kinds), f"{source.name}: other ids for {kind}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
