#!/usr/bin/env python3
"""Small models of random weights in NVFP4, as ModelOpt and compressed-tensors store it, and the values that they mean.

    pip install numpy safetensors ml_dtypes
    make_nvfp4.py OUT      # writes OUT/modelopt and OUT/compressed-tensors: config.json, model.safetensors, values.json

values.json: SHA-256 of the f32 values of GGUF tensors by name, as the formats' libraries compute them (ModelOpt: a group's scale is E4M3
times the matrix' weight_scale_2; compressed-tensors: E4M3 divided by weight_global_scale), and under "NAME.scale" what llama.cpp's
converter writes beside the blocks.
"""
import hashlib
import json
import os
import sys

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

out = sys.argv[1]
rng = np.random.default_rng(20261130)
VOCABULARY, WIDTH, FFN, EXPERTS, LAYERS, HEADS, KV, HEAD = 64, 128, 64, 3, 2, 4, 2, 32
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
COMMON = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD,
          "vocab_size": VOCABULARY, "max_position_embeddings": 512, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
          "tie_word_embeddings": False}


class Model:
    def __init__(self, modelopt):
        self.modelopt, self.tensors, self.values, self.scales = modelopt, {}, {}, {}

    def plain(self, name, *shape, scale=0.1, base=0.0):
        self.tensors[name] = (base + rng.standard_normal(shape) * scale).astype(np.float32)

    def nvfp4(self, stem, rows, columns):
        """Stores a matrix; its values, and what its blocks are multiplied with."""
        codes = rng.integers(0, 16, (rows, columns // 16, 16)).astype(np.uint8)
        scales = rng.uniform(20, 400, (rows, columns // 16)).astype(np.float32).astype(ml_dtypes.float8_e4m3fn)
        packed = (codes[..., 0::2] | codes[..., 1::2] << 4).reshape(rows, columns // 2)
        factor = np.float32(rng.uniform(1e-4, 4e-4))
        names = ("weight", "weight_scale_2", "input_scale") if self.modelopt else ("weight_packed", "weight_global_scale", "input_global_scale")
        self.tensors[f"{stem}.{names[0]}"] = packed
        self.tensors[f"{stem}.weight_scale"] = scales
        given = factor if self.modelopt else np.float32(1) / factor
        self.tensors[f"{stem}.{names[1]}"] = np.array(given if self.modelopt else [given], np.float32)
        self.tensors[f"{stem}.{names[2]}"] = np.array(0.5 if self.modelopt else [2], np.float32)
        group = scales.astype(np.float32) * given if self.modelopt else scales.astype(np.float32) / given
        return (E2M1[codes] * group[..., None]).reshape(rows, columns), (given if self.modelopt else np.float32(1) / given)

    def record(self, name, values, scale):
        self.values[name] = hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()
        self.scales[name.replace(".weight", ".scale")] = np.atleast_1d(scale).astype(np.float32).tolist()

    def attention(self, layer, permuted):
        p = f"model.layers.{layer}.self_attn."
        for letter, heads in (("q", HEADS), ("k", KV), ("v", KV)):
            w, scale = self.nvfp4(f"{p}{letter}_proj", heads * HEAD, WIDTH)
            if permuted and letter != "v":
                w = w.reshape(heads, 2, HEAD // 2, WIDTH).swapaxes(1, 2).reshape(heads * HEAD, WIDTH)
            self.record(f"blk.{layer}.attn_{letter}.weight", w, scale)
        self.record(f"blk.{layer}.attn_output.weight", *self.nvfp4(p + "o_proj", WIDTH, HEADS * HEAD))

    def around(self):
        self.plain("model.embed_tokens.weight", VOCABULARY, WIDTH, scale=1)
        self.plain("lm_head.weight", VOCABULARY, WIDTH)
        self.plain("model.norm.weight", WIDTH, base=1.0)
        for layer in range(LAYERS):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                self.plain(f"model.layers.{layer}.{norm}.weight", WIDTH, base=1.0)

    def save(self, name, config):
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        save_file(self.tensors, os.path.join(folder, "model.safetensors"))
        for file, value in (("config.json", config), ("values.json", {**self.values, **self.scales})):
            with open(os.path.join(folder, file), "w") as f:
                json.dump(value, f, indent=1)
                f.write("\n")


def modelopt():
    """A mixture whose experts have scales of their own."""
    model = Model(True)
    model.around()
    for layer in range(LAYERS):
        model.attention(layer, False)
        p = f"model.layers.{layer}."
        model.plain(p + "self_attn.q_norm.weight", HEAD, base=1.0)
        model.plain(p + "self_attn.k_norm.weight", HEAD, base=1.0)
        model.plain(p + "mlp.gate.weight", EXPERTS, WIDTH)
        for projection, rows, columns in (("gate", FFN, WIDTH), ("up", FFN, WIDTH), ("down", WIDTH, FFN)):
            experts = [model.nvfp4(f"{p}mlp.experts.{e}.{projection}_proj", rows, columns) for e in range(EXPERTS)]
            model.record(f"blk.{layer}.ffn_{projection}_exps.weight", np.stack([w for w, _ in experts]), [s for _, s in experts])
    model.save("modelopt", {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", **COMMON, "intermediate_size": FFN, "moe_intermediate_size": FFN,
        "num_experts": EXPERTS, "num_experts_per_tok": 2, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}})


def compressed():
    """Rotary rows that GGUF has in another order."""
    model = Model(False)
    model.around()
    for layer in range(LAYERS):
        model.attention(layer, True)
        p = f"model.layers.{layer}.mlp."
        for projection, rows, columns in (("gate", FFN, WIDTH), ("up", FFN, WIDTH), ("down", WIDTH, FFN)):
            model.record(f"blk.{layer}.ffn_{projection}.weight", *model.nvfp4(f"{p}{projection}_proj", rows, columns))
    weights = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True}
    model.save("compressed-tensors", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", **COMMON, "intermediate_size": FFN,
        "quantization_config": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": ["lm_head"],
                                "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}})


modelopt()
compressed()
