#!/usr/bin/env python3
"""Our GGUF files in gguf-py and in llama.cpp.

    gguf_peer.py --smelt PROGRAM --shared DIR --work DIR [--model NAME]... [--type T]...

For each model of fixtures/models (default: llama, llama-spm):
  * to f32: every tensor's name, shape and hash, and every key, as llama.cpp's own converter writes them (expected_gguf.json)
  * to every type: gguf-py reads the file, its decoded values are those that we decode, llama.cpp loads it, its logits are finite, and
    its perplexity is ours (llama.cpp rounds activations, so only nearly)
Needs gguf, numpy, xllamacpp or llama-cpp-python.
"""
import hashlib
import json
import sys

import gguf
import numpy as np

import peers

FLOAT = ("f32", "f16", "bf16")
# llama.cpp computes f16 and bf16 with a 16-bit cache, quantized types with activations of 8 bits, differently on each processor.
PERPLEXITY_TOLERANCE = {"f32": 5e-4, "f16": 5e-3, "bf16": 5e-3}
QUANTIZED_TOLERANCE = 0.03


def array_hash(field):
    """SHA-256 of an array as expected_gguf.json's sha256_json has it."""
    return hashlib.sha256(json.dumps(field.contents(), separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def value_of(field):
    value = field.contents()
    return [v.item() if hasattr(v, "item") else v for v in value] if isinstance(value, (list, np.ndarray)) else value


def same(key, field, expected, equivalents):
    """Whether a key's value is the expected one."""
    if "sha256_json" in expected:
        return len(field.data) == expected["length"] and array_hash(field) == expected["sha256_json"]
    value, want = value_of(field), expected["value"]
    if key == "tokenizer.ggml.pre":
        return value in {want, *equivalents}
    return bool(np.isclose(value, want, rtol=1e-7)) if isinstance(want, float) else value == want


def check_against_converter(checks, name, reader, expected):
    """Keys and tensors are those that llama.cpp's converter writes."""
    equivalents = expected.get("pre_equivalent") or []
    wrong = [kv["key"] for kv in expected["kv"]
             if kv["key"] not in reader.fields or reader.fields[kv["key"]].types[0].name != kv["type"].split("[")[0]
             or not same(kv["key"], reader.fields[kv["key"]], kv, equivalents)]
    checks.check(not wrong, f"{name} f32: {len(expected['kv'])} keys as llama.cpp's converter writes them; different: {wrong}")
    ours = {t.name: t for t in reader.tensors}
    checks.check(sorted(ours) == sorted(t["name"] for t in expected["tensors"]), f"{name} f32: {len(ours)} tensors by name")
    bad = []
    for want in expected["tensors"]:
        tensor = ours.get(want["name"])
        if tensor is None or list(map(int, tensor.shape)) != want["shape"] or tensor.tensor_type.name != want["type"]:
            bad.append(want["name"])
        elif "values" in want:
            if not np.allclose(tensor.data.reshape(-1), want["values"], rtol=1e-6, atol=0):
                bad.append(want["name"])
        elif hashlib.sha256(tensor.data.tobytes()).hexdigest() != want["sha256"]:
            bad.append(want["name"])
    checks.check(not bad, f"{name} f32: shapes and bytes of {len(ours)} tensors; different: {bad[:5]}")


def check_decoded(checks, label, reader, decoded):
    """gguf-py decodes our file to the values that we decode."""
    ours = {t.name: t.data.reshape(-1) for t in decoded.tensors}
    bad = [t.name for t in reader.tensors
           if not np.array_equal(gguf.quants.dequantize(t.data, t.tensor_type).reshape(-1).astype(np.float32), ours[t.name])]
    checks.check(not bad and len(ours) == len(reader.tensors), f"{label}: gguf-py decodes {len(ours)} tensors as we do; different: {bad[:5]}")


def check_llama(checks, p, label, kind, path, context):
    """llama.cpp loads the file and gives our perplexity."""
    load = p.llama("load", path)
    checks.check(load["logits_finite"], f"{label}: llama.cpp loads it ({load['description']}), logits finite")
    text = p.fixture("models/eval.txt")
    theirs = p.llama("ppl", path, "--text", text, "--ctx", str(context), "--chunks", "4", "--exact")["perplexity"]
    ours = p.smelt_json("eval", path, "--text", text, "--context", str(context), "--chunks", "4")["perplexity"]
    checks.within(ours, theirs, PERPLEXITY_TOLERANCE.get(kind, QUANTIZED_TOLERANCE), f"{label}: perplexity against llama.cpp's")


def main():
    a = peers.parser(__doc__)
    a.add_argument("--model", action="append")
    a.add_argument("--type", action="append")
    a = a.parse_args()
    p, checks = peers.Peers(a), peers.Checks()
    for name in a.model or ["llama", "llama-spm"]:
        source = p.fixture("models/" + name)
        context = json.loads((source / "golden.json").read_text())["context"]
        for kind in a.type or peers.TYPES:
            label, path = f"{name} {kind}", p.work / f"{name}-{kind}.gguf"
            try:
                p.smelt("convert", source, "--type", kind, "-o", path, "--force", "--quiet")
                reader = gguf.GGUFReader(path)
                if kind == "f32":
                    check_against_converter(checks, name, reader, json.loads((source / "expected_gguf.json").read_text()))
                else:
                    decoded = p.work / "decoded.gguf"
                    p.smelt("quantize", path, "--type", "f32", "--allow-requantize", "--validate", "off", "-o", decoded, "--force", "--quiet")
                    check_decoded(checks, label, reader, gguf.GGUFReader(decoded))
                check_llama(checks, p, label, kind, path, context)
            except (peers.Failed, ValueError, KeyError) as e:
                checks.check(False, f"{label}: {e!r}" if not isinstance(e, peers.Failed) else f"{label}: {e}")
            path.unlink(missing_ok=True)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
