#!/usr/bin/env python3
"""Random Modelfiles and names, valid and not, through `smelt` and through the packages of two versions of Ollama.

    modelfiles_peer.py --smelt PROGRAM --shared DIR --work DIR [--seed N] [--count N]

Of Modelfiles, what either version takes is taken, and gives the layers that one of them would write; what both refuse is refused, with the line that
the newer one names. Names are valid as for both, and shown alike. Needs go.
"""
import base64
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata

import peers

VERSIONS = ["v0.6.5", "v0.34.4"]
ROOT = pathlib.Path(__file__).resolve().parents[2]

COMMANDS = ["FROM", "TEMPLATE", "SYSTEM", "LICENSE", "PARAMETER", "MESSAGE", "RENDERER", "PARSER", "REQUIRES"]
PARAMETERS = ("num_keep seed num_predict top_k repeat_last_n num_ctx num_batch num_gpu main_gpu num_thread draft_num_predict top_p min_p typical_p "
              "temperature repeat_penalty presence_penalty frequency_penalty use_mmap stop mirostat mirostat_tau mirostat_eta low_vram f16_kv "
              "logits_all vocab_only use_mlock penalize_newline").split()
DROPPED = "low_vram f16_kv logits_all vocab_only use_mlock mirostat mirostat_tau mirostat_eta".split()  # by the newer one
NUMBERS = ("0 1 -1 +1 42 007 -0 +0 +-5 --5 -+5 9223372036854775807 9223372036854775808 -9223372036854775808 0x10 0b1 0o7 1_000 1__0 _1 1_ 1e3 .5 5. . "
           "-.5 0.1 1e-50 1e50 3.4028235e38 3.5e38 0x1p-2 0x1.8p1 0X1P+2 0x1 0x_1p0 0x1_0p0 0x1p_2 1e 1e+ 1e1_0 inf -inf +Infinity NaN nan nanx 1,5 1f "
           "16777217 0.30000000000000004 1e-7 1e21 true false T F t f TRUE FALSE True False tRUE yes no on 1.0").split()
WORDS = ["model", "a b", "x # no comment", '"', '""', '"""', '"a"', '"a" "b"', '"""a"""', '"""a"b"""', '"a\nb"', '"""\na\n\n b """', '"open', '"""open',
         '"a" b', '"""a""" b', '" a "', "'a'", "Ünï cödé", "日本語", "👨‍👩‍👧", "a\u00a0b", "a\u200bb\ufeff", "\u2028x", "tab\there", "\x00nul", "\x07bell\x7f",
         "\\n", "{{ .Prompt }}", "{{ .System }}{{ .Prompt }}", "{{ if .System }}s{{ end }}{{ .Prompt }}", "{{ .Prompt", "{{ range .Messages }}{{ .Content }}{{ end }}",
         "system: x", "user: y", "0.14.0", "v0.5", "1-rc1", "1.2.3-", "1.2.3-01", "1.2.3-rc.1+b", "01.2", "1.2.3.4", "v", "1.2.3+", "1.2.3-a..b", "1.2.3-é",
         "<|im_end|>", "&<>", "\u00e9\u0301", "\U000e0001", "\ue000", "\u0378", "a\\\"b", ""]
SPACES = [" "] * 12 + ["  ", "\t", " \t", "\u00a0", "", "\n", "\r"]
ENDS = ["\n"] * 10 + ["\n\n", "\r\n", "\r", " \n", "\t\n", "\n  ", "\n\t", "", "\u00a0\n", "\n\u200b", "\n\ufeff"]


def word(r):
    if r.random() < 0.1:  # of characters that every version of Unicode in question has
        some = [chr(r.choice([r.randrange(32, 127), r.randrange(0x80, 0x3000), r.randrange(0x10000, 0x1ffff)])) for _ in range(r.randrange(1, 9))]
        return "".join(c for c in some if unicodedata.category(c) != "Cn")
    return r.choice(WORDS)


