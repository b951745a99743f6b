#!/usr/bin/env python3
"""Every valid file with each of its members deleted, emptied, retyped or doubled in turn: what smelt makes of it, and upstream.

    pip install tokenizers==0.23.3 transformers==5.24.0 xllamacpp
    tests/peers/mutations.py --mutations build/release/tests/mutations/mutations --smelt SMELT --shared SHARED --work WORK
    tests/peers/mutations.py ... --only config --match qwen -v
    tests/peers/mutations.py ... --record      # writes testdata/mutations: what upstream says of the mutants that the test draws

A mutant is refused with one good sentence, or its result is the original's, or a note names the member, or upstream has the same result:
the tokenizers library's ids and texts of a tokenizer.json; of a configuration the model with the value written out that transformers'
class has; llama.cpp's ids of a GGUF. Everything else is a finding, and so are a crash, 20 s and 2 GiB. Exit status 1 when there is one.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = {  # kind: the files that are damaged
    "tokenizer": ["tokenizer.json"],
    "config": ["config.json", "params.json"],
    "generation_config": ["generation_config.json"],
    "index": ["model.safetensors.index.json", "pytorch_model.bin.index.json"],
    "gguf": ["config.json", "params.json"],  # what is converted
}
RECORDED_GGUF = ["llama", "llama-spm", "gemma2", "mamba2", "jamba"]
# What the code that reads a params.json takes for an absent member (Meta's and Mistral's ModelArgs).
MODEL_ARGS = {"use_scaled_rope": False, "sliding_window": None}
# What transformers' modeling_rope_utils, and HunYuan's class, take for an absent member of rope_parameters.
ROPE_DEFAULTS = {"beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": None, "mscale": None, "mscale_all_dim": None, "alpha": None}
# Members that only the converter of llama.cpp reads, and ids of tokens: a class has numbers for them of which its tokenizer knows nothing.
WITHOUT_DEFAULT = {"model_max_length": "delete", "eod_token_id": "delete", "bos_token_id": "delete null", "pad_token_id": "delete null"}
# Members' defaults that no configuration class tells: of one that only published folders have (configuration_exaone.py), and of modeling_qwen3_*.py.
OTHER_DEFAULTS = {"exaone": {"layer_norm_epsilon": 1e-05}} | \
    {f"qwen3_vl{kind}": {"mrope_section": [24, 20, 20]} for kind in ("", "_moe")} | \
    {f"qwen3_5{kind}": {"mrope_section": [11, 11, 10]} for kind in ("", "_moe")}
REFUSED = object()  # what upstream says
ARGUMENTS = None


def fingerprint(lines):
    """As Fingerprint of tests/mutations/subject.h."""
    value = 0xCBF29CE484222325
    for byte in b"".join(line.encode() + b"\n" for line in lines):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def drive(kind, path, **options):
    """The original's line and the mutants' lines of tests/mutations/mutations.cc."""
    argv = [ARGUMENTS.mutations, kind, os.fspath(path)] + [x for k, v in options.items() for x in ("--" + k, os.fspath(v))]
    p = subprocess.run(argv, capture_output=True, text=True)
    if p.returncode:
        raise peers.Failed(p.stderr.strip()[-500:])
    lines = [json.loads(line) for line in p.stdout.splitlines()]
    return lines[0], lines[1:]


# ---------------------------------------------------------------- upstream
def in_a_process(function, *arguments):
    """function's result, or REFUSED where it raised or ended the process: libraries panic and abort on some mutants."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ["GGML_NO_BACKTRACE"] = "1"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            result = json.dumps(function(*arguments))
            with open(send, "w") as out:
                out.write(result)
        finally:
            os._exit(0)
    os.close(send)
    with open(receive) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else REFUSED


def tokenizers_lines(path, probes):
    """Ids and texts of the probes as the tokenizers library has them."""
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_str(pathlib.Path(path).read_text())
    tokenizer.no_padding()  # of batches and models with a fixed length
    tokenizer.no_truncation()
    lines = []
    for probe in probes:
        ids = tokenizer.encode(probe).ids
        lines += [" ".join(map(str, ids)), tokenizer.decode(ids, skip_special_tokens=False)]
    return lines


def llama_ids(path, probes):
    """Ids of the probes as llama.cpp has them."""
    sys.path.insert(0, os.path.join(ARGUMENTS.shared, "tools"))
    import llama_peer
    llama = llama_peer.Llama("auto", False)
    llama.load(path, vocab_only=True)
    return [" ".join(map(str, llama.tokenize(probe, parse_special=True))) for probe in probes]


