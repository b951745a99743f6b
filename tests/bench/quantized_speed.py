#!/usr/bin/env python3
"""How long quantized checkpoints take to convert, against the same shapes in bf16, and the memory that it takes.

    quantized_speed.py --smelt PROGRAM --tokenizer DIR --work DIR [--layers 6] [--rounds 3] [--type q8_0]... [--format NAME]...

A Llama of 2048 x LAYERS layers (feed-forward 5632) with random codes in each format; DIR has tokenizer files of a Llama (its vocabulary is the
model's). Conversions run one after the other, formats in turn, --validate off, one thread. Printed: the least CPU time (user + system) of
ROUNDS, its ratio to bf16's, and the peak of anonymous memory. The bound: 1.3 times, 300 MiB. Needs numpy.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys

import numpy as np

rng = np.random.default_rng(20261130)
WIDTH, FFN, HEADS, KV = 2048, 5632, 32, 4
BOUND, BOUND_MIB = 1.3, 300


def raw(*shape, dtype=np.uint8):
    return rng.integers(0, 256, (*shape[:-1], shape[-1] * np.dtype(dtype).itemsize), np.uint8).view(dtype)


def bf16(*shape):
    x = raw(*shape, dtype=np.uint16)
    return "BF16", (x & 0x80FF) | 0x3C00


def f16(*shape):
    return "F16", (raw(*shape, dtype=np.uint16) & 0x03FF) | 0x2000


def f32(*shape, low=0.01, high=0.02):
    return "F32", rng.uniform(low, high, shape).astype(np.float32)


def e4m3(*shape, mask=0x7F):
    x = raw(*shape) & (0x80 | mask)
    return "F8_E4M3", np.where((x & 0x7F) == 0x7F, 0x40, x).astype(np.uint8)


def i32(*shape):
    return "I32", raw(*shape, dtype=np.int32)


def u8(*shape):
    return "U8", raw(*shape)


def json_bytes(value):
    return "U8", np.frombuffer(json.dumps(value).encode(), np.uint8)


def gptq(n, k, group=128, order=False):
    columns = rng.permutation(k) if order else np.arange(k)
    return {"qweight": i32(k // 8, n), "qzeros": i32(k // group, n // 8), "scales": f16(k // group, n),
            "g_idx": ("I32", (columns // group).astype(np.int32))}


NF4 = np.linspace(-1, 1, 16, dtype=np.float32)
# Of a matrix of n rows and k columns: its tensors, by the end of their names.
FORMATS = {
    "bf16": (None, lambda n, k: {"weight": bf16(n, k)}),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, gptq),
    "gptq-act-order": ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, lambda n, k: gptq(n, k, order=True)),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128}, lambda n, k: {
        "qweight": i32(k, n // 8), "qzeros": i32(k // 128, n // 8), "scales": f16(k // 128, n)}),
    "compressed-tensors": ({"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 4, "group_size": 128}}}}, lambda n, k: {
        "weight_packed": i32(n, k // 8), "weight_scale": bf16(n, k // 128), "weight_shape": ("I64", np.array([n, k], np.int64))}),
    "fp8": ({"quant_method": "fp8"}, lambda n, k: {"weight": e4m3(n, k), "weight_scale": f32(1)}),
    "fp8-block": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, lambda n, k: {"weight": e4m3(n, k), "weight_scale_inv": f32(-(-n // 128), -(-k // 128))}),
    "int8": ({"quant_method": "compressed-tensors"}, lambda n, k: {"weight": ("I8", raw(n, k, dtype=np.int8)), "weight_scale": f32(n, 1)}),
    "nf4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda n, k: {
        "weight": u8(n * k // 2, 1), "weight.absmax": f32(n * k // 64), "weight.quant_map": ("F32", NF4),
        "weight.quant_state.bitsandbytes__nf4": json_bytes({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [n, k]})}),
    "mxfp4": ({"quant_method": "quark"}, lambda n, k: {"weight_packed": u8(n, k // 2), "weight_scale": ("U8", raw(n, k // 32) & 3 | 0x78)}),
    "nvfp4": ({"quant_method": "modelopt"}, lambda n, k: {"weight": u8(n, k // 2), "weight_scale": e4m3(n, k // 16, mask=0x3F), "weight_scale_2": f32()}),
    "hqq": ({"quant_method": "hqq"}, lambda n, k: {
        "W_q": u8(n * k // 128, 64), "scale": f16(n * k // 64, 1), "zero": f16(n * k // 64, 1), "nbits": ("I64", np.array(4, np.int64)),
        "axis": ("I64", np.array(1, np.int64)), "shape": ("I64", np.array([n, k], np.int64))}),
    "mlx": ({"bits": 4, "group_size": 64}, lambda n, k: {"weight": ("U32", raw(n, k // 8, dtype=np.uint32)), "scales": bf16(n, k // 64), "biases": bf16(n, k // 64)}),
}


def make(folder, tokenizer, layers, name):
    settings, matrix = FORMATS[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in tokenizer.iterdir():
        if file.name.startswith(("tokenizer", "special")):
            shutil.copyfile(file, folder / file.name)
    config = json.loads((tokenizer / "config.json").read_text())
    config.update(hidden_size=WIDTH, intermediate_size=FFN, num_attention_heads=HEADS, num_key_value_heads=KV, num_hidden_layers=layers, head_dim=WIDTH // HEADS)
    config.pop("quantization_config", None)
    if settings:
        config["quantization" if name == "mlx" else "quantization_config"] = settings
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"model.embed_tokens.weight": bf16(config["vocab_size"], WIDTH), "lm_head.weight": bf16(config["vocab_size"], WIDTH), "model.norm.weight": bf16(WIDTH)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[prefix + norm + ".weight"] = bf16(WIDTH)
        for part, n, k in (("self_attn.q_proj", WIDTH, WIDTH), ("self_attn.k_proj", WIDTH // HEADS * KV, WIDTH), ("self_attn.v_proj", WIDTH // HEADS * KV, WIDTH),
                           ("self_attn.o_proj", WIDTH, WIDTH), ("mlp.gate_proj", FFN, WIDTH), ("mlp.up_proj", FFN, WIDTH), ("mlp.down_proj", WIDTH, FFN)):
            for end, tensor in matrix(n, k).items():
                tensors[f"{prefix}{part}.{end}"] = tensor
    header, position = {}, 0
    for key, (dtype, array) in tensors.items():
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, array in tensors.values():
            f.write(np.ascontiguousarray(array).tobytes())


def convert(program, folder, kind):
    """CPU seconds and peak MiB of one conversion."""
    out = folder.parent / "out.gguf"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    p = subprocess.run([program, "convert", folder, "--type", kind, "--validate", "off", "-o", out, "--force", "--json", "--threads", "1"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode:
        sys.exit(p.stderr)
    out.unlink()
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, json.loads(p.stdout)["peak_anonymous_bytes"] / 2 ** 20


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--smelt", "--tokenizer", "--work"):
        a.add_argument(name, required=True, type=pathlib.Path)
    a.add_argument("--layers", type=int, default=6)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--type", action="append")
    a.add_argument("--format", action="append")
    a = a.parse_args()
    formats = ["bf16", *(a.format or [f for f in FORMATS if f != "bf16"])]
    for name in formats:
        make(a.work / name, a.tokenizer, a.layers, name)
    missed = 0
    for kind in a.type or ["q8_0", "bf16"]:
        best = {name: (float("inf"), 0) for name in formats}
        for _ in range(a.rounds):
            for name in formats:
                seconds, mib = convert(a.smelt, a.work / name, kind)
                best[name] = (min(best[name][0], seconds), max(best[name][1], mib))
        for name, (seconds, mib) in best.items():
            ratio = seconds / best["bf16"][0]
            over = ratio > BOUND or mib > BOUND_MIB
            missed += over
            print(f"{kind:6} {name:20} {seconds:7.2f} s  {ratio:5.2f} times bf16's  {mib:5.0f} MiB{'  OVER' if over else ''}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