def command(r):
    name = r.choice(COMMANDS)
    if r.random() < 0.04:
        name = r.choice(["FRO", "FROMM", "1FROM", "É", "PARAMETERS", "TEMPLATE:", "-", "SYSTEM=", "@", "\u0130NPUT", "\ufeffSYSTEM", "\x01LICENSE"])
    spelled = r.choice([name, name, name.lower(), name.title()])
    value = word(r)
    if name == "PARAMETER":
        key = r.choice(PARAMETERS) if r.random() < 0.93 else r.choice(["", "Temperature", "tempe", "num-ctx", "model", "system", "template", "license",
                                                                       "message", "from", "renderer", "requires", "top_p2", "é"])
        if key != "stop":
            value = r.choice(NUMBERS) if r.random() < 0.97 else value
        if r.random() < 0.1:
            value = f'"{value}"'
        return spelled + r.choice(SPACES) + key + r.choice(SPACES) + value
    if name == "MESSAGE":
        return spelled + r.choice(SPACES) + r.choice(["user", "assistant", "system", "user", "assistant", "tool", "User", ""]) + r.choice(SPACES) + value
    if name == "REQUIRES" and r.random() < 0.8:
        value = r.choice([w for w in WORDS if re.match("v?[0-9]", w)])
    if name == "FROM":
        return ""
    return spelled + r.choice(SPACES) + value


