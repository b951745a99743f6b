#!/usr/bin/env python3
"""Every family, in every type, in llama.cpp.

    families_peer.py --smelt PROGRAM --shared DIR --work DIR [--jobs 2] [--type T]... [MODEL...]

Each model directory of fixtures/models (those of quantized sources aside) is converted to every type; llama.cpp loads each file and its
logits are finite. At f32 they are golden_logits.safetensors', as far as llama.cpp implements what the model wants; where it does not,
`convert` says so. One process per model, because a failed assertion of llama.cpp ends the process.
Needs gguf, numpy, xllamacpp or llama-cpp-python.
"""
import concurrent.futures
import importlib.util
import json
import pathlib
import subprocess
import sys

import gguf
import numpy as np

import peers

TOLERANCE = 2e-3  # of a logit, absolute
# llama.cpp looks GELU up in a table of 16-bit values, which is seen in this model (2.2e-3).
TOLERANCES = {"gptneox": 5e-3}
# llama.cpp ignores these windows and this query scale: rows of logits from which on it computes something else, by model. It chooses
# phi3's rotation by the context's size, which is the text's length here; no time step of nemotron_h's is below its limit.
NOWHERE = 1 << 20
DIFFERS = {"mistral": 9, "mistral-consolidated": 9, "starcoder2": 14, "gemma2": 0, "phi3": NOWHERE, "nemotron_h": NOWHERE,
           "nemotron_h_moe": NOWHERE, "nemotron_h_super": NOWHERE, "exaone4": 1, "qwen2_5_vl": NOWHERE, "qwen3_vl": NOWHERE,
           "qwen3_vl_moe": NOWHERE, "phimoe": 0, "falcon_mamba": 0, "glm4_moe_lite": NOWHERE}
RECORDED = pathlib.Path(__file__).parents[2] / "testdata/models"
NOTE = "llama.cpp computes something else for this model"


def models(p):
    """Names of the directories with a model of plain weights, of the classes that `smelt families` lists."""
    listed = json.loads(peers.run([p.program, "families", "--json"]))["families"]
    classes = {name for family in listed for name in family["classes"]}

    def known(folder):
        config = folder / "config.json"
        if not config.exists():
            return (folder / "params.json").exists()
        return bool(classes & set(json.loads(config.read_text()).get("architectures") or []))

    folders = [d for root in (RECORDED, p.fixture("models")) for d in root.iterdir() if d.is_dir()]
    return sorted({d.name for d in folders if not (d / "dequant.json").exists() and known(d)})


def folder_of(p, name):
    """A model's directory: of the shared ground truth, else one that record_models.py made."""
    return shared if (shared := p.fixture("models/" + name)).exists() else RECORDED / name


def golden_logits(folder):
    """(tokens, logits) of a model, or of the one that it is another form of; nothing where neither is there."""
    reference = folder / "golden_ref.json"
    if reference.exists():
        folder = folder / json.loads(reference.read_text())["same_as"]
    places = [p for p in (folder / "golden/golden_logits.safetensors", folder / "golden_logits.safetensors") if p.exists()]
    if not places:
        return None
    path = places[0]
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    kinds = {"I64": np.int64, "F32": np.float32}

    def array(name):
        h = header[name]
        first, last = (8 + size + o for o in h["data_offsets"])
        return np.frombuffer(raw[first:last], kinds[h["dtype"]]).reshape(h["shape"])

    return array("tokens").tolist(), array("logits")


