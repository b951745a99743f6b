#!/usr/bin/env python3
"""Adapters as GGUF files of their own, in llama.cpp.

    adapters_peer.py --smelt PROGRAM --shared DIR --work DIR

For each adapter of testdata/lora that such a file can hold: `convert --adapter-only` writes it, gguf-py reads it, llama.cpp loads it beside the base, and
the logits of the two are those of the model that `convert --lora` merges, and of the base that takes the file as --lora. Of the others the way out is named.
Where llama.cpp's own converter was recorded (expected_adapter_gguf.json) and is right, keys and tensors are its.
Needs gguf, numpy, xllamacpp or llama-cpp-python.
"""
import ctypes
import hashlib
import json
import pathlib
import sys

import gguf
import numpy as np

import peers

TOLERANCE = 2e-2  # llama.cpp's products of matrices are of 16-bit activations here and there
LORA = pathlib.Path(__file__).resolve().parents[2] / "testdata/lora"
HELD = ["llama-qv", "llama-rslora", "llama-patterns"]  # the bases of the others have no tokenizer
REFUSED = ["llama-dora", "added-tokens", "tokens", "bias", "norms"]


def logits(shared, model, ids, adapter=None):
    """Of every position, by llama.cpp in a process of its own."""
    code = f"""
import ctypes, json, sys
sys.path.insert(0, {str(shared / "tools")!r})
import numpy as np, llama_peer
L = llama_peer.Llama("auto", False)
L.load({str(model)!r}, 64, None, 2, True)
if {adapter is not None!r}:
    p = ctypes.c_void_p
    L.lib.llama_adapter_lora_init.restype, L.lib.llama_adapter_lora_init.argtypes = p, [p, ctypes.c_char_p]
    adapter = L.lib.llama_adapter_lora_init(L.model, {str(adapter).encode()!r})
    assert adapter, "llama.cpp cannot load the adapter"
    set_ = L.lib.llama_set_adapters_lora
    set_.restype, set_.argtypes = ctypes.c_int32, [p, ctypes.POINTER(p), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)]
    assert set_(L.ctx, (p * 1)(adapter), 1, (ctypes.c_float * 1)(1.0)) == 0
ids = {ids!r}
L.decode(ids, wanted=list(range(len(ids))))
print(json.dumps([L.logits(i).tolist() for i in range(len(ids))]))
"""
    return np.array(json.loads(peers.run([sys.executable, "-c", code]).splitlines()[-1]))


def ours(p, work, *model):
    (work / "ids.json").write_text(json.dumps(IDS))
    p.smelt("eval", *model, "--tokens", work / "ids.json", "--logits-out", work / "logits.safetensors")
    raw = (work / "logits.safetensors").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])["logits"]
    begin, end = head["data_offsets"]
    return np.frombuffer(raw[8 + n + begin:8 + n + end], "<f4").reshape(head["shape"])


IDS = [int(i) for i in np.random.default_rng(5).integers(3, 60, 20)]


def check_keys(checks, name, reader):
    path = LORA / name / "expected_adapter_gguf.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    if "tensors" not in expected or name != "llama-qv":  # of the others its file is not right
        return
    wrong = [kv["key"] for kv in expected["kv"] if kv["key"].startswith(("adapter.", "general.type", "general.architecture", "general.name"))
             and (kv["key"] not in reader.fields or not np.all(reader.fields[kv["key"]].contents() == kv["value"]))]
    checks.check(not wrong, f"{name}: keys as llama.cpp's converter writes them; different: {wrong}")
    tensors = {t.name: t for t in reader.tensors}
    bad = [t["name"] for t in expected["tensors"] if t["name"] not in tensors or list(map(int, tensors[t["name"]].shape)) != t["shape"]
           or hashlib.sha256(tensors[t["name"]].data.tobytes()).hexdigest() != t["sha256"]]
    checks.check(not bad and len(tensors) == len(expected["tensors"]), f"{name}: tensors as llama.cpp's converter writes them; different: {bad[:4]}")


def check_adapter(checks, p, name):
    work = p.work
    folder = LORA / name
    base = (folder / json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]).resolve()
    plain, alone, merged = work / "base.gguf", work / "adapter.gguf", work / "merged.gguf"
    p.smelt("convert", base, "--type", "f32", "-o", plain, "--force", "--validate", "off")
    p.smelt("convert", folder, "--adapter-only", "-o", alone, "--force")
    p.smelt("convert", base, "--lora", folder, "--type", "f32", "-o", merged, "--force", "--validate", "off")
    check_keys(checks, name, gguf.GGUFReader(alone))
    truth = ours(p, work, base, "--lora", folder)
    for what, model in (("the merged file", [merged]), ("its base, a GGUF, with the folder", [plain, "--lora", folder]),
                        ("its base, a GGUF, with the adapter's file", [plain, "--lora", alone]), ("its base with the adapter's file", [base, "--lora", alone])):
        difference = np.abs(ours(p, work, *model) - truth).max()
        checks.check(difference <= 1e-3, f"{name}: {what} gives the same logits, up to {difference:.2g}")
    beside = logits(p.shared, plain, IDS, alone)
    difference, moved = np.abs(beside - truth).max(), np.abs(logits(p.shared, plain, IDS) - truth).max()
    checks.check(difference <= TOLERANCE < moved, f"{name}: llama.cpp, base and adapter: logits differ by {difference:.2g} (without it {moved:.2g})")


def main():
    p = peers.Peers(peers.parser(__doc__).parse_args())
    checks = peers.Checks()
    for name in HELD:
        check_adapter(checks, p, name)
    for name in REFUSED:
        try:
            p.smelt("convert", LORA / name, "--adapter-only", "-o", p.work / "refused.gguf", "--force")
            checks.check(False, f"{name}: refused")
        except peers.Failed as failed:
            checks.check("--lora" in str(failed), f"{name}: refused, and the way out named: {str(failed).splitlines()[-1][:160]}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
