#!/usr/bin/env python3
"""Quantized checkpoints that llama.cpp's converter reads too: tensors are equal, and what is kept in 4 bits runs there.

    quantized_peer.py --smelt PROGRAM --shared DIR --work DIR --converter convert_hf_to_gguf.py [--model NAME]...

  * fixtures/models/llama-{gptq,fp8-block,ct}: to f32 by both (its own computations give f32 of bf16 there, so nearly)
  * llama-q-base with its linear layers in NVFP4, as ModelOpt and as compressed-tensors store it: kept by both, byte for byte, scales
    beside them; the folder's perplexity, that of our file, and llama.cpp's of our file
  * llama-q-base in parts (--split-tensors): llama.cpp loads the first of them
The converter is that of llama.cpp (https://github.com/ggml-org/llama.cpp); its package `conversion` lies beside it. Needs gguf, numpy,
torch, transformers, xllamacpp.
"""
import json
import os
import shutil
import struct
import sys

import gguf
import numpy as np

import peers

FIXTURES = ("llama-gptq", "llama-fp8-block", "llama-ct")
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
DTYPES = {"BF16": np.uint16, "F32": np.float32, "F16": np.float16, "U8": np.uint8, "F8_E4M3": np.uint8}


def read_safetensors(path):
    """Arrays by name with their type; BF16 as its bits."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], np.frombuffer(data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]], DTYPES[t["dtype"]])
                   .reshape(t["shape"])) for name, t in header.items()}


def write_safetensors(path, tensors):
    header, position, parts = {}, 0, []
    for name, (dtype, array) in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [position, position + len(data)]}
        position += len(data)
        parts.append(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def floats(dtype, array):
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array.astype(np.float32)


E4M3 = np.array([np.ldexp(8 + m, e - 10) if e else np.ldexp(m, -9) for e in range(16) for m in range(8)], np.float32)[:127]


def nvfp4(weight):
    """Bytes of pairs, E4M3 of groups of 16, the number that these are multiplied with."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, -1, 16)
    factor = np.float32(np.abs(weight).max() / (6 * 448))
    wanted = np.abs(groups).max(-1) / 6 / factor
    scales = np.abs(wanted[..., None] - E4M3).argmin(-1).astype(np.uint8)
    step = np.maximum(E4M3[scales] * factor, 1e-30)[..., None]
    codes = np.abs((groups / step)[..., None] - E2M1[:16]).argmin(-1).astype(np.uint8).reshape(rows, columns)
    return codes[:, 0::2] | codes[:, 1::2] << 4, scales, factor


def make_nvfp4(source, folder, modelopt):
    """A copy of a folder with its linear layers in NVFP4."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    for file in folder.iterdir():
        os.chmod(file, 0o644)
    tensors = {}
    for name, (dtype, array) in read_safetensors(source / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = (dtype, array)
            continue
        stem = name.removesuffix("weight")
        packed, scales, factor = nvfp4(floats(dtype, array))
        tensors[name if modelopt else name + "_packed"] = ("U8", packed)
        tensors[stem + "weight_scale"] = ("F8_E4M3", scales)
        if modelopt:
            tensors[stem + "weight_scale_2"] = ("F32", np.array(factor, np.float32))
        else:
            tensors[stem + "weight_global_scale"] = ("F32", np.array([1 / factor], np.float32))
    write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]} if modelopt else {
        "quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}}}}
    (folder / "config.json").write_text(json.dumps(config))


def convert_theirs(p, converter, folder, out, kind):
    peers.run([sys.executable, converter, folder, "--outtype", kind, "--outfile", out])
    return {t.name: t for t in gguf.GGUFReader(out).tensors}


def convert_ours(p, folder, out, kind):
    p.smelt("convert", folder, "--type", kind, "-o", out, "--force", "--quiet")
    return {t.name: t for t in gguf.GGUFReader(out).tensors}


def check_equal(checks, label, ours, theirs, tolerance):
    checks.check(sorted(ours) == sorted(theirs), f"{label}: {len(ours)} tensors by name; different: {sorted(set(ours) ^ set(theirs))[:4]}")
    worst, which = 0.0, ""
    for name in set(ours) & set(theirs):
        a, b = ours[name], theirs[name]
        if a.tensor_type != b.tensor_type or list(a.shape) != list(b.shape):
            checks.check(False, f"{label}: {name} is {a.tensor_type.name} {a.shape}, theirs {b.tensor_type.name} {b.shape}")
        elif a.data.dtype == np.uint8:
            checks.check(np.array_equal(a.data, b.data), f"{label}: {name}: blocks are equal")
        else:
            difference = np.abs(a.data - b.data).max() / max(np.abs(b.data).max(), 1e-30)
            if difference > worst:
                worst, which = difference, name
    checks.check(worst <= tolerance, f"{label}: values differ by {worst:.2g} of the largest at most ({which}), allowed {tolerance:g}")


def main():
    a = peers.parser(__doc__)
    a.add_argument("--converter", help="llama.cpp's convert_hf_to_gguf.py")
    a.add_argument("--model", action="append")
    a = a.parse_args()
    p, checks = peers.Peers(a), peers.Checks()
    if not a.converter or not os.path.exists(a.converter):
        print("******** SKIPPED: llama.cpp's converter is not here; name it with --converter")
        return 77
    for name in a.model or FIXTURES:
        source = p.fixture("models/" + name)
        try:
            # Of scales in f16 or bf16 the converter's torch computes products in these types.
            check_equal(checks, name, convert_ours(p, source, p.work / "ours.gguf", "f32"),
                        convert_theirs(p, a.converter, source, p.work / "theirs.gguf", "f32"), 2 ** -8)
        except peers.Failed as e:
            checks.check(False, f"{name}: {e}")
    base, text = p.fixture("models/llama-q-base"), p.fixture("models/eval.txt")
    for kind in () if a.model else ("modelopt", "compressed-tensors"):
        folder, ours = p.work / ("nvfp4-" + kind), p.work / f"nvfp4-{kind}.gguf"
        make_nvfp4(base, folder, kind == "modelopt")
        try:
            kept = convert_ours(p, folder, ours, "auto")
            checks.check(sum(t.tensor_type == gguf.GGMLQuantizationType.NVFP4 for t in kept.values()) == 14, f"{kind}: 14 matrices stay NVFP4")
            check_equal(checks, kind, kept, convert_theirs(p, a.converter, folder, p.work / "theirs.gguf", "bf16"), 1e-6)
            here = p.smelt_json("eval", folder, "--text", text, "--context", "128", "--chunks", "4")["perplexity"]
            written = p.smelt_json("eval", ours, "--text", text, "--context", "128", "--chunks", "4")["perplexity"]
            checks.within(written, here, 1e-6, f"{kind}: perplexity of the file against the folder's")
            theirs = p.llama("ppl", ours, "--text", text, "--ctx", "128", "--chunks", "4", "--exact")["perplexity"]
            checks.within(written, theirs, 0.03, f"{kind}: perplexity against llama.cpp's")
        except peers.Failed as e:
            checks.check(False, f"{kind}: {e}")
    if not a.model:
        parts = p.smelt_json("convert", base, "--type", "q8_0", "--split-tensors", "7", "-o", p.work / "parts.gguf", "--force")["parts"]
        load = p.llama("load", parts[0]["path"])
        checks.check(load["logits_finite"], f"llama.cpp loads {len(parts)} parts ({load['description']})")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
