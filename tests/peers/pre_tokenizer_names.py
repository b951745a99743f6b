#!/usr/bin/env python3
"""What each name of a pre-tokenizer (tokenizer.ggml.pre) means to llama.cpp: a small byte-level vocabulary under every name, and the ids of
texts that are hard to cut.

    pip install xllamacpp==2026.9.11063 tokenizers==0.23.3 gguf numpy
    tests/peers/pre_tokenizer_names.py --smelt SMELT --shared SHARED --work WORK             compares: llama.cpp, the record, smelt
    tests/peers/pre_tokenizer_names.py --shared SHARED --work WORK --record                  writes testdata/pre_tokenizers/names.json anew

The vocabulary is the 256 bytes and merges that were drawn at random from the texts, none of them held back at the edge of a word: where a
text is cut, what would have merged across does not, and ids change.
"""
import json
import pathlib
import random
import subprocess
import sys

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from peers import Checks, Peers, parser

RECORD = pathlib.Path(__file__).parents[2] / "testdata/pre_tokenizers/names.json"

# Every name that smelt knows; names on one line mean the same to it.
NAMES = """
gpt-2 mpt olmo jais trillion phi-2 jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe gigachat a.x-4.0 mellum modern-bert exaone4 granite-docling
smollm starcoder refact command-r codeshell exaone minerva-7b mellum2
llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5
dbrx smaug-bpe chatglm-bpe
qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan kormo f2llmv2 grok-2 solar-open
qwen35
gpt-4o llama4 kanana2 talkie minimax-m2
granite-embed-multi-97m
tekken
kimi-k2
deepseek-v3 hunyuan-dense joyai-llm hy_v4
spark2_5
deepseek-llm
deepseek-coder
youtu
bailingmoe bailingmoe2 llada-moe
seed-coder
ufakzeka
exaone-moe
minicpm5
laguna
bloom poro-chat gpt3-finnish
viking
chameleon
falcon
default
"""

TEXTS = {
    "digits": ["1 12 123 1234 12345 123456 1234567", "a1b22c333d4444", "3.14159 -1e-9 0x1F600", "v1.2.3-rc4", "2026-11-29T20:15:07Z",
               "١٢٣٤٥ ١٢", "१२३४५", "১২৩", "๑๒๓๔๕", "１２３４５", "𝟏𝟐𝟑𝟜", "x²y³ H₂O", "½ ¾ ⅓", "Ⅶ ⅻ Ⅳ", "①②③ ⒈ ㉑", "〇一二三", "1,234,567.89", "007 1 000 000"],
    "contractions": ["it's I'm we'll they've you're don't he'd", "IT'S I'M WE'LL THEY'VE YOU'RE DON'T HE'D", "It'S i'M We'Ll", "'s 't 're",
                     "x'sy 'tis 'twas", "they'd've", "rock'n'roll O'Neill", "l’été aujourd’hui", "it’s don’t", "ſ'ſ K'ſ", "''s '''t", "a 's b's"],
    "letters": ["camelCaseWord HTTPServer iPhone XMLHttp", "SCREAMING_CASE snake_case kebab-case", "Straße naïve ÉCOLE Ångström", "ǅungla ǈ ǋ ǲ",
                "Привет МИР приВЕТ", "Καλημέρα ΚΌΣΜΕ", "Հայերեն ՀԱՅ", "ქართული ᲥᲐᲠᲗ", "ªº ʰʷ ᴬᴮ", "ꭰꭱ ᏣᎳᎩ", "𐐀𐐨 𝐀𝐛𝔄", "aBcDeF ABcdEF", "İstanbul ıI ŉ"],
    "cjk": ["你好，世界。", "中文English混排test", "こんにちは世界", "カタカナとひらがな", "東京タワー2024年", "한국어 텍스트입니다", "ㄅㄆㄇ ㄱㄴㄷ", "漢字かな交じり文、テスト！",
            "𠀀𠀁𪚥", "々〆〇ヶ", "我有3個apple", "「引用」『二重』", "ｶﾀｶﾅ ﾃｽﾄ", "全角ＡＢＣ　空白"],
    "thai": ["สวัสดีชาวโลก", "ภาษาไทย ๑๒๓ abc", "ກຂຄ ລາວ", "မြန်မာ", "ខ្មែរ"],
    "marks": ["नमस्ते दुनिया", "বাংলা ভাষা", "தமிழ் மொழி", "cafe\u0301 na\u0308ive", "A\u030a o\u0302\u0301", "שָׁלוֹם", "اَلْعَرَبِيَّةُ", "e\u0301E\u0301 \u0301x \u0301",
              "1\u0301 2\u20e3 !\u0301", "മലയാളം", "Z\u0351\u036ba\u035cl\u0321go", "\u0e33\u0e31 x\u0e31"],
    "newlines": ["a\nb\n\nc\n\n\nd", "a\r\nb\r\n\r\nc", "a \n b\n  c \n\n  d", "\n", "\n\n\n", "\r\n\t\n", "end\n", "a\n\n", " \n", "x.\n\ny!\n z", "a\rb\r\rc", "a\u2028b\u2029c\u0085d",
                 "if x:\n    return\n\n\treturn y", "/\n//\n a/\n/b"],
    "blanks": ["a  b   c    d", " a", "  a", "   ", "a ", "a  ", "\ta\t\tb", " \t \t x", "a\u00a0b\u00a0\u00a0c", "a\u3000b \u3000c", "\u2003x\u2009y", "a\x0bb\x0cc", "x \u00a0 y",
               "\u200bx\u200by", "\ufeffx \ufeff", "1  2   3", "  .  !", "\x1c\x1d\x1ex"],
    "emoji": ["😀👍🏽 👨‍👩‍👧", "❤️ ☺ ☎️", "🇩🇪🇫🇷", "a😀b 1😀2", "🚀🚀 go", "✓ ★ ♪"],
    "punctuation": ["!!! ??? ... ,,,", "a.b,c;d:e!f?g", "(a) [b] {c} <d>", "\"quoted\" 'single' `tick`", "“double” ‘single’ «fr» „de“", "a — b – c … d", "$5 €6 £7 ¥8 ₹9", "a+b=c a-b a*b a/b",
                    "x^2 ~y |z| \\n", "@user #tag 50% a&b", "http://example.com/a?b=c&d=e#f", "/usr/local/bin //comment", "a_b __init__ _x", "->=> != <= ::", "§ ¶ † • ·", "।॥ ۔ ؟ ،",
                    "，。！？；：、", "....\n!!!\n", " . , !", "a.\nb,\nc", "=/=/ +/\n"],
    "mixed": ["def f(x): return x**2 # ok", "The quick brown fox.", "for(i=0;i<n;++i){a[i]+=1;}", "<sentinel:12> IMGIMGABCZ", "a1! b2? c3.", "1st 2nd 3rd", "C++ F# .NET",
              "x=1;y=2\n", "ok...  Then\n\n42"],
}