def modelfile(r):
    lines = [command(r) for _ in range(r.choice([1, 1, 2, 3, 5]))]
    if r.random() < 0.97:
        lines.insert(r.randrange(len(lines) + 1), r.choice(["FROM m.gguf", "from ./m.gguf", 'FROM "m.gguf"', "FROM   m.gguf  ", "From m.ggu[f]"]))
    if r.random() < 0.3:
        lines.insert(r.randrange(len(lines) + 1), r.choice(["# note", "  # note \"", "#", "", "   ", "# \ufeff\r#x"]))
    text = "".join(line + r.choice(ENDS) for line in lines)
    bytes_ = text.encode("utf-8", "surrogatepass")
    shape = r.random()
    if shape < 0.02:
        return b"\xef\xbb\xbf" + bytes_
    if shape < 0.04:
        return b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass") + r.choice([b"", b"", b"\n"])
    if shape < 0.06:
        return b"\xfe\xff" + text.encode("utf-16-be", "surrogatepass")
    if shape < 0.12:
        at = r.randrange(len(bytes_) + 1)
        return bytes_[:at] + r.choice([b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80"]) + bytes_[at:]
    return bytes_


def name(r):
    """Of few letters, so that the rules meet each other."""
    if r.random() < 0.2:
        part = "a" * r.choice([79, 80, 81, 349, 350, 351])
        return r.choice(["{}", "{}:t", "m:{}", "{}/m", "h/{}/m", "{}/n/m", "h.x:1/n/{}:{}"]).replace("{}", part)
    return "".join(r.choice(["a", "B", "7", "_", "-", ".", ":", "/", "://", "@", "%", " ", "é", "..", "library", "registry.ollama.ai", "Latest", "\\"])
                   for _ in range(r.randrange(1, 8)))


def build(folder, version):
    sources, program = folder / version, folder / f"modelfiles-{version}"
    sources.mkdir()
    shutil.copy(ROOT / "tests" / "peers" / "modelfiles.go", sources / "main.go")
    (sources / "go.mod").write_text(f"module modelfiles\n\ngo 1.24.0\n\nrequire github.com/ollama/ollama {version}\n")
    environment = dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=mod")
    subprocess.run(["go", "mod", "tidy"], cwd=sources, check=True, env=environment, capture_output=True)
    subprocess.run(["go", "build", "-buildvcs=false", "-o", program, "."], cwd=sources, check=True, env=environment)
    return program


def by_ollama(program, folder, texts, names):
    lines = b"".join(kind + b" " + base64.b64encode(text) + b"\n" for kind, all_of_it in ((b"m", texts), (b"n", names)) for text in all_of_it)
    done = subprocess.run([program], input=lines, cwd=folder, check=True, capture_output=True)
    return [json.loads(line) for line in done.stdout.split(b"\n") if line.startswith(b"{")]  # it prints warnings too


def by_smelt(program, folder, number, text):
    """What is in the layers, or the one line of an error."""
    path, store = folder / f"{number}.Modelfile", folder / f"{number}.store"
    path.write_bytes(text)
    done = subprocess.run([program, "import", "-f", path, "m", "--store", store, "--quiet"], capture_output=True, text=True, errors="replace")
    path.unlink()
    if done.returncode:
        return {"error": done.stderr.strip()}
    manifest = json.loads((store / "manifests/registry.ollama.ai/library/m/latest").read_text())

    def blob(layer):
        return (store / "blobs" / layer["digest"].replace(":", "-")).read_bytes().decode()

    config = json.loads(blob(manifest["config"]))
    answer = {"template": "", "system": "", "licenses": [], "parameters": {}, "messages": []}
    answer |= {key: config.get(key) for key in ("renderer", "parser", "requires")}
    for layer in manifest["layers"]:
        kind = layer["mediaType"].rsplit(".", 1)[1]
        if kind in ("template", "system"):
            answer[kind] = blob(layer)
        elif kind == "license":
            answer["licenses"].append(blob(layer))
        elif kind == "params":
            answer["parameters"] = json.loads(blob(layer))
        elif kind == "messages":
            answer["messages"] = json.loads(blob(layer))
    shutil.rmtree(store)
    return answer


def name_by_smelt(program, store, text):
    """As ollama answers: an unknown model is named as names are shown."""
    done = subprocess.run([program, "store", "show", "--store", store, "--", text], capture_output=True, text=True)
    found = re.search('no model "(.*)" in the Ollama store', done.stderr)
    return {"name": found[1]} if found else {}


def plain(answer):
    """An answer in which what is left out and what is empty are the same."""
    return {key: value for key, value in answer.items() if value}


def same_name(ours, theirs):
    """Long names are shown without their middle."""
    begin, cut, end = ours.get("name", "").partition("...")
    name = theirs.get("name", "")
    return ours == theirs or (cut and name.startswith(begin) and name.endswith(end) and len(begin) > 40)


def judge(ours, answers):
    """What is wrong with ours; empty: nothing."""
    if "neither a file or folder" in ours.get("error", ""):  # FROM has become another name, which Ollama asks its registry for
        return ""
    if re.search("parameter (" + "|".join(DROPPED) + ") takes ", ours.get("error", "")):  # dropped before anyone looks at the value
        return ""
    taken = [plain(answer) for answer in answers if "error" not in answer]
    if taken:
        without = dict(ours, parameters={k: v for k, v in ours.get("parameters", {}).items() if k not in DROPPED})
        return "" if plain(ours) in taken or plain(without) in taken else "refused" if "error" in ours else "another result"
    if "error" not in ours:
        return "taken"
    line = answers[-1].get("line")
    return "" if line is None or f", line {line}" in ours["error"] else "another line"


def main():
    parser = peers.parser(__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    if shutil.which("go") is None:
        print("SKIPPED: modelfiles_peer.py needs go")
        return 0
    smelt, r = pathlib.Path(arguments.smelt).resolve(), random.Random(arguments.seed)
    texts = [modelfile(r) for _ in range(arguments.count)]
    names = [name(r) for _ in range(arguments.count // 2)]
    os.makedirs(arguments.work, exist_ok=True)
    checks = peers.Checks(verbose=False)
    with tempfile.TemporaryDirectory(dir=arguments.work) as scratch:
        folder = pathlib.Path(scratch).resolve()
        shutil.copy(pathlib.Path(arguments.shared) / "fixtures/ollama/gguf/tiny-q8_0.gguf", folder / "m.gguf")
        (folder / "blobs").mkdir()  # it is an empty store too
        answers = [by_ollama(build(folder, version), folder, texts, [n.encode() for n in names]) for version in VERSIONS]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ours = list(pool.map(lambda x: by_smelt(smelt, folder, *x), enumerate(texts)))
            ours_of_names = list(pool.map(lambda x: name_by_smelt(smelt, folder, x), names))
        for text, own, *theirs in zip(names, ours_of_names, *[answer[len(texts):] for answer in answers], strict=True):
            checks.check(all(same_name(own, their) for their in theirs), f"{text!r}\n  smelt  {own}\n  ollama {theirs}")
        for text, own, *theirs in zip(texts, ours, *[answer[:len(texts)] for answer in answers], strict=True):
            wrong = judge(own, theirs)
            checks.check(not wrong, f"{wrong}: {text!r}\n  smelt  {own}\n  ollama {theirs}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