def load_llama(p):
    """llama.cpp, through the tool that other peer checks run as a program."""
    spec = importlib.util.spec_from_file_location("llama_peer", p.shared / "tools/llama_peer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Llama("auto", False)


def logits_of(llama, path, ids):
    """llama.cpp's logits [n, vocabulary] with 32-bit keys and values."""
    llama.load(str(path), max(len(ids), 8), None, 1, exact=True)
    llama.decode(ids, wanted=range(len(ids)))
    out = np.stack([llama.logits(i) for i in range(len(ids))])
    llama.lib.llama_free(llama.ctx)
    llama.lib.llama_model_free(llama.model)
    return out


def check_golden(checks, name, ours, golden, said):
    """Logits of the f32 file against transformers', where llama.cpp computes what the model wants."""
    rows, tolerance = DIFFERS.get(name, len(golden)), TOLERANCES.get(name, TOLERANCE)
    checks.check((NOTE in said) == (name in DIFFERS), f"{name}: a note where llama.cpp computes something else, and only there: {said!r}")
    if rows > 0:
        off = float(np.abs(ours[:rows] - golden[:rows]).max())
        checks.check(off <= tolerance, f"{name} f32: {rows} rows of llama.cpp's logits within {tolerance:g} of transformers': {off:.2g} off")
    if rows < len(golden):
        off = float(np.abs(ours - golden).max())
        checks.check(off > tolerance, f"{name} f32: llama.cpp still differs ({off:.2g}); if not, the note and this list are out of date")


def check_one(p, name, kinds):
    """All types of one model, in this process."""
    checks, llama = peers.Checks(), load_llama(p)
    source = folder_of(p, name)
    golden = golden_logits(source)
    tokens = golden[0] if golden else list(range(3, 19))
    used = set()
    for kind in kinds:
        path = p.work / f"{name}-{kind}.gguf"
        try:
            said = subprocess.run([p.program, "convert", source, "--type", kind, "-o", path, "--force", "--validate", "off", "--threads", "1"],
                                  capture_output=True, text=True)
            if said.returncode != 0:
                checks.check(False, f"{name} {kind}: {said.stderr}")
                continue
            used |= {t.tensor_type.name for t in gguf.GGUFReader(path).tensors}
            ours = logits_of(llama, path, tokens)
            checks.check(bool(np.isfinite(ours).all()), f"{name} {kind}: llama.cpp loads it; {ours.size} logits finite")
            if kind == "f32" and golden:
                check_golden(checks, name, ours, golden[1], said.stderr)
        except SystemExit:
            checks.check(False, f"{name} {kind}: llama.cpp refuses it (its reason is above)")
        finally:
            path.unlink(missing_ok=True)
    print(f"     {name}: tensors of {', '.join(sorted(used))}", flush=True)
    return checks.close()


def run_child(a, name):
    """A model's lines, from a process of its own."""
    child = subprocess.run([sys.executable, __file__, "--smelt", a.smelt, "--shared", a.shared, "--work", a.work, "--in-process", name,
                            *(word for kind in a.type or [] for word in ("--type", kind))],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return name, child.returncode, child.stdout.splitlines()


def main():
    a = peers.parser(__doc__)
    a.add_argument("models", nargs="*")
    a.add_argument("--type", action="append")
    a.add_argument("--jobs", type=int, default=2)
    a.add_argument("--in-process", action="store_true", help="one model, in this process")
    a = a.parse_args()
    p = peers.Peers(a)
    kinds = a.type or peers.TYPES
    if a.in_process:
        return check_one(p, a.models[0], kinds)
    total = peers.Checks(verbose=False)
    names = a.models or models(p)
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for name, status, lines in pool.map(lambda n: run_child(a, n), names):
            good = sum(line.startswith("ok ") for line in lines)
            bad = [line for line in lines if not line.startswith(("ok ", "     ")) and not line.endswith(" failed")]
            total.passed += good
            for line in bad:
                total.check(not line.startswith("FAIL "), line)
            if status not in (0, 1) or (status == 1 and not bad):
                total.check(False, f"{name}: exit {status} after: {lines[-1] if lines else 'nothing'}")
            print(f"{'ok  ' if status == 0 else 'FAIL'} {name}: {good} checks passed", flush=True)
    print(f"{len(names)} models, {len(kinds)} types")
    return total.close()


if __name__ == "__main__":
    sys.exit(main())