def configuration(text, model_type):
    """transformers' object of a configuration, or REFUSED."""
    from transformers import CONFIG_MAPPING, GenerationConfig
    try:
        return (GenerationConfig if model_type == "generation_config" else CONFIG_MAPPING[model_type]).from_dict(json.loads(text))
    except Exception:
        return REFUSED


def has_class(path):
    """Whether any version of transformers has the class of a configuration: nobody else says what a default of it is."""
    from transformers import CONFIG_MAPPING
    return json.loads(pathlib.Path(path).read_text()).get("model_type") in CONFIG_MAPPING


def class_value(config, path):
    """What the class has for a member, or REFUSED where it has none of that name."""
    at = config
    for key in path:
        rope = getattr(at, "rope_parameters", None) or {}
        if isinstance(at, dict):
            at = at.get(key, ROPE_DEFAULTS.get(key, REFUSED))
        elif isinstance(at, list):
            return REFUSED
        elif key == "rope_theta" and "rope_theta" in rope:
            at = rope["rope_theta"]
        elif key == "rope_scaling" and rope:
            rope = rope.get("full_attention", rope)  # the one that is scaled where there are several
            at = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor")}
        elif key == "rotary_dim" and not hasattr(at, key):
            at = int(at.head_dim * rope.get("partial_rotary_factor", 1))
        else:
            at = getattr(at, key, getattr(getattr(at, "text_config", None), key, REFUSED))  # written flat, held inside
        if at is REFUSED:
            return REFUSED
    return json.loads(json.dumps(at.to_dict() if hasattr(at, "to_dict") else at, default=str))


def written_out(text, path, value):
    """The document with a member set."""
    document = json.loads(text)
    at = document
    try:
        for key in path[:-1]:
            at = at[int(key) if isinstance(at, list) else key]
        at[int(path[-1]) if isinstance(at, list) else path[-1]] = value
    except (KeyError, TypeError, IndexError):
        return REFUSED
    return json.dumps(document)


def explicit(text, mutant, model_type):
    """A mutated configuration with the class's value of the damaged member, or REFUSED."""
    path, what = mutant.rsplit(" ", 1)
    path = path.split("/")
    if model_type is None:  # params.json
        value = MODEL_ARGS.get(path[-1], REFUSED)
    else:
        config = configuration(text, model_type)
        member = path[:-1] if path[-1].isdigit() and len(path) > 1 else path  # of a list's element: the list
        value = REFUSED if config is REFUSED else class_value(config, member)
        path = path if value is REFUSED else member
    if value is REFUSED and what in ("integer", "fraction"):  # a number is the number that it is, also where the class wants the other kind
        value = 7.0 if what == "integer" else 0.5
    if value is REFUSED:
        value = OTHER_DEFAULTS.get(model_type, {}).get(path[-1], REFUSED)
    return REFUSED if value is REFUSED else written_out(text, path, value)


def is_number_of_key(mutant):
    """An architecture's number in the place of another one in a GGUF."""
    return not mutant.startswith("tokenizer.") and mutant.rsplit(" ", 1)[1] in ("integer", "fraction", "empty")


def upstream(kind, path, original, mutants):
    """{id: what upstream says}: the fingerprint of its result, or of a configuration the document that says the same."""
    if kind == "tokenizer":
        answers = {m["id"]: in_a_process(tokenizers_lines, m["file"], original["probes"]) for m in mutants}
        return {k: fingerprint(lines) for k, lines in answers.items() if lines is not REFUSED}
    if kind == "gguf":
        answers = {m["id"]: in_a_process(llama_ids, m["file"], original["probes"]) for m in mutants if not is_number_of_key(m["id"])}
        return {k: fingerprint(lines) for k, lines in answers.items() if lines is not REFUSED}
    if kind == "index":
        return {}
    model_type = json.loads(pathlib.Path(path).read_text()).get("model_type") if kind == "config" else kind
    answers = {m["id"]: explicit(pathlib.Path(m["file"]).read_text(), m["id"], model_type) for m in mutants}
    return {k: text for k, text in answers.items() if text is not REFUSED}


# ---------------------------------------------------------------- judging
def agreeing(kind, path, said, others):
    """Which of the mutants with another result have upstream's."""
    if kind == "gguf":
        return {k for k, m in others.items() if is_number_of_key(k) or said.get(k) == m["ids"]}
    if kind == "tokenizer":
        return {k for k, m in others.items() if said.get(k) == m["fingerprint"]}
    if not said:
        return set()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as documents:
        for key, text in said.items():
            documents.write(json.dumps({"id": key, "text": text}) + "\n")
        documents.flush()
        return {a["id"] for a in drive(kind, path, documents=documents.name)[1] if a["fingerprint"] == others[a["id"]]["fingerprint"]}


