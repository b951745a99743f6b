#!/usr/bin/env python3
"""Writes models with random weights as published directories: DIR/delta, gated delta nets (Qwen3.5), DIR/hybrid, the same with attention in
every fourth layer, as they are published, DIR/latent, multi-head latent attention (DeepSeek V3, layers without experts), and DIR/attention,
plain attention with as many parameters a layer (Qwen3). For the speed of the others beside the last.

    delta_model.py DIR --tokenizer MODEL [--layers 4] [--width 1024] [--ffn 2048]

The tokenizer's files are copied from another model's directory. Needs numpy.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np

from mamba2_model import write_safetensors

HEAD, CONV = 128, 4
RANK, ROTATED = 512, 64  # of latent vectors, of a head


def ends(normal, vocabulary, width, norm):
    yield "model.embed_tokens.weight", normal(vocabulary, width) * np.sqrt(width)
    yield "lm_head.weight", normal(vocabulary, width)
    yield "model.norm.weight", np.full(width, norm)


def mlp(normal, layer, width, ffn, norm):
    yield layer + "input_layernorm.weight", np.full(width, norm)
    yield layer + "post_attention_layernorm.weight", np.full(width, norm)
    yield layer + "mlp.gate_proj.weight", normal(ffn, width)
    yield layer + "mlp.up_proj.weight", normal(ffn, width)
    yield layer + "mlp.down_proj.weight", normal(width, ffn)


def is_attention(layer):
    """Of a hybrid model."""
    return layer % 4 == 3


def gated_attention(normal, a, layer):
    heads = a.width // HEAD
    layer += "self_attn."
    yield layer + "q_proj.weight", normal(2 * heads * HEAD, a.width)
    yield layer + "k_proj.weight", normal(heads * HEAD, a.width)
    yield layer + "v_proj.weight", normal(heads * HEAD, a.width)
    yield layer + "o_proj.weight", normal(a.width, heads * HEAD)
    yield layer + "q_norm.weight", np.zeros(HEAD)
    yield layer + "k_norm.weight", np.zeros(HEAD)


def hybrid(normal, random, a, vocabulary):
    yield from delta(normal, random, a, vocabulary, is_attention)


def delta(normal, random, a, vocabulary, is_attention=lambda layer: False):
    keys, values = a.width // HEAD, 2 * a.width // HEAD
    yield from ends(normal, vocabulary, a.width, 0)
    for i in range(a.layers):
        layer = f"model.layers.{i}."
        yield from mlp(normal, layer, a.width, a.ffn, 0)
        if is_attention(i):
            yield from gated_attention(normal, a, layer)
            continue
        layer += "linear_attn."
        yield layer + "in_proj_qkv.weight", normal((2 * keys + values) * HEAD, a.width)
        yield layer + "in_proj_z.weight", normal(values * HEAD, a.width)
        yield layer + "in_proj_b.weight", normal(values, a.width)
        yield layer + "in_proj_a.weight", normal(values, a.width)
        yield layer + "conv1d.weight", random.uniform(-0.5, 0.5, ((2 * keys + values) * HEAD, 1, CONV))
        yield layer + "A_log", np.log(random.uniform(1, 16, values))
        yield layer + "dt_bias", random.uniform(-6, -2, values)
        yield layer + "norm.weight", np.ones(HEAD)
        yield layer + "out_proj.weight", normal(a.width, values * HEAD)


def attention(normal, random, a, vocabulary):
    heads = 2 * a.width // HEAD
    yield from ends(normal, vocabulary, a.width, 1)
    for i in range(a.layers):
        layer = f"model.layers.{i}."
        yield from mlp(normal, layer, a.width, a.ffn, 1)
        layer += "self_attn."
        for name in ("q_proj", "k_proj", "v_proj"):
            yield layer + name + ".weight", normal(heads * HEAD, a.width)
        yield layer + "o_proj.weight", normal(a.width, heads * HEAD)
        yield layer + "q_norm.weight", np.ones(HEAD)
        yield layer + "k_norm.weight", np.ones(HEAD)


def latent(normal, random, a, vocabulary):
    heads = 2 * a.width // HEAD
    yield from ends(normal, vocabulary, a.width, 1)
    for i in range(a.layers):
        layer = f"model.layers.{i}."
        yield from mlp(normal, layer, a.width, a.ffn, 1)
        layer += "self_attn."
        yield layer + "q_proj.weight", normal(heads * (HEAD + ROTATED), a.width)
        yield layer + "kv_a_proj_with_mqa.weight", normal(RANK + ROTATED, a.width)
        yield layer + "kv_a_layernorm.weight", np.ones(RANK)
        yield layer + "kv_b_proj.weight", normal(heads * 2 * HEAD, RANK)
        yield layer + "o_proj.weight", normal(a.width, heads * HEAD)


def write(a, name, tensors, config):
    directory = a.directory / name
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    vocabulary = json.loads((a.tokenizer / "config.json").read_text())
    vocabulary = vocabulary.get("text_config", vocabulary)["vocab_size"]

    def normal(*shape):
        return random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))

    config = {"hidden_size": a.width, "num_hidden_layers": a.layers, "vocab_size": vocabulary, "intermediate_size": a.ffn,
               "head_dim": HEAD, "max_position_embeddings": 8192, "tie_word_embeddings": False, "rms_norm_eps": 1e-6} | config
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(a.tokenizer / file, directory / file)
    write_safetensors(directory / "model.safetensors", tensors(normal, random, a, vocabulary))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory", type=pathlib.Path)
    p.add_argument("--tokenizer", type=pathlib.Path, required=True)
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--width", type=int, default=1024)
    p.add_argument("--ffn", type=int, default=2048)
    a = p.parse_args()
    heads = a.width // HEAD
    gated = {
        "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "linear_num_key_heads": heads,
        "linear_num_value_heads": 2 * heads, "num_attention_heads": heads, "num_key_value_heads": heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25, "mrope_section": [6, 5, 5]}}
    write(a, "delta", delta, gated | {"layer_types": ["linear_attention"] * a.layers})
    write(a, "hybrid", hybrid, gated | {
        "layer_types": ["full_attention" if is_attention(i) else "linear_attention" for i in range(a.layers)]})
    write(a, "attention", attention, {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_attention_heads": 2 * heads, "num_key_value_heads": 2 * heads})
    write(a, "latent", latent, {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_attention_heads": 2 * heads, "num_key_value_heads": 2 * heads,
        "q_lora_rank": None, "kv_lora_rank": RANK, "qk_nope_head_dim": HEAD, "qk_rope_head_dim": ROTATED, "v_head_dim": HEAD, "head_dim": ROTATED,
        "first_k_dense_replace": a.layers, "rope_scaling": None})


if __name__ == "__main__":
    main()
