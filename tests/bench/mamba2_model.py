#!/usr/bin/env python3
"""Writes a Mamba-2 model of the size of mamba2-130m with random weights, as a published directory.

    mamba2_model.py DIR --tokenizer MODEL [--layers 24] [--width 768]

The tokenizer's files are copied from another model's directory; ids above its own are unused. Needs numpy.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np

STATE, HEAD, CONV, VOCABULARY = 128, 64, 4, 50288


def bf16(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def weights(layers, width, random):
    """(name, values) in file order, with the spreads that mamba_ssm begins with."""
    inner = 2 * width
    heads = inner // HEAD

    def normal(*shape):
        return random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    yield "backbone.embeddings.weight", normal(VOCABULARY, width)
    for i in range(layers):
        mixer = f"backbone.layers.{i}.mixer."
        yield f"backbone.layers.{i}.norm.weight", np.ones(width)
        yield mixer + "A_log", np.log(random.uniform(1, 16, heads))
        yield mixer + "D", np.ones(heads)
        yield mixer + "conv1d.bias", normal(inner + 2 * STATE)
        yield mixer + "conv1d.weight", random.uniform(-0.5, 0.5, (inner + 2 * STATE, 1, CONV))
        step = np.exp(random.uniform(np.log(1e-3), np.log(0.1), heads))
        yield mixer + "dt_bias", step + np.log(-np.expm1(-step))
        yield mixer + "in_proj.weight", normal(2 * inner + 2 * STATE + heads, width)
        yield mixer + "norm.weight", np.ones(inner)
        yield mixer + "out_proj.weight", normal(width, inner) / np.sqrt(layers)
    yield "backbone.norm_f.weight", np.ones(width)


def write_safetensors(path, tensors):
    header, data, at = {}, [], 0
    for name, values in tensors:
        data.append(bf16(values))
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + data[-1].nbytes]}
        at += data[-1].nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for values in data:
            f.write(values.tobytes())


def write(directory, tokenizer, layers=24, width=768):
    directory.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": width, "num_hidden_layers": layers,
              "vocab_size": VOCABULARY, "state_size": STATE, "num_heads": 2 * width // HEAD, "head_dim": HEAD, "n_groups": 1,
              "conv_kernel": CONV, "expand": 2, "chunk_size": 256, "time_step_limit": [0.0, {"__float__": "Infinity"}],
              "layer_norm_epsilon": 1e-5, "rms_norm": True, "hidden_act": "silu", "use_bias": False, "use_conv_bias": True,
              "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, directory / name)
    write_safetensors(directory / "model.safetensors", weights(layers, width, np.random.default_rng(1)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory", type=pathlib.Path)
    p.add_argument("--tokenizer", type=pathlib.Path, required=True)
    p.add_argument("--layers", type=int, default=24)
    p.add_argument("--width", type=int, default=768)
    a = p.parse_args()
    write(a.directory, a.tokenizer, a.layers, a.width)


if __name__ == "__main__":
    main()