def agreed_probes(original, path, keep):
    """A file of those probes of a GGUF of which llama.cpp has our ids, or None where it has all."""
    theirs = in_a_process(llama_ids, path, original["probes"])
    if theirs is REFUSED or theirs == original["ids"]:
        return None
    agreed = [probe for probe, a, b in zip(original["probes"], theirs, original["ids"]) if a == b]
    file = keep + "/probes.json"
    pathlib.Path(file).write_text(json.dumps(agreed))
    return file


def means_the_same(difference, path):
    """Whether only keys are gone whose values readers take where there are none."""
    config = json.loads(pathlib.Path(path).read_text())
    config = config.get("text_config", config)
    head = config.get("hidden_size", 0) / config.get("num_attention_heads", 1)
    implied = {"rope.freq_base": 10000, "attention.key_length": head, "attention.value_length": head}
    for line in difference:
        key, *_, value = line.split(" ")
        if not key.startswith("-") or implied.get(key.partition(".")[2]) != float(value if value.replace(".", "").isdigit() else "nan"):
            return False
    return True


def judge(job):
    """(kind, counts, findings) of one file."""
    kind, name, path = job
    counts, findings = collections.Counter(), []
    with tempfile.TemporaryDirectory() as keep:
        try:
            if kind == "gguf":
                peers.run([ARGUMENTS.smelt, "convert", pathlib.Path(path).parent, "--type", "f16", "--validate", "off", "-o", keep + "/m.gguf", "--quiet"])
                path = keep + "/m.gguf"
            original, mutants = drive(kind, path, keep=keep)
            if kind == "gguf" and (agreed := agreed_probes(original, path, keep)):
                original, mutants = drive(kind, path, keep=keep, probes=agreed)  # convert's note says why the others differ
        except peers.Failed as error:
            if "not supported" in str(error):  # a family or a quantization
                counts["not supported"] += 1
            else:
                findings.append(str(error))
            return kind, name, counts, findings
        if kind == "tokenizer" and in_a_process(tokenizers_lines, path, original["probes"]) != original["original"]:
            findings.append("the original's result is not the library's")
        others = {m["id"]: m for m in mutants if m["verdict"] == "other"}
        said = upstream(kind, path, original, others.values())
        right = agreeing(kind, path, said, others)
    for mutant in mutants:
        verdict = "upstream" if mutant.get("id") in right else mutant["verdict"]
        counts["mutants"] += 1
        counts[verdict] += 1
        if verdict == "other" and kind == "config" and not has_class(path):
            counts["without a class"] += 1
        elif verdict == "other" and kind == "config" and means_the_same(mutant["difference"], path):
            counts["same in meaning"] += 1
        elif verdict == "other" and kind == "config" and mutant["id"].rsplit(" ", 1)[1] in WITHOUT_DEFAULT.get(mutant["id"].rsplit(" ", 1)[0].split("/")[-1], ""):
            counts["without a default"] += 1
        elif verdict == "other":
            says = "another" if mutant["id"] in said else "refuses or says nothing"
            findings.append(f"{mutant['id']}: another result, upstream: {says}: {mutant['difference']}")
        elif verdict in ("crash", "bad"):
            findings.append(f"{mutant.get('id', mutant.get('number'))}: {verdict}: {mutant.get('sentence', mutant.get('signal'))}")
    return kind, name, counts, findings


def record(kind, p):
    """Writes what upstream says of the drawn mutants of testdata."""
    recorded = {}
    for path in sorted(ROOT.glob(f"testdata/*/*/{KINDS[kind][0]}")):
        name = f"{path.parent.parent.name}/{path.parent.name}"
        if kind == "gguf" and path.parent.name not in RECORDED_GGUF:
            continue
        with tempfile.TemporaryDirectory() as keep:
            if kind == "gguf":
                p.smelt("convert", path.parent, "--type", "f16", "--validate", "off", "-o", keep + "/m.gguf", "--quiet")
                path = keep + "/m.gguf"
            original, mutants = drive(kind, path, drawn=name, keep=keep)
            mutants = [m for m in mutants if "file" in m]
            said = upstream(kind, path, original, mutants)
            if kind == "gguf":
                same = fingerprint(in_a_process(llama_ids, path, original["probes"]))
            elif kind == "tokenizer":
                same = fingerprint(original["original"])
            else:  # what is written out has to differ from the original
                same = None
                before = json.loads(path.read_text())
                said = {k: text for k, text in said.items() if json.loads(text) != before and k.rsplit(" ", 1)[1] in ("delete", "null", "integer", "fraction")}
            recorded[name] = {k: v for k, v in sorted(said.items()) if v != same}
    target = ROOT / f"testdata/mutations/{kind}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({k: v for k, v in recorded.items() if v}, indent=0, ensure_ascii=False) + "\n")
    print(f"{target}: {sum(map(len, recorded.values()))} mutants of {len(recorded)} files")


