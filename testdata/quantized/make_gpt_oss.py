#!/usr/bin/env python3
"""A gpt-oss of random weights whose experts are stored as published, in MXFP4, and the values that they mean.

    pip install numpy safetensors
    make_gpt_oss.py OUT      # writes OUT/config.json, OUT/model.safetensors, OUT/values.json

values.json: SHA-256 of the f32 values of the experts' GGUF tensors: even rows of gate_up_proj are the gate, odd ones up.
"""
import hashlib
import json
import os
import sys

import numpy as np
from safetensors.numpy import save_file

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
rng = np.random.default_rng(20261129)
VOCABULARY, WIDTH, FFN, EXPERTS, LAYERS, HEADS, KV, HEAD = 64, 64, 96, 4, 2, 4, 2, 16
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)

config = {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "intermediate_size": FFN,
          "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD, "num_local_experts": EXPERTS, "num_experts_per_tok": 2,
          "vocab_size": VOCABULARY, "sliding_window": 8, "max_position_embeddings": 512, "rope_theta": 150000.0, "rms_norm_eps": 1e-5,
          "tie_word_embeddings": False, "attention_bias": True, "swiglu_limit": 7.0, "layer_types": ["sliding_attention", "full_attention"],
          "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}}
tensors, values = {}, {}


def plain(name, *shape, scale=0.1, base=0.0):
    tensors[name] = (base + rng.standard_normal(shape) * scale).astype(np.float32)


def blocks(name, outputs, inputs):
    codes = rng.integers(0, 16, (EXPERTS, outputs, inputs // 32, 32)).astype(np.uint8)
    exponents = rng.integers(118, 124, (EXPERTS, outputs, inputs // 32)).astype(np.uint8)
    tensors[name + "_blocks"] = codes[..., 0::2] | codes[..., 1::2] << 4
    tensors[name + "_scales"] = exponents
    return (E2M1[codes] * np.exp2(exponents.astype(np.float32) - 127)[..., None]).reshape(EXPERTS, outputs, inputs).astype(np.float32)


def record(name, value):
    values[name] = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()


plain("model.embed_tokens.weight", VOCABULARY, WIDTH, scale=1)
plain("lm_head.weight", VOCABULARY, WIDTH)
plain("model.norm.weight", WIDTH, base=1.0)
for layer in range(LAYERS):
    p = f"model.layers.{layer}."
    plain(p + "input_layernorm.weight", WIDTH, base=1.0)
    plain(p + "post_attention_layernorm.weight", WIDTH, base=1.0)
    for projection, rows in (("q", HEADS * HEAD), ("k", KV * HEAD), ("v", KV * HEAD), ("o", WIDTH)):
        plain(p + f"self_attn.{projection}_proj.weight", rows, HEADS * HEAD if projection == "o" else WIDTH)
        plain(p + f"self_attn.{projection}_proj.bias", rows)
    plain(p + "self_attn.sinks", HEADS)
    plain(p + "mlp.router.weight", EXPERTS, WIDTH)
    plain(p + "mlp.router.bias", EXPERTS)
    gate_up, down = blocks(p + "mlp.experts.gate_up_proj", 2 * FFN, WIDTH), blocks(p + "mlp.experts.down_proj", WIDTH, FFN)
    plain(p + "mlp.experts.gate_up_proj_bias", EXPERTS, 2 * FFN)
    plain(p + "mlp.experts.down_proj_bias", EXPERTS, WIDTH)
    record(f"blk.{layer}.ffn_gate_exps.weight", gate_up[:, 0::2])
    record(f"blk.{layer}.ffn_up_exps.weight", gate_up[:, 1::2])
    record(f"blk.{layer}.ffn_down_exps.weight", down)
save_file(tensors, os.path.join(out, "model.safetensors"))
for name, value in (("config.json", config), ("values.json", values)):
    with open(os.path.join(out, name), "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")