# Names under which llama.cpp is known to cut otherwise than the published tokenizers that they were made for: names, why, the published
# expressions, whether a word that is a token is that token. Where the ids differ, smelt gives those of the `tokenizers` library.
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER, BEFORE = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}", r"[^\r\n\p{L}\p{N}]?"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Letters of the older DeepSeek models.
OLD_LETTERS = ("A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ"
               "-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰"
               "-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃")
OLD_ASIAN = "[一-龥ࠀ-一가-퟿]+"


def cased(digits, tail, end="", upper=f"[{UPPER}]", lower=f"[{LOWER}]"):
    return f"{BEFORE}{upper}*{lower}+{end}|{BEFORE}{upper}+{lower}*{end}|{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n{tail}]*|{SPACES}"


def splits(*patterns, digits=None):
    """Splits before the mapping of bytes to characters, as most published pipelines have them."""
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    if digits is not None:
        steps.append(pre_tokenizers.Digits(individual_digits=digits))
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


GPT4O = cased(r"\p{N}{1,3}", "/", CONTRACTIONS + "?")
PUBLISHED = [
    ("gpt-4o llama4 kanana2 talkie minimax-m2", "its expression knows no capitals but A-Z, no small letters but a-z, no combining marks inside words",
     splits(GPT4O), False),
    ("granite-embed-multi-97m", "its expression knows no capitals but A-Z and no small letters but a-z", splits(GPT4O), True),
    ("tekken", "its expression knows no capitals but A-Z, no small letters but a-z, no combining marks inside words",
     splits(cased(r"\p{N}", "/")), True),
    ("kimi-k2", "code of its own stands for the expression: capitals inside words, combining marks, Han that are no ideographs",
     splits(r"[\p{Han}]+|" + cased(r"\p{N}{1,3}", "", CONTRACTIONS + "?", f"[{UPPER}&&[^\\p{{Han}}]]", f"[{LOWER}&&[^\\p{{Han}}]]")), False),
    ("youtu", "its matcher has one class for all letters: no capitals inside words",
     splits("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", cased(r"\p{N}", "/", CONTRACTIONS + "?")), True),
    ("exaone-moe", "its contractions have no long s (U+017F)",
     splits(CONTRACTIONS + "|" + BEFORE + r"(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"), False),
    ("deepseek-llm", "runs of digits stay whole; its matcher puts a vertical tab for every blank, which its classes of Asian characters lack",
     splits(r"[\r\n]", rf"\s?[{OLD_LETTERS}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", OLD_ASIAN, digits=True), False),
    ("deepseek-coder", "its matcher puts a vertical tab for every blank, which its class of Asian characters lacks",
     splits(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", OLD_ASIAN, digits=True), False),
    ("falcon", "the published tokenizer looks for digits in the characters that stand for bytes, some of which are digits; blanks before digits",
     pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                              pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]), False),
    ("glm4", "versions before the one that knows glm5 merge words that are tokens",
     splits(CONTRACTIONS + "|" + BEFORE + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES), True),
]