def files(kind, p):
    """Every file of a kind that there is, each once."""
    folders = [ROOT / "testdata/models", p.fixture("models")] + ([ROOT / "testdata/tokenizers-small", p.work / "abridged"] if kind == "tokenizer" else [])
    seen = set()
    for folder in folders:
        for path in sorted(x for name in KINDS[kind] for x in folder.glob(f"*/{name}")):
            key = path.read_bytes() if kind == "tokenizer" else path.parent.name
            if key not in seen and ARGUMENTS.match in str(path):
                seen.add(key)
                yield path


def abridge(p):
    """The published tokenizers with their first 200 merges, which the library reads as valid: the structure of big files in little time."""
    import tokenizers
    target = p.work / "abridged"
    shutil.rmtree(target, ignore_errors=True)
    whole = p.work / "published"
    if not whole.is_dir():
        peers.run(["bash", p.shared / "tools/unpack_fixtures.sh", p.fixture("tokenizers"), whole])
    for path in sorted(whole.glob("*/tokenizer.json")):
        document = json.loads(path.read_text())
        model = document["model"]
        contents = {t["content"] for t in document["added_tokens"]}
        if model["type"] == "Unigram":
            kept = model["vocab"][:400]
            model["vocab"] = kept + [x for x in model["vocab"][400:] if x[0] in contents]
            numbers = {x[0]: i for i, x in enumerate(model["vocab"])}
        else:
            model["merges"] = model.get("merges", [])[:200]
            pairs = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
            wanted = {x for a, b in pairs for x in (a, b, a + b)} | contents | {model.get("unk_token")}
            wanted |= {t for t in model["vocab"] if len(t) == 1 and (ord(t) < 0x180) or t.startswith("<0x")}
            if model["type"] != "BPE":
                wanted |= set(list(model["vocab"])[:600])
            kept = [t for t, _ in sorted(model["vocab"].items(), key=lambda x: x[1]) if t in wanted]
            numbers = model["vocab"] = {t: i for i, t in enumerate(kept)}
            if not model["merges"]:
                del model["merges"]
        next_id = len(numbers)
        for token in document["added_tokens"]:
            if token["content"] not in numbers:
                numbers = {**numbers, token["content"]: next_id}
                next_id += 1
            token["id"] = numbers[token["content"]]
        document["added_tokens"].sort(key=lambda t: t["id"])
        for processor in (document.get("post_processor") or {}).get("processors", [document.get("post_processor") or {}]):
            for token in (processor.get("special_tokens") or {}).values():
                token["ids"] = [numbers[t] for t in token["tokens"]]
            for key in ("cls", "sep"):
                if key in processor:
                    processor[key][1] = numbers[processor[key][0]]
        text = json.dumps(document, ensure_ascii=False)
        try:
            tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            print(f"abridging {path.parent.name}: {error}")
            continue
        (target / path.parent.name).mkdir(parents=True)
        (target / path.parent.name / "tokenizer.json").write_text(text)


def main():
    global ARGUMENTS
    a = peers.parser(__doc__)
    a.add_argument("--mutations", required=True, help="the program that reads mutants")
    a.add_argument("--only", action="append", choices=KINDS)
    a.add_argument("--match", default="", help="part of the path")
    a.add_argument("--record", action="store_true", help="write testdata/mutations")
    a.add_argument("-v", action="store_true", help="every finding, not only the first 20 of a file")
    ARGUMENTS = a.parse_args()
    p = peers.Peers(ARGUMENTS)
    kinds = ARGUMENTS.only or list(KINDS)
    if ARGUMENTS.record:
        for kind in kinds:
            if kind != "index":
                record(kind, p)
        return 0
    if "tokenizer" in kinds:
        abridge(p)
    jobs = [(kind, f"{kind} {path.parent.name}", str(path)) for kind in kinds for path in files(kind, p)]
    total, found = collections.defaultdict(collections.Counter), 0
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for kind, name, counts, findings in pool.map(judge, jobs):
            print(f"{name}: " + ", ".join(f"{v} {k}" for k, v in sorted(counts.items())), flush=True)
            for finding in findings[:None if ARGUMENTS.v else 20]:
                print("  " + finding[:700], flush=True)
            found += len(findings)
            total[kind] += counts
    for kind, counts in total.items():
        print(f"{kind}: " + ", ".join(f"{v} {k}" for k, v in sorted(counts.items())))
    print(f"{found} findings")
    return 1 if found or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