def published_ids(pipeline, ignore_merges, merges, texts):
    """What the `tokenizers` library gives."""
    spell = spelling(merges)
    model = models.BPE({t: i for i, t in enumerate(spell)}, [(spell[left], spell[right]) for left, right in merges], ignore_merges=ignore_merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pipeline
    return [tokenizer.encode(t).ids for t in texts]


VOCABULARIES, MERGES = 4, 1800
END = "<|end of text|>"
# Newer than the llama.cpp of the record.
NEWER = ["glm5"]


def byte_characters():
    """The character that a byte-level vocabulary has for each byte: itself where it is printable Latin-1, else U+0100 and on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(0x100, 0x200))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


# Words that are tokens although no merges make them: a tokenizer that ignores merges finds them.
WORDS = [" quick", " МИР", "Straße", "123", "!!!", " apple", "2024"]


def tokens_of(merges):
    """The bytes of every token: 256 single ones, then what each merge makes, unless there is such a token already, then whole words."""
    tokens = [bytes([b]) for b in range(256)]
    known = set(tokens)
    for left, right in merges:
        whole = tokens[left] + tokens[right]
        if whole not in known:
            known.add(whole)
            tokens.append(whole)
    return tokens + [w.encode() for w in WORDS]


def spelling(merges):
    """Every token as a vocabulary spells it."""
    characters = byte_characters()
    return ["".join(characters[b] for b in t) for t in tokens_of(merges)]


def draw(texts, count):
    """VOCABULARIES lists of `count` merges of two ids, the first merging first. First come pairs of bytes, in such an order that at
    nearly every place of every text some vocabulary merges the bytes around it before their neighbours: a cut there changes ids. Then any
    neighbours in any text."""
    pick, encoded = random.Random(1), [t.encode() for t in texts]
    places = [{p: e[p - 1:p + 1] for p in range(1, len(e))} for e in encoded]
    unseen = {(i, p) for i, of_text in enumerate(places) for p in of_text}
    vocabularies = []
    for _ in range(VOCABULARIES):
        weight = dict.fromkeys(sorted(pair for of_text in places for pair in of_text.values()), 0)
        for i, p in unseen:
            weight[places[i][p]] += 1
        order = sorted(weight, key=lambda pair: (-weight[pair], pick.random()))
        rank = {pair: n for n, pair in enumerate(order)}
        unseen = {(i, p) for i, p in unseen
                  if any(rank[places[i].get(q, places[i][p])] < rank[places[i][p]] for q in (p - 1, p + 1))}
        vocabularies.append(go_on([tuple(pair) for pair in order], [list(e) for e in encoded], count, pick))
    return vocabularies


def go_on(merges, words, count, pick):
    """Merges go on at random places until there are `count`."""
    tokens = [bytes([b]) for b in range(256)]
    ids = {t: i for i, t in enumerate(tokens)}
    held_back = {w.encode() for w in WORDS}

    def apply(left, right):
        whole = tokens[left] + tokens[right]
        if whole not in ids:
            ids[whole] = len(tokens)
            tokens.append(whole)
        return [merged(w, left, right, ids[whole]) for w in words]

    for left, right in merges:
        words = apply(left, right)
    while len(merges) < count and (longer := [w for w in words if len(w) > 1]):
        word = pick.choice(longer)
        at = pick.randrange(len(word) - 1)
        left, right = word[at:at + 2]
        if tokens[left] + tokens[right] not in held_back:
            merges.append((left, right))
            words = apply(left, right)
    return merges


def merged(word, left, right, whole):
    out = []
    for symbol in word:
        if out and out[-1] == left and symbol == right:
            out[-1] = whole
        else:
            out.append(symbol)
    return out


def write(path, name, merges):
    """A GGUF of nothing but the vocabulary."""
    from gguf import GGUFWriter
    spell = spelling(merges)
    path.unlink(missing_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(spell + [END])
    writer.add_token_types([1] * len(spell) + [3])
    writer.add_token_merges([spell[left] + " " + spell[right] for left, right in merges])
    writer.add_bos_token_id(len(spell))
    writer.add_eos_token_id(len(spell))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ask_llama(library, folder, name, vocabularies, texts):
    """(whether texts begin with a token, the ids of every text in every vocabulary)"""
    ids = []
    for i, merges in enumerate(vocabularies):
        path = folder / f"{name}-{i}.gguf"
        write(path, name, merges)
        library.load(str(path), vocab_only=True)
        ids.append([library.tokenize(t, special=False) for t in texts])
        library.lib.llama_model_free(library.model)
    return library.add_bos, ids


def record(library, folder):
    texts = [t for kind in TEXTS.values() for t in kind]
    vocabularies = draw(texts, MERGES)
    outcomes = [[[] for _ in texts] for _ in vocabularies]  # the distinct ids of each text
    meanings, llama = {}, {}
    for name in NAMES.split():
        if name in NEWER:
            continue
        begins, llama[name] = ask_llama(library, folder, name, vocabularies, texts)
        which = []
        for known, of_vocabulary in zip(outcomes, llama[name]):
            for distinct, one in zip(known, of_vocabulary):
                if one not in distinct:
                    distinct.append(one)
                which.append(distinct.index(one))
        meanings.setdefault((begins, tuple(which)), []).append(name)
    differences = []
    for names, why, pipeline, ignore_merges in PUBLISHED:
        names = names.split()
        ids = [published_ids(pipeline, ignore_merges, merges, texts) for merges in vocabularies]
        others = [i for i in range(len(texts)) if any(a[i] != b[i] for a, b in zip(ids, llama[names[0]]))]
        assert others and all(llama[name] == llama[names[0]] for name in names), names
        differences.append({"names": names, "why": why, "texts": others, "ids": [[of_vocabulary[i] for i in others] for of_vocabulary in ids]})
    kinds = [kind for kind, of_kind in TEXTS.items() for _ in of_kind]
    data = {"made_with": f"{library.name} {library.version}", "kinds": kinds, "texts": texts,
            "vocabularies": [[i for pair in merges for i in pair] for merges in vocabularies], "ids": outcomes,
            "meanings": [{"names": names, "begins": begins, "which": which} for (begins, which), names in meanings.items()],
            "words": WORDS, "newer": NEWER, "differences": differences}
    RECORD.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace('],"', '],\n"') + "\n")
    print(f"{RECORD}: {len(NAMES.split())} names, {len(meanings)} meanings, {len(texts)} texts, {RECORD.stat().st_size} bytes")


def ask_smelt(smelt, folder, name, count, texts):
    """The ids of every text in every vocabulary that ask_llama wrote."""
    given = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    ids = []
    for i in range(count):
        run = subprocess.run([smelt, "tokenize", folder / f"{name}-{i}.gguf", "--jsonl", "--no-special"], input=given, capture_output=True, text=True,
                             check=True)
        ids.append([json.loads(line)["ids"] for line in run.stdout.splitlines()])
    return ids


def compare(checks, library, folder, smelt, data, meaning, name):
    """llama.cpp gives what the record has; so does smelt, but for texts that published tokenizers cut otherwise."""
    texts, vocabularies = data["texts"], [list(zip(v[::2], v[1::2])) for v in data["vocabularies"]]
    which = iter(meaning["which"])
    recorded = [[distinct[next(which)] for distinct in of_vocabulary] for of_vocabulary in data["ids"]]
    begins, llama = ask_llama(library, folder, name, vocabularies, texts)
    checks.check(begins == meaning["begins"] and llama == recorded, f"{name}: llama.cpp gives what the record has")
    expected = [list(of_vocabulary) for of_vocabulary in recorded]
    for difference in data["differences"]:
        if name in difference["names"]:
            for of_vocabulary, ids in zip(expected, difference["ids"]):
                for i, one in zip(difference["texts"], ids):
                    of_vocabulary[i] = one
    ours = ask_smelt(smelt, folder, name, len(vocabularies), texts)
    wrong = [t for i, t in enumerate(texts) if any(a[i] != b[i] for a, b in zip(ours, expected))]
    checks.check(not wrong, f"{name}: smelt, {len(texts) - len(wrong)} of {len(texts)} texts" + "".join(f"; {ascii(t)}" for t in wrong))


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--record", action="store_true", help="write the record anew, from llama.cpp alone")
    a = arguments.parse_args()
    peers, checks = Peers(a), Checks()
    sys.path.insert(0, str(peers.shared / "tools"))
    import llama_peer
    library = llama_peer.Llama("xllamacpp", False)
    folder = peers.work / "pre_tokenizer_names"
    folder.mkdir(exist_ok=True)
    if a.record:
        record(library, folder)
        return 0
    data = json.loads(RECORD.read_text())
    for meaning in data["meanings"]:
        for name in meaning["names"]:
            compare(checks, library, folder, a.smelt, data, meaning, name)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
