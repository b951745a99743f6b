#!/usr/bin/env python3
"""Small random models of every family with attention, from randomly drawn configurations: our logits against transformers'.

    transformers_random.py --smelt PROGRAM --shared DIR --work DIR [--families llama,gpt-oss,...] [--seeds 0:8] [--keep]

Each (family, seed) draws a configuration (group counts, head sizes, periods, expert counts, windows, rope scaling, biases, odd
vocabulary sizes, absent keys, both styles of config.json), fills a model with random weights, saves it, and lets transformers read
that folder. Compared are the logits of `smelt eval` of the folder, and of the f32 GGUF that `smelt convert` makes of it. A model that
transformers runs must not be refused. Needs torch and transformers; about a second a model.
"""
import json
import random
import shutil
import sys
import zlib

import torch
import transformers
from safetensors.torch import load_file

import peers

TOLERANCE = 2e-3  # absolute, of logits of a few units; two f32 implementations differ by about 1e-4
LENGTH = 90       # ids of a sequence: longer than any window and any original context drawn here


class Draw(random.Random):
    """Random choices with the probabilities that we need."""

    def maybe(self, share=0.5):
        return self.random() < share

    def heads(self, config, divides=True, null=True):
        """Heads, groups, head size and width; the head size is stated when it is not width / heads."""
        groups, kv = self.choice([1, 1, 2, 3, 4, 7]), self.choice([1, 2, 3])
        heads, size = groups * kv, self.choice([8, 12, 16, 20, 24, 40])
        own = not divides or self.maybe()
        width = heads * self.randint(3, 9) * 4 if own else heads * size
        config.update(num_attention_heads=heads, hidden_size=width, num_key_value_heads=kv)
        if null and kv == heads and self.maybe(0.3):
            config["num_key_value_heads"] = None
        if own:
            config["head_dim"] = size
        return width, heads, size if own else width // heads

    def window(self):
        return self.choice([1, 2, 5, 9, 16, 31, 64])

    def layer_types(self, layers):
        full = self.choice(["full_attention", "full_attention", "attention"])  # the last is an older word for it
        return [self.choice([full, "sliding_attention"]) for _ in range(layers)]

    def theta(self):
        return self.choice([10000.0, 500.0, 1000000.0, 150000, 25000.5])

    def factors(self, n):
        return [round(self.uniform(1, 5), 4) for _ in range(n)]


def rope(draw, kinds, dims):
    """A rope dictionary without theta; None = no scaling."""
    kind = draw.choice(kinds)
    if kind == "default":
        return None
    r = {"rope_type": kind}
    if kind in ("linear", "yarn", "llama3", "dynamic"):
        r["factor"] = draw.choice([2.0, 4.0, 8, 1.5, 32.0])
    if kind in ("yarn", "llama3") or (kind == "longrope" and draw.maybe()):
        r["original_max_position_embeddings"] = draw.choice([32, 64, 100, 256])
    if kind == "llama3":
        r["low_freq_factor"], r["high_freq_factor"] = draw.choice([(1.0, 4.0), (0.5, 2.0), (1, 8)])
    if kind == "yarn":
        if draw.maybe(0.3):
            r["attention_factor"] = draw.choice([1.0, 1.2, 0.8])
        elif draw.maybe(0.3):
            r["mscale"], r["mscale_all_dim"] = draw.choice([(1.0, 0.7), (0.707, 0.707), (1.2, 0)])
        if draw.maybe(0.5):
            r["beta_fast"], r["beta_slow"] = draw.choice([(32.0, 1.0), (16, 2), (8.0, 0.5)])
        if draw.maybe(0.5):
            r["truncate"] = draw.maybe()
        if draw.maybe(0.2):
            r["attn_factor"] = 0.8  # DeepSeek-R1-0528-Qwen3-8B's, which the class does not know
    if kind == "longrope":
        r["short_factor"], r["long_factor"] = draw.factors(dims // 2), draw.factors(dims // 2)
        if draw.maybe(0.3):
            r["attention_factor"] = draw.choice([1.0, 1.3])
        if draw.maybe(0.3):
            r["factor"] = draw.choice([2.0, 4.0])
    return r


def put_rope(draw, config, parameters, theta, old):
    """Writes rotary parameters in one of both styles."""
    if old:
        config["rope_theta"] = theta
        if parameters is None:
            if draw.maybe():
                config["rope_scaling"] = None
        else:
            parameters = dict(parameters)
            if draw.maybe(0.4):
                parameters["type"] = parameters.pop("rope_type")
            config["rope_scaling"] = parameters
    else:
        config["rope_parameters"] = {"rope_type": "default", **(parameters or {}), "rope_theta": theta}
        if draw.maybe(0.1):
            del config["rope_parameters"]["rope_theta"]


def common(draw, layers=None, ffn="intermediate_size"):
    config = {"num_hidden_layers": layers or draw.randint(1, 4), "vocab_size": draw.randint(705, 800), ffn: draw.randint(5, 40) * 4,
              "max_position_embeddings": draw.choice([96, 128, 200, 1024]), "tie_word_embeddings": draw.maybe()}
    if draw.maybe(0.8):
        config["rms_norm_eps"] = draw.choice([1e-6, 1e-5, 1e-2])
    return config


def act(draw, config, key="hidden_act", share=0.3):
    if draw.maybe(share):
        config[key] = draw.choice(["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "relu2", "gelu_fast", "swish"])


ALL_ROPE = ["default", "default", "linear", "yarn", "llama3", "longrope"]


def llama(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c)
    for key in ("attention_bias", "mlp_bias"):
        if draw.maybe(0.7):
            c[key] = draw.maybe()
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE + ["dynamic"], size), draw.theta(), old)
    return c


def mistral(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c, null=False)
    if draw.maybe(0.85):
        c["sliding_window"] = draw.choice([None, draw.window(), draw.window()])
    if c.get("sliding_window", 4096) and draw.maybe(0.3):  # with the list, transformers takes it for a Ministral
        c["layer_types"], c["head_dim"] = draw.layer_types(c["num_hidden_layers"]), size
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def ministral(draw, old):
    c = mistral(draw, old)
    if c.get("sliding_window", 4096) is None:  # which transformers' Ministral cannot do
        c["sliding_window"] = draw.window()
    c.setdefault("head_dim", c["hidden_size"] // c["num_attention_heads"])
    return c


def unheeded_types(draw, c):
    """A list that the class checks and does not use."""
    if draw.maybe(0.25):
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])


def mixtral(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c, null=False)
    c.setdefault("head_dim", size)  # the class has no other default that works
    c["num_local_experts"] = draw.choice([1, 2, 3, 5, 8])
    c["num_experts_per_tok"] = draw.randint(1, c["num_local_experts"])
    if draw.maybe():
        c["sliding_window"] = draw.choice([None, draw.window()])
    unheeded_types(draw, c)
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def qwen_windows(draw, c, types=True):
    layers = c["num_hidden_layers"]
    if draw.maybe(0.8):
        c["use_sliding_window"] = draw.maybe(0.7)
    if draw.maybe(0.8):
        c["sliding_window"] = draw.choice([draw.window(), draw.window(), None])
    if draw.maybe(0.7):
        c["max_window_layers"] = draw.randint(0, layers)
    if types and draw.maybe(0.3) and c.get("sliding_window") is not None and c.get("use_sliding_window"):
        c["layer_types"] = draw.layer_types(layers)


def qwen2(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c)
    qwen_windows(draw, c)
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def qwen3(draw, old):
    c = qwen2(draw, old)
    c.setdefault("head_dim", c["hidden_size"] // c["num_attention_heads"])
    if draw.maybe(0.6):
        c["attention_bias"] = draw.maybe()
    return c


def qwen_experts(draw, c):
    c["num_experts"] = draw.choice([2, 3, 5, 8, 16])
    c["num_experts_per_tok"] = draw.randint(1, min(4, c["num_experts"]))
    c["moe_intermediate_size"] = draw.randint(3, 20) * 4
    if draw.maybe(0.8):
        c["norm_topk_prob"] = draw.maybe()
    if draw.maybe(0.5):
        c["decoder_sparse_step"] = draw.choice([1, 2, 3])
    if draw.maybe(0.5):
        c["mlp_only_layers"] = draw.sample(range(c["num_hidden_layers"]), draw.randint(0, c["num_hidden_layers"]))


def qwen2moe(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c)
    qwen_windows(draw, c)
    qwen_experts(draw, c)
    c["shared_expert_intermediate_size"] = draw.randint(3, 30) * 4
    if draw.maybe(0.6):
        c["qkv_bias"] = draw.maybe()
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def qwen3moe(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c, null=False)
    qwen_windows(draw, c, types=False)
    unheeded_types(draw, c)
    qwen_experts(draw, c)
    if draw.maybe(0.6):
        c["attention_bias"] = draw.maybe()
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def gemma(draw, old):
    c = common(draw)
    c["tie_word_embeddings"] = True
    if draw.maybe():
        del c["tie_word_embeddings"]
    _, _, size = draw.heads(c, divides=False, null=False)
    if draw.maybe(0.5):
        c["hidden_act"] = draw.choice(["gelu", "gelu_pytorch_tanh", "silu"])
    if draw.maybe(0.3):
        c["hidden_activation"] = draw.choice([None, "gelu_pytorch_tanh"])
    if draw.maybe(0.3):
        c["attention_bias"] = draw.maybe()
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def gemma2(draw, old):
    c = gemma(draw, old)
    c.pop("hidden_act", None)
    c.pop("hidden_activation", None)
    act(draw, c, "hidden_activation")
    c["sliding_window"] = draw.window()
    if draw.maybe(0.8):
        c["query_pre_attn_scalar"] = draw.choice([256, 16, 20, 7])
    if draw.maybe(0.8):
        c["attn_logit_softcapping"] = draw.choice([50.0, 2.0, None, 5.0])
    if draw.maybe(0.8):
        c["final_logit_softcapping"] = draw.choice([30.0, 3.0, None])
    if draw.maybe(0.5):
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])
    return c


def gemma3(draw, old):
    c = gemma2(draw, old)
    c["num_hidden_layers"] = draw.randint(1, 8)
    c.pop("layer_types", None)
    way = draw.choice(["types", "pattern", "default"])
    if way == "types":
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])
    elif way == "pattern":
        c["sliding_window_pattern"] = draw.randint(1, 7)
    for key in ("rope_parameters", "rope_theta", "rope_scaling"):
        c.pop(key, None)
    full = rope(draw, ALL_ROPE, c["head_dim"])
    if old:
        if draw.maybe(0.7):
            c["rope_theta"] = draw.theta()
        if draw.maybe(0.7):
            c["rope_local_base_freq"] = draw.theta()
        if full:
            c["rope_scaling"] = full
    else:
        c["rope_parameters"] = {"full_attention": {"rope_type": "default", **(full or {}), "rope_theta": draw.theta()},
                                "sliding_attention": {"rope_type": "default", "rope_theta": draw.theta()}}
        if draw.maybe(0.3):
            c["rope_parameters"]["sliding_attention"].update(rope(draw, ["linear", "yarn"], c["head_dim"]))
        gemma3_leftovers(draw, c)
    return c


def gemma3_leftovers(draw, c):
    """What transformers tolerates: flat parameters instead of those by kind or beside them, rope_scaling on top."""
    way = draw.choice(["", "", "", "flat", "beside", "on top"])
    flat = {"rope_type": "linear", "factor": draw.choice([2.0, 8.0])}
    if way == "flat":
        c["rope_parameters"] = {**flat, "rope_theta": draw.theta()}
        if draw.maybe():
            c["rope_theta"] = draw.theta()
    elif way == "beside":
        c["rope_parameters"].update(flat)
    elif way == "on top":
        c["rope_parameters"]["full_attention"] = {"rope_theta": draw.theta()}
        c["rope_scaling"] = flat


def gemma3_vision(draw, old):
    """The text part of a model with a vision part; what the whole says besides counts for nothing, but for the tie."""
    text = gemma3(draw, old)
    text.pop("tie_word_embeddings", None)
    if draw.maybe(0.3):
        text["tie_word_embeddings"] = draw.maybe()
    c = {"text_config": text, "mm_tokens_per_image": 4,
         "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
                           "patch_size": 14}}
    if draw.maybe():
        c["tie_word_embeddings"] = draw.maybe()
    for key, values in {"rms_norm_eps": [0.1], "rope_theta": [77.0], "final_logit_softcapping": [2.0], "query_pre_attn_scalar": [3]}.items():
        if draw.maybe(0.3):
            c[key] = draw.choice(values)
            if draw.maybe():
                text.pop(key, None)
    return c


def phi3(draw, old):
    c = common(draw)
    groups, kv = draw.choice([1, 2, 3, 4]), draw.choice([1, 2, 3])
    partial = draw.choice([1.0, 1.0, 0.5, 0.75, 0.4])
    size = 40 if partial == 0.4 else draw.choice([8, 16, 24, 32])
    c.update(num_attention_heads=groups * kv, num_key_value_heads=kv, hidden_size=groups * kv * size, pad_token_id=None)
    if draw.maybe(0.6):
        c["sliding_window"] = draw.choice([None, draw.window(), 4096])
    dims = int(size * partial)
    long = draw.maybe(0.7)
    if long:
        c["original_max_position_embeddings"] = draw.choice([32, 64, 89, 90, 91, 256])
    unheeded_types(draw, c)
    act(draw, c)
    put_rope(draw, c, rope(draw, ["longrope"] if long else ["default"], dims), draw.theta(), old)
    if long and old and draw.maybe(0.5):
        c["rope_scaling"].pop("rope_type", None)
        c["rope_scaling"]["type"] = draw.choice(["su", "longrope", "yarn"])
    if long:
        (c.get("rope_scaling") or c["rope_parameters"]).pop("original_max_position_embeddings", None)
    if partial != 1:
        (c if old else c["rope_parameters"])["partial_rotary_factor"] = partial
    return c


def phimoe(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c, null=False)
    c["num_local_experts"], c["num_experts_per_tok"] = draw.choice([2, 3, 5, 8, 16]), 2
    for key in ("attention_bias", "lm_head_bias"):
        if draw.maybe(0.7):
            c[key] = draw.maybe()
    if draw.maybe(0.7):
        c["router_jitter_noise"] = draw.choice([0.01, 0.05, 0.3])
    if draw.maybe():
        c["sliding_window"] = draw.choice([None, draw.window()])
    act(draw, c)
    r = rope(draw, ["default", "longrope", "longrope"], size)
    if r is not None:
        r.pop("attention_factor", None)
        r.update(original_max_position_embeddings=draw.choice([32, 64, 90, 256]), short_mscale=draw.choice([1.0, 1.3]),
                 long_mscale=draw.choice([1.3, 1.7]))
    put_rope(draw, c, r, draw.theta(), old)
    return c


def gpt2(draw, old):
    heads, size = draw.choice([1, 2, 3, 5]), draw.choice([8, 12, 16, 7])
    c = {"n_layer": draw.randint(1, 4), "n_head": heads, "n_embd": heads * size, "n_positions": draw.choice([96, 100, 128]),
         "vocab_size": draw.randint(705, 800)}
    if draw.maybe():
        c["n_inner"] = draw.choice([None, 36, 100])
    if draw.maybe(0.6):
        c["activation_function"] = draw.choice(["gelu_new", "gelu", "relu", "silu", "gelu_pytorch_tanh"])
    if draw.maybe():
        c["layer_norm_epsilon"] = draw.choice([1e-5, 1e-2])
    if draw.maybe(0.4):
        c["scale_attn_by_inverse_layer_idx"] = draw.maybe()
    if draw.maybe(0.3):
        c["scale_attn_weights"] = draw.maybe()
    if draw.maybe(0.3):
        c["tie_word_embeddings"] = draw.maybe()
    return c


def gptneox(draw, old):
    heads, size = draw.choice([1, 2, 3, 5]), draw.choice([16, 24, 32, 40])
    c = common(draw)
    c.pop("rms_norm_eps", None)
    c.update(num_attention_heads=heads, hidden_size=heads * size)
    if draw.maybe():
        c["layer_norm_eps"] = draw.choice([1e-5, 1e-2])
    for key in ("use_parallel_residual", "attention_bias"):
        if draw.maybe(0.6):
            c[key] = draw.maybe()
    act(draw, c)
    partial, theta = draw.choice([0.25, 0.5, 1.0]), draw.theta()
    scaling = rope(draw, ["default", "default", "linear", "yarn"], size)
    if old:
        if draw.maybe(0.8):
            c["rotary_pct"] = partial
        if draw.maybe(0.8):
            c["rotary_emb_base"] = theta
        if scaling:
            c["rope_scaling"] = scaling
    else:
        c["rope_parameters"] = {"rope_type": "default", **(scaling or {}), "rope_theta": theta, "partial_rotary_factor": partial}
    return c


def starcoder2(draw, old):
    c = common(draw)
    c.pop("rms_norm_eps", None)
    _, _, size = draw.heads(c, null=False)
    c.pop("head_dim", None)
    c["hidden_size"] = c["num_attention_heads"] * 8 * draw.randint(1, 4)
    size = c["hidden_size"] // c["num_attention_heads"]
    if draw.maybe(0.7):
        c["use_bias"] = draw.maybe()
    if draw.maybe(0.7):
        c["sliding_window"] = draw.choice([None, draw.window(), draw.window()])
    if draw.maybe():
        c["norm_epsilon"] = draw.choice([1e-5, 1e-2])
    if draw.maybe(0.3):
        del c["tie_word_embeddings"]
    unheeded_types(draw, c)
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def olmo2(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c)
    if draw.maybe(0.6):
        c["attention_bias"] = draw.maybe()
    act(draw, c)
    put_rope(draw, c, rope(draw, ALL_ROPE, size), draw.theta(), old)
    return c


def gpt_oss(draw, old):
    c = common(draw, layers=draw.randint(1, 5))
    _, _, size = draw.heads(c, divides=False, null=False)
    c["num_local_experts"] = draw.choice([1, 2, 3, 5, 8, 12])
    c["num_experts_per_tok"] = draw.randint(1, min(4, c["num_local_experts"]))
    c["sliding_window"] = draw.window()
    if draw.maybe(0.4):
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])
    if draw.maybe(0.5):
        c["attention_bias"] = draw.maybe(0.7)
    if draw.maybe(0.85):
        parameters = rope(draw, ["yarn", "yarn", "yarn", "default", "linear"], size)
        if parameters and parameters["rope_type"] == "yarn":
            parameters["truncate"] = draw.maybe()
        put_rope(draw, c, parameters, draw.theta(), old)
    return c


def lfm2_mixers(draw, c):
    layers = c["num_hidden_layers"]
    c["layer_types"] = [draw.choice(["conv", "conv", draw.choice(["full_attention", "attention"])]) for _ in range(layers)]
    if draw.maybe(0.7):
        c["conv_L_cache"] = draw.choice([2, 3, 4, 6])
    if draw.maybe(0.3):
        c["conv_bias"] = draw.maybe()
    c["norm_eps"] = c.pop("rms_norm_eps", 1e-5)
    if draw.maybe(0.5):
        c["tie_embedding"] = c.pop("tie_word_embeddings")


def lfm2(draw, old):
    c = common(draw, layers=draw.randint(1, 6))
    _, _, size = draw.heads(c, null=False)
    c.pop("head_dim", None)
    c["hidden_size"] = c["num_attention_heads"] * 8 * draw.randint(1, 4)
    size = c["hidden_size"] // c["num_attention_heads"]
    lfm2_mixers(draw, c)
    if draw.maybe(0.3) and "conv_bias" not in c:  # the older way of saying which layers have attention
        c["full_attn_idxs"] = [i for i, kind in enumerate(c.pop("layer_types")) if kind != "conv"]
    if draw.maybe():
        c["block_ff_dim"] = c.pop("intermediate_size")
    if draw.maybe(0.7):
        c["block_auto_adjust_ff_dim"] = draw.maybe(0.7)
    if draw.maybe(0.7):
        c["block_multiple_of"] = draw.choice([8, 32, 64])
    if draw.maybe(0.5):
        c["block_ffn_dim_multiplier"] = draw.choice([1, 1.3, 0.7])
    put_rope(draw, c, rope(draw, ["default", "default", "linear", "yarn"], size), draw.theta(), old)
    return c


def lfm2_moe(draw, old):
    c = lfm2(draw, old)
    for key in [k for k in c if k.startswith("block_")] + ["full_attn_idxs"]:
        c.pop(key, None)
    c.setdefault("intermediate_size", 80)
    if "layer_types" not in c:
        c["layer_types"] = [draw.choice(["conv", "full_attention"]) for _ in range(c["num_hidden_layers"])]
    c["num_dense_layers"] = draw.randint(0, c["num_hidden_layers"])
    c["num_experts"] = draw.choice([2, 3, 5, 8])
    c["num_experts_per_tok"] = draw.randint(1, min(4, c["num_experts"]))
    c["moe_intermediate_size"] = draw.randint(3, 20) * 4
    for key in ("norm_topk_prob", "use_expert_bias"):
        if draw.maybe(0.5):
            c[key] = draw.maybe(0.6)
    if draw.maybe(0.3):
        c["routed_scaling_factor"] = draw.choice([1.0, 2.5])
    return c


def mamba2(draw, c):
    """Sizes of Mamba-2 beside attention: the inner size is mamba_expand times the width."""
    inner = c["hidden_size"] * c.setdefault("mamba_expand", draw.choice([1, 2]))
    heads = draw.choice([n for n in (1, 2, 3, 4, 6, 8) if inner % n == 0])
    c.update(mamba_n_heads=heads, mamba_n_groups=draw.choice([g for g in (1, 2, 3, 4) if heads % g == 0]),
             mamba_d_state=draw.choice([8, 12, 20, 40]), mamba_d_conv=draw.choice([2, 3, 4]), mamba_chunk_size=draw.choice([8, 16, 32]))
    if draw.maybe():
        c["mamba_d_head"] = draw.choice(["auto", inner // heads])
    if draw.maybe(0.5):
        c["mamba_conv_bias"] = draw.maybe()


def granite_multipliers(draw, c):
    for key, values in {"embedding_multiplier": [1.0, 6.0], "residual_multiplier": [0.3, 1.0], "attention_multiplier": [0.3, 0.1],
                        "logits_scaling": [2.0, 0.5]}.items():
        if draw.maybe(0.7):
            c[key] = draw.choice(values)


def granite_moe(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c)
    granite_multipliers(draw, c)
    c["num_local_experts"] = draw.choice([2, 3, 5])
    c["num_experts_per_tok"] = draw.randint(1, 2)
    if draw.maybe(0.3):
        c["attention_bias"] = draw.maybe()
    put_rope(draw, c, rope(draw, ["default", "default", "linear", "yarn"], size), draw.theta(), old)
    return c


def granite_shared(draw, old):
    c = granite_moe(draw, old)
    if draw.maybe(0.8):
        c["shared_intermediate_size"] = draw.choice([0, 20, 48])
    return c


def granite_hybrid(draw, old):
    c = granite_shared(draw, old)
    c.setdefault("shared_intermediate_size", 36)
    c["num_hidden_layers"] = draw.randint(1, 5)
    if draw.maybe(0.4):
        c["num_local_experts"] = c["num_experts_per_tok"] = 0
    if c["num_local_experts"] == 0 and c["shared_intermediate_size"] == 0:
        c["shared_intermediate_size"] = 40
    kinds = draw.choice([["mamba", "attention"], ["linear_attention", "full_attention"], ["attention"]])
    c["layer_types"] = [draw.choice(kinds) for _ in range(c["num_hidden_layers"])]
    c["position_embedding_type"] = draw.choice(["rope", "nope", None])
    mamba2(draw, c)
    if draw.maybe(0.2):
        c["time_step_limit"] = [0.1, 1.5]
    return c


def bamba(draw, old):
    c = common(draw, layers=draw.randint(1, 5))
    draw.heads(c, null=False)
    c["head_dim"] = size = draw.choice([8, 16, 24])
    c["attn_layer_indices"] = [i for i in range(c["num_hidden_layers"]) if draw.maybe(0.5)]
    mamba2(draw, c)
    if draw.maybe(0.3):
        c["attn_rotary_emb"] = size // 2
    put_rope(draw, c, None, draw.theta(), old)
    return c


def nemotron_h(draw, old):
    c = common(draw)
    c.pop("num_hidden_layers")
    _, heads, _ = draw.heads(c, null=False)
    c["head_dim"] = draw.choice([8, 16, 24])
    c["layer_norm_epsilon"] = c.pop("rms_norm_eps", 1e-5)
    heads = draw.choice([2, 4, 6])
    c.update(mamba_num_heads=heads, mamba_head_dim=draw.choice([8, 12, 20]), n_groups=draw.choice([1, 2]), ssm_state_size=draw.choice([8, 20]),
             conv_kernel=draw.choice([2, 4]), chunk_size=draw.choice([8, 32]), time_step_min=draw.choice([0.001, 0.05, 0.0]))
    pattern = draw.choice(["M*-", "M-M*-", "ME*", "MEM*E", "*", "-", "ME*-", "M"])
    if draw.maybe():
        c["hybrid_override_pattern"] = pattern
    else:
        names = draw.choice([{"M": "mamba", "*": "attention"}, {"M": "linear_attention", "*": "full_attention"}])
        c["layers_block_type"] = [{**names, "-": "mlp", "E": "moe"}[kind] for kind in pattern]
    if draw.maybe(0.8):
        c["num_hidden_layers"] = len(pattern)
    if draw.maybe(0.3):
        c["use_conv_bias"] = draw.maybe()
    if draw.maybe(0.3):
        c["mlp_hidden_act"] = draw.choice(["relu2", "silu"])
    if "E" in pattern:
        groups = draw.choice([1, 1, 2, 3])
        c.update(n_routed_experts=groups * draw.choice([2, 3]), num_experts_per_tok=draw.randint(1, 2), n_group=groups,
                 topk_group=draw.randint(1, groups), moe_intermediate_size=draw.randint(3, 20) * 4,
                 moe_shared_expert_intermediate_size=draw.randint(3, 20) * 4, routed_scaling_factor=draw.choice([1.0, 2.5]))
        if draw.maybe(0.5):
            c["norm_topk_prob"] = draw.maybe()
        if draw.maybe(0.5):
            c["moe_latent_size"] = draw.choice([None, 20, 36])
    return c


def falcon_h1(draw, old):
    c = common(draw)
    _, _, size = draw.heads(c, null=False)
    mamba2(draw, c)
    inner = c["hidden_size"] * c["mamba_expand"]
    c["mamba_d_ssm"] = draw.choice([None, inner, c["mamba_n_heads"] * 16])
    if c["mamba_d_ssm"] is not None and c.get("mamba_d_head", "auto") != "auto":
        c["mamba_d_head"] = c["mamba_d_ssm"] // c["mamba_n_heads"]
    if draw.maybe(0.6):
        c["mamba_rms_norm"] = draw.maybe()
    if draw.maybe(0.6):
        c["mamba_norm_before_gate"] = draw.maybe()
    for key in ("embedding_multiplier", "lm_head_multiplier", "key_multiplier", "attention_in_multiplier", "attention_out_multiplier",
                "ssm_in_multiplier", "ssm_out_multiplier"):
        if draw.maybe(0.7):
            c[key] = round(draw.uniform(0.4, 1.6), 4)
    for key, count in {"mlp_multipliers": 2, "ssm_multipliers": 5}.items():
        if draw.maybe(0.7):
            c[key] = [round(draw.uniform(0.4, 1.6), 4) for _ in range(count)]
    put_rope(draw, c, rope(draw, ["default", "default", "linear", "yarn"], size), draw.choice([1e11, 10000.0]), old)
    return c


def falcon_mamba(draw, old):
    width = draw.randint(3, 9) * 8
    c = {"num_hidden_layers": draw.randint(1, 4), "vocab_size": draw.randint(705, 800), "hidden_size": width,
         "expand": draw.choice([1, 2]), "state_size": draw.choice([8, 16]), "conv_kernel": draw.choice([2, 4]),
         "time_step_rank": draw.choice(["auto", 3, 7]), "layer_norm_epsilon": draw.choice([1e-5, 1e-3]), "tie_word_embeddings": draw.maybe()}
    if draw.maybe(0.5):
        c["mixer_rms_eps"] = draw.choice([1e-6, 1e-2])
    for key in ("use_bias", "use_conv_bias"):
        if draw.maybe(0.4):
            c[key] = draw.maybe()
    return c


def latent_rope(draw, c, old, kinds=("default", "yarn", "yarn", "yarn")):
    parameters = rope(draw, list(kinds), c["qk_rope_head_dim"])
    if parameters and parameters["rope_type"] == "yarn":
        parameters.pop("mscale", None), parameters.pop("mscale_all_dim", None), parameters.pop("truncate", None)
        if draw.maybe(0.8):
            parameters["mscale_all_dim"] = draw.choice([1.0, 0.707, 0.5])
            if draw.maybe(0.8):
                parameters["mscale"] = parameters["mscale_all_dim"] if draw.maybe(0.8) else 1.2
    put_rope(draw, c, parameters, draw.theta(), old)


def latent(draw):
    c = common(draw)
    heads = draw.choice([1, 2, 3, 5])
    c.update(hidden_size=heads * 8 * draw.randint(1, 4), num_attention_heads=heads, num_key_value_heads=heads, kv_lora_rank=draw.choice([8, 20, 48]),
             q_lora_rank=draw.choice([None, 12, 40]), qk_nope_head_dim=draw.choice([6, 16, 20]), qk_rope_head_dim=draw.choice([4, 8, 12]),
             v_head_dim=draw.choice([6, 16, 28]), moe_intermediate_size=draw.randint(3, 12) * 4, n_shared_experts=draw.choice([1, 2]))
    groups = draw.choice([1, 1, 2, 4])
    c.update(n_group=groups, topk_group=draw.randint(1, groups), n_routed_experts=groups * draw.choice([2, 3]), num_experts_per_tok=draw.randint(1, 2))
    if draw.maybe(0.5):
        c["routed_scaling_factor"] = draw.choice([1.0, 2.5, 16.0])
    if draw.maybe(0.3):
        c["attention_bias"] = draw.maybe()
    if draw.maybe(0.6):
        c["first_k_dense_replace"] = draw.randint(0, c["num_hidden_layers"])
    return c


def deepseek_v2(draw, old):
    c = latent(draw)
    c["topk_method"] = draw.choice(["greedy", "group_limited_greedy"])
    if c["topk_method"] == "greedy" and draw.maybe():
        c["n_group"] = c["topk_group"] = None
    c["norm_topk_prob"] = draw.maybe()
    latent_rope(draw, c, old)
    return c


def deepseek_v3(draw, old):
    c = latent(draw)
    if draw.maybe():
        c["norm_topk_prob"] = draw.maybe()
    latent_rope(draw, c, old)
    return c


def glm4_moe_lite(draw, old):
    c = deepseek_v3(draw, old)
    c.pop("first_k_dense_replace", None)
    if draw.maybe():
        dense = draw.randint(0, c["num_hidden_layers"])
        c["mlp_layer_types"] = ["dense"] * dense + ["sparse"] * (c["num_hidden_layers"] - dense)
    return c


def mistral4(draw, old):
    c = latent(draw)
    c.update(n_group=1, topk_group=1)
    c["rope_parameters"] = {"rope_type": "yarn", "rope_theta": draw.theta(), "factor": draw.choice([4.0, 16.0]),
                            "original_max_position_embeddings": draw.choice([16, 32]), "beta_fast": 32.0, "beta_slow": 1.0,
                            "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": draw.choice([0.1, 0.5])}
    return c


def plain(draw, old, kinds=ALL_ROPE, biases=("attention_bias", "mlp_bias"), own_size=True, activations=True, eps="rms_norm_eps"):
    """A decoder of the usual shape, with the switches for biases that its class has."""
    c = common(draw)
    if eps != "rms_norm_eps" and "rms_norm_eps" in c:
        c[eps] = c.pop("rms_norm_eps")
    _, _, size = draw.heads(c, null=False)
    if not own_size and "head_dim" in c:
        del c["head_dim"]
        size = draw.choice([8, 12, 16, 20])
        c["hidden_size"] = c["num_attention_heads"] * size
    for key in biases:
        if draw.maybe(0.6):
            c[key] = draw.maybe()
    if activations:
        act(draw, c)
    if draw.maybe(0.2):
        del c["tie_word_embeddings"]
    if kinds:
        put_rope(draw, c, rope(draw, kinds, size), draw.theta(), old)
    return c


def size_of(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def state_size(c):
    """For classes whose head size has a default of its own."""
    c.setdefault("head_dim", c["hidden_size"] // c["num_attention_heads"])
    return c


def turn_part(draw, c, old, shares, key="partial_rotary_factor"):
    """A share of the head that rotates, with an even number of dimensions."""
    fits = [s for s in shares if int(size_of(c) * s) % 2 == 0 and int(size_of(c) * s) >= 2]
    if fits and draw.maybe(0.8):
        (c if old else c["rope_parameters"])[key] = draw.choice(fits)
    return c


def smollm3(draw, old):
    c = plain(draw, old)
    c["num_hidden_layers"] = draw.randint(1, 6)
    way = draw.choice(["", "interval", "list"])
    if way == "interval":
        c["no_rope_layer_interval"] = draw.randint(1, 4)
    if way == "list":
        c["no_rope_layers"] = [draw.choice([0, 1]) for _ in range(c["num_hidden_layers"])]
    c["pad_token_id"] = None
    if draw.maybe(0.3):
        c["use_sliding_window"], c["sliding_window"] = draw.maybe(), draw.window()
    return c


def granite(draw, old):
    c = plain(draw, old)
    for key, values in {"embedding_multiplier": [12.0, 3], "residual_multiplier": [0.22, 0.5], "logits_scaling": [8.0, 3],
                        "attention_multiplier": [0.015625, 0.2]}.items():
        if draw.maybe(0.8):
            c[key] = draw.choice(values)
    return c


def cohere(draw, old):
    c = plain(draw, old, kinds=["default", "default", "linear", "yarn"], biases=("attention_bias", "use_qk_norm"), own_size=False,
              eps="layer_norm_eps")
    if draw.maybe(0.8):
        c["logit_scale"] = draw.choice([0.0625, 0.25, 1.5])
    return c


def cohere2(draw, old):
    c = plain(draw, old, kinds=["default", "default", "linear", "yarn"], biases=("attention_bias",), own_size=False, eps="layer_norm_eps")
    c["num_hidden_layers"] = draw.randint(1, 6)
    c["sliding_window"] = draw.window()
    if draw.maybe():
        c["head_dim"] = c["hidden_size"] // c["num_attention_heads"]  # it has no effect on the class
    way = draw.choice(["types", "pattern", "default"])
    if way == "types":
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])
    elif way == "pattern":
        c["sliding_window_pattern"] = draw.randint(1, 5)
    if draw.maybe(0.8):
        c["logit_scale"] = draw.choice([0.0625, 0.25, 1.5])
    return c


def seed_oss(draw, old):
    return state_size(plain(draw, old, biases=("attention_bias", "attention_out_bias", "mlp_bias")))


def ernie(draw, old):
    return state_size(plain(draw, old, biases=("use_bias",)))


def exaone4(draw, old):
    c = plain(draw, old, biases=())
    c["num_hidden_layers"] = draw.randint(1, 6)
    c["sliding_window"] = draw.choice([None, draw.window(), draw.window()])
    if c["sliding_window"] is None:  # the class then has no other way to tell
        c["layer_types"] = ["full_attention"] * c["num_hidden_layers"]
    elif draw.maybe():
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])
        c["sliding_window_pattern"] = draw.choice(["LLLG", 4, 2])  # without effect then
    elif draw.maybe():
        c["sliding_window_pattern"] = draw.randint(1, 5)
    return c


def arcee(draw, old):
    return plain(draw, old)


def exaone(draw, old):
    c = plain(draw, old, own_size=False)
    if old:  # as the makers name them
        for own, name in {"num_layers": "num_hidden_layers", "layer_norm_epsilon": "rms_norm_eps", "activation_function": "hidden_act"}.items():
            if name in c:
                c[own] = c.pop(name)
    return c


def nemotron(draw, old):
    c = state_size(plain(draw, old, kinds=["default", "default", "linear", "yarn"], eps="norm_eps"))
    return turn_part(draw, c, old, [0.5, 0.25, 1.0])


def stablelm(draw, old):
    c = plain(draw, old, kinds=["default", "default", "linear"], own_size=False, eps="layer_norm_eps",
              biases=("use_qkv_bias", "qk_layernorm", "use_parallel_residual"))
    c["hidden_size"] = c["num_attention_heads"] * draw.choice([8, 16, 24, 32])
    return turn_part(draw, c, old, [0.25, 0.5, 1.0])


def phi(draw, old):
    c = plain(draw, old, kinds=["default", "default", "linear"], own_size=False, biases=(), eps="layer_norm_eps")
    c["hidden_size"] = c["num_attention_heads"] * draw.choice([8, 16, 24, 32])
    c["tie_word_embeddings"] = False
    return turn_part(draw, c, old, [0.25, 0.5, 1.0])


def hunyuan(draw, old):
    c = state_size(plain(draw, old, kinds=["default"], biases=("attention_bias",)))
    if draw.maybe(0.7):
        alpha = {"alpha": draw.choice([1000.0, 50.0]), "factor": 1.0, "type" if old else "rope_type": "dynamic"}
        if draw.maybe():
            alpha.update(beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
        if old:
            c["rope_scaling"] = alpha
        else:
            c["rope_parameters"].update(alpha)
    return c


def olmo3(draw, old):
    c = plain(draw, old, kinds=None, biases=("attention_bias",))
    c["num_hidden_layers"] = draw.randint(1, 6)
    c["sliding_window"] = draw.window()
    if draw.maybe():
        c["layer_types"] = draw.layer_types(c["num_hidden_layers"])
    c["rope_theta"] = 500000
    if scaling := rope(draw, ["default", "yarn", "llama3", "linear"], size_of(c)):
        c["rope_scaling"] = scaling
    return c


def olmo(draw, old):
    c = plain(draw, old, biases=("attention_bias",), own_size=False)
    c.pop("rms_norm_eps", None)
    if draw.maybe():
        c["clip_qkv"] = draw.choice([None, 0.5, 1.0])
    return c


def some_experts(draw, c, count, used, ffn=None):
    c[count] = draw.choice([2, 3, 5, 8, 16])
    c[used] = draw.randint(1, min(4, c[count]))
    if ffn:
        c[ffn] = draw.randint(3, 20) * 4


def olmoe(draw, old):
    c = plain(draw, old, biases=("attention_bias", "norm_topk_prob"), own_size=False)
    some_experts(draw, c, "num_experts", "num_experts_per_tok")
    if draw.maybe(0.3):
        c["clip_qkv"] = draw.choice([None, 0.5, 8.0])
    return c


def vision(draw, text, extra):
    """A class whose text part is what we read."""
    c = {"text_config": text, **extra}
    text.pop("tie_word_embeddings", None)
    if draw.maybe():
        c["tie_word_embeddings"] = draw.maybe()
    return c


PIXTRAL = {"vision_config": {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                             "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "head_dim": 8}}


def mistral3(draw, old):
    text = {"model_type": "mistral", **state_size(mistral(draw, old))}
    text.pop("layer_types", None)
    return vision(draw, text, PIXTRAL)


def ministral3_text(draw, old):
    text = state_size(plain(draw, old, kinds=None, biases=()))
    kind = draw.choice(["default", "yarn", "yarn"])
    r = {"rope_type": kind, "rope_theta": draw.theta(), "llama_4_scaling_beta": draw.choice([0.1, 0.3, 0.0]),
         "original_max_position_embeddings": draw.choice([16, 24, 50])}
    if kind == "yarn":
        r.update(factor=draw.choice([4.0, 16.0]))
        if draw.maybe(0.7):
            r.update(mscale=1.0, mscale_all_dim=draw.choice([1.0, 1.0, 0.5, 0.0]))
    if draw.maybe(0.2):
        del r["rope_theta"]
    text["rope_parameters"] = r
    if draw.maybe(0.3):
        text["sliding_window"] = draw.window()
    return text


def ministral3(draw, old):
    return vision(draw, {"model_type": "ministral3", **ministral3_text(draw, old)}, PIXTRAL)


def sections(draw, c, old, interleaved):
    half = size_of(c) // 2
    t = draw.randint(1, half - 2)
    h = draw.randint(1, half - t - 1)
    r = {"mrope_section": [t, h, half - t - h]}
    if interleaved:
        r["mrope_interleaved"] = True
    if old:
        c["rope_scaling"] = {**r, "type" if not interleaved else "rope_type": "default"}
    else:
        c["rope_parameters"].update(r)
    return c


QWEN_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2,
               "temporal_patch_size": 2}


def qwen2_vl(draw, old):
    c = plain(draw, old, kinds=["default"], biases=(), own_size=False)
    c["hidden_size"] = c["num_attention_heads"] * draw.choice([8, 12, 16, 20])
    c["tie_word_embeddings"] = draw.maybe()
    qwen_windows(draw, c, types=False)
    sections(draw, c, old, False)
    sight = {"vision_config": {**QWEN_VISION, "embed_dim": 16, "mlp_ratio": 1, "out_hidden_size": c["hidden_size"],
                               "fullatt_block_indexes": [0], "window_size": 28}}
    return {**c, **sight} if draw.maybe() else vision(draw, c, sight)  # as published, as transformers saves it


def qwen3_vl_text(draw, old):
    c = state_size(plain(draw, old, kinds=["default"], biases=("attention_bias",)))
    return sections(draw, c, old, True)


def qwen3_vl(draw, old):
    text = qwen3_vl_text(draw, old)
    return vision(draw, text, {"vision_config": {**QWEN_VISION, "out_hidden_size": text["hidden_size"], "deepstack_visual_indexes": [0],
                                                 "num_position_embeddings": 16}})


def qwen3_vl_moe(draw, old):
    text = qwen3_vl_text(draw, old)
    qwen_experts(draw, text)
    text.pop("norm_topk_prob", None)
    return vision(draw, text, {"vision_config": {**QWEN_VISION, "out_hidden_size": text["hidden_size"], "deepstack_visual_indexes": [0],
                                                 "num_position_embeddings": 16}})


def glm4(draw, old):
    c = state_size(plain(draw, old, kinds=["default", "default", "linear", "yarn"], biases=("attention_bias",)))
    c["pad_token_id"] = None  # the class has one of its own vocabulary
    return turn_part(draw, c, old, [0.5, 0.25, 1.0])


def routed(draw, c):
    """Experts chosen among groups."""
    groups = draw.choice([1, 1, 2, 4])
    c["n_routed_experts"] = groups * draw.choice([2, 3, 4])
    c["n_group"], c["topk_group"] = groups, draw.randint(1, groups)
    c["num_experts_per_tok"] = draw.randint(1, min(4, c["n_routed_experts"] // groups * c["topk_group"]))
    c["moe_intermediate_size"] = draw.randint(3, 20) * 4
    c["n_shared_experts"] = draw.choice([1, 2])
    if draw.maybe(0.7):
        c["first_k_dense_replace"] = draw.randint(0, c["num_hidden_layers"])
    if draw.maybe(0.7):
        c["norm_topk_prob"] = draw.maybe()
    if draw.maybe(0.7):
        c["routed_scaling_factor"] = draw.choice([2.5, 1.0, 0.7])
    return c


def glm4_moe(draw, old):
    c = routed(draw, plain(draw, old, kinds=["default", "default", "linear", "yarn"], biases=("attention_bias", "use_qk_norm")))
    return turn_part(draw, c, old, [0.5, 0.25, 1.0])


def dots1(draw, old):
    c = routed(draw, plain(draw, old, biases=("attention_bias",)))
    if draw.maybe(0.4):
        c["sliding_window"], c["max_window_layers"] = draw.window(), draw.randint(0, c["num_hidden_layers"])
    return c


def minimax_m2(draw, old):
    c = state_size(plain(draw, old, kinds=["default", "default", "linear", "yarn"], biases=()))
    some_experts(draw, c, "num_local_experts", "num_experts_per_tok")
    if draw.maybe(0.6):
        c["rotary_dim"] = draw.choice([d for d in range(2, size_of(c) + 1, 2)])
    return c


def ernie_moe(draw, old):
    c = plain(draw, old, biases=(), own_size=False)
    c["num_hidden_layers"] = draw.randint(1, 6)
    some_experts(draw, c, "moe_num_experts", "moe_k", "moe_intermediate_size")
    c["moe_num_shared_experts"] = draw.choice([0, 1, 2])
    if draw.maybe(0.7):
        c["moe_layer_start_index"] = draw.randint(0, c["num_hidden_layers"])
    if draw.maybe(0.3):
        c["moe_layer_end_index"] = draw.choice([-1, c["num_hidden_layers"] - 1, draw.randint(0, c["num_hidden_layers"])])
    if draw.maybe(0.3):
        c["moe_layer_interval"] = draw.choice([1, 2])
    return c


def apertus(draw, old):
    return plain(draw, old, biases=("attention_bias",), activations=False)


def internlm3(draw, old):
    c = plain(draw, old, kinds=ALL_ROPE + ["dynamic"], biases=(), own_size=False)
    if draw.maybe(0.7):
        c["qkv_bias"] = c["bias"] = draw.maybe()
    return state_size(c)


def gpt_bigcode(draw, old):
    c = gpt2(draw, old)
    c.pop("scale_attn_by_inverse_layer_idx", None)
    if draw.maybe(0.7):
        c["multi_query"] = draw.maybe()
    return c


def delta(draw, c):
    """Gated delta nets among layers of gated attention."""
    c.update(linear_num_key_heads=draw.choice([1, 2, 3]), linear_key_head_dim=draw.choice([4, 8, 20, 33, 64]),
             linear_value_head_dim=draw.choice([4, 12, 20, 40]), head_dim=draw.choice([8, 16, 24, 40]))
    c["linear_num_value_heads"] = c["linear_num_key_heads"] * draw.choice([1, 2, 3])
    c["num_hidden_layers"] = draw.randint(1, 6)
    if draw.maybe(0.6):
        c["linear_conv_kernel_dim"] = draw.choice([2, 3, 4, 7])
    if draw.maybe(0.5):
        c["layer_types"] = [draw.choice(["linear_attention", "full_attention"]) for _ in range(c["num_hidden_layers"])]
    elif draw.maybe(0.7):
        c["full_attention_interval"] = draw.randint(1, 5)
    if draw.maybe(0.4):
        c["attention_bias"] = draw.maybe()
    if draw.maybe(0.2):
        c["hidden_act"] = draw.choice(["silu", "swish"])


def delta_rope(draw, c, old, sections):
    partial = draw.choice([0.25, 0.5, 1.0, None])
    parameters = rope(draw, ["default", "default", "linear", "yarn"], 8) or {}
    if sections and draw.maybe(0.7) and not parameters:
        parameters.update(mrope_section=[2, 1, 1], mrope_interleaved=True)
    if old:
        c["rope_theta"] = draw.theta()
        if parameters:
            c["rope_scaling"] = {"rope_type": "default", **parameters}
        if partial:
            c["partial_rotary_factor"] = partial
    else:
        c["rope_parameters"] = {"rope_type": "default", "rope_theta": draw.theta(), **parameters}
        if partial:
            c["rope_parameters"]["partial_rotary_factor"] = partial


def qwen3_5(draw, old):
    c = common(draw)
    draw.heads(c, divides=False, null=False)
    delta(draw, c)
    delta_rope(draw, c, False, True)
    return c


def shared_experts(draw, c):
    c["num_experts"] = draw.choice([2, 3, 5, 8])
    c["num_experts_per_tok"] = draw.randint(1, min(4, c["num_experts"]))
    c["moe_intermediate_size"], c["shared_expert_intermediate_size"] = draw.randint(3, 20) * 4, draw.randint(3, 20) * 4


def qwen3_5_moe(draw, old):
    c = qwen3_5(draw, old)
    c.pop("intermediate_size")
    shared_experts(draw, c)
    return c


def qwen3_5_whole(draw, old):
    """The text part of a model with a vision part."""
    text = qwen3_5(draw, old)
    text.pop("tie_word_embeddings", None)
    c = {"text_config": text, "vision_config": {"hidden_size": 16, "intermediate_size": 16, "depth": 1, "num_heads": 2, "patch_size": 4,
                                                "out_hidden_size": text["hidden_size"], "num_position_embeddings": 16}}
    if draw.maybe():
        c["tie_word_embeddings"] = draw.maybe()
    return c


def qwen3_next(draw, old):
    c = common(draw)
    draw.heads(c, divides=False, null=False)
    delta(draw, c)
    qwen_experts(draw, c)
    shared_experts(draw, c)
    delta_rope(draw, c, old, False)
    return c


def gemma4(draw, old):
    c = common(draw)
    draw.heads(c, divides=False, null=False)
    layers = c["num_hidden_layers"] = draw.randint(1, 8)
    c["tie_word_embeddings"] = True
    c.update(sliding_window=draw.window(), global_head_dim=draw.choice([8, 16, 24, 40]), hidden_size_per_layer_input=0)
    if draw.maybe(0.7):
        c["layer_types"] = [draw.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
    if draw.maybe(0.6):
        c["attention_k_eq_v"] = draw.maybe(0.7)
    if draw.maybe(0.6):
        c["num_global_key_value_heads"] = draw.choice([None, 1, c["num_key_value_heads"]])
    if draw.maybe(0.5):
        c["final_logit_softcapping"] = draw.choice([30.0, 3.0, None])
    if draw.maybe(0.6):
        c["rope_parameters"] = {"full_attention": {"rope_type": draw.choice(["proportional", "proportional", "default"]), "rope_theta": draw.theta()},
                                "sliding_attention": {"rope_type": "default", "rope_theta": draw.theta()}}
        full = c["rope_parameters"]["full_attention"]
        if full["rope_type"] == "proportional" and draw.maybe(0.8):
            full["partial_rotary_factor"] = draw.choice([0.25, 0.3, 0.5, 0.9, 1.0])
    if draw.maybe(0.3):
        c["use_bidirectional_attention"] = draw.choice([None, "vision"])
    act(draw, c, "hidden_activation")
    if draw.maybe(0.2):
        c["attention_bias"] = draw.maybe()
    return c


def gemma4_moe(draw, old):
    c = gemma4(draw, old)
    c["enable_moe_block"] = True
    c["num_experts"] = draw.choice([2, 3, 5, 8])
    c["top_k_experts"] = draw.randint(1, min(4, c["num_experts"]))
    c["moe_intermediate_size"] = draw.randint(3, 20) * 4
    return c


def gemma4_e(draw, old):
    c = gemma4(draw, old)
    layers = c["num_hidden_layers"] = draw.randint(3, 8)
    shared = c["num_kv_shared_layers"] = draw.randint(0, layers - 2)
    c["layer_types"] = [draw.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
    own = layers - shared
    c["layer_types"][own - 2:own] = draw.sample(["full_attention", "sliding_attention"], 2)
    c["hidden_size_per_layer_input"] = draw.choice([4, 8, 12] if shared else [0, 4, 8, 12])  # without, the class cannot share
    c["vocab_size_per_layer_input"] = c["vocab_size"]
    c["use_double_wide_mlp"] = draw.maybe()
    return c


# What published configurations say besides, and what changes nothing at these values. Some of it speaks of tensors that are not there (a
# draft head that a fine-tune no longer has).
PUBLISHED = {
    "cohere2": {"order_of_interleaved_layers": "local_attn_first", "rotary_pct": 1.0, "position_embedding_type": "rope_gptj", "layer_switch": 4,
                "use_gated_activation": True, "use_embedding_sharing": True, "use_parallel_block": True, "use_parallel_embedding": False},
    "deepseek-v2": {"scoring_func": "softmax", "moe_layer_freq": 1, "ep_size": 1, "aux_loss_alpha": 0.001, "seq_aux": True},
    "deepseek-v3": {"scoring_func": "sigmoid", "moe_layer_freq": 1, "ep_size": 1, "topk_method": "noaux_tc", "num_nextn_predict_layers": 1},
    "glm4-moe-lite": {"topk_method": "noaux_tc", "num_nextn_predict_layers": 1, "rope_interleave": True},
    "mistral4": {"rope_interleave": True},
    "glm4_moe": {"num_nextn_predict_layers": 1},
    "minimax_m2": {"scoring_func": "sigmoid", "use_qk_norm": True, "qk_norm_type": "per_layer", "use_routing_bias": True, "use_mtp": True,
                   "num_mtp_modules": 3, "mtp_transformer_layers": 1, "shared_intermediate_size": 0},
    "lfm2": {"block_norm_eps": 1e-5, "block_use_swiglu": True, "block_use_xavier_init": True, "block_mlp_init_scale": 1.0,
             "block_out_init_scale": 1.0, "conv_use_xavier_init": True, "use_pos_enc": True},
    "lfm2-moe": {"use_pos_enc": True},
    "qwen3_5": {"attn_output_gate": True, "mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": False, "mamba_ssm_dtype": "float32"},
    "qwen3_5_moe": {"attn_output_gate": True, "mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": False, "mamba_ssm_dtype": "float32"},
    "granite": {"attention_dropout": 0.1},
    "granitemoehybrid": {"normalization_function": "rmsnorm", "init_method": "mup", "mamba_proj_bias": False},
    "bamba": {"mamba_proj_bias": False, "z_loss_coefficient": 0.0, "num_logits_to_keep": 1},
    "nemotron-h": {"time_step_limit": [0.0, float("inf")], "time_step_max": 0.1, "time_step_floor": 0.0001, "mamba_hidden_act": "silu", "expand": 2,
                   "residual_in_fp32": False, "rescale_prenorm_residual": True, "sliding_window": None, "num_logits_to_keep": 1},
    "falcon-h1": {"mamba_proj_bias": False, "projectors_bias": False, "mamba_use_mlp": True, "num_logits_to_keep": 1},
    "falcon-mamba": {"time_step_min": 0.001, "time_step_max": 0.1, "time_step_floor": 0.0001, "time_step_scale": 1.0, "residual_in_fp32": True,
                     "time_step_init_scheme": "random", "use_mambapy": False},
    "ernie4_5_moe": {"moe_gate": "topk", "moe_use_aux_free": True, "moe_norm_min": 1e-12, "use_bias": False},
    "gpt-oss": {"experts_per_token": 1, "initial_context_length": 4096, "swiglu_limit": 7.0},
    "smollm3": {"use_sliding_window": False, "sliding_window": None},
    "hunyuan": {"use_qk_norm": True, "use_cla": False, "cla_share_factor": 2, "mlp_bias": False},
    "phi": {"qk_layernorm": False, "embd_pdrop": 0.0},
    "stablelm": {"rotary_scaling_factor": 1.0},
    "gemma3": {"use_bidirectional_attention": False, "attn_logit_softcapping": None},
}


# Switches that no published model has set so, and that the classes have all the same: what they ask for is computed, or refused by name.
SWITCHES = {
    "deepseek-v3": ["rope_interleave"],
    "glm4-moe-lite": ["rope_interleave"],
    "mistral4": ["rope_interleave"],
    "nemotron-h": ["attention_bias", "mlp_bias", "use_bias"],
    "bamba": ["attention_bias", "mlp_bias", "mamba_proj_bias"],
    "granitemoehybrid": ["attention_bias", "mamba_proj_bias"],
    "deepseek-v2": ["mlp_bias"],
    "phi": ["qk_layernorm"],
}


def as_published(draw, family, config):
    """Adds the members that the class itself does not tell from absent ones."""
    for key, value in PUBLISHED.get(family, {}).items():
        if draw.maybe():
            config.setdefault(key, value)
    for key in SWITCHES.get(family, []):
        if key not in config and draw.maybe(0.15):
            config[key] = draw.maybe()
    return config


#          draw, model_type, architecture, tokenizer of this fixture
FAMILIES = {
    "llama": (llama, "llama", "LlamaForCausalLM", "llama"),
    "mistral": (mistral, "mistral", "MistralForCausalLM", "mistral"),
    "ministral": (ministral, "ministral", "MinistralForCausalLM", "mistral"),
    "mixtral": (mixtral, "mixtral", "MixtralForCausalLM", "mixtral"),
    "qwen2": (qwen2, "qwen2", "Qwen2ForCausalLM", "qwen2"),
    "qwen2moe": (qwen2moe, "qwen2_moe", "Qwen2MoeForCausalLM", "qwen2"),
    "qwen3": (qwen3, "qwen3", "Qwen3ForCausalLM", "qwen2"),
    "qwen3moe": (qwen3moe, "qwen3_moe", "Qwen3MoeForCausalLM", "qwen2"),
    "gemma": (gemma, "gemma", "GemmaForCausalLM", "gemma"),
    "gemma2": (gemma2, "gemma2", "Gemma2ForCausalLM", "gemma"),
    "gemma3": (gemma3, "gemma3_text", "Gemma3ForCausalLM", "gemma"),
    "gemma3-vision": (gemma3_vision, "gemma3", "Gemma3ForConditionalGeneration", "gemma"),
    "phi3": (phi3, "phi3", "Phi3ForCausalLM", "llama-spm"),
    "phimoe": (phimoe, "phimoe", "PhimoeForCausalLM", "llama-spm"),
    "gpt2": (gpt2, "gpt2", "GPT2LMHeadModel", "gpt2"),
    "gptneox": (gptneox, "gpt_neox", "GPTNeoXForCausalLM", "gptneox"),
    "starcoder2": (starcoder2, "starcoder2", "Starcoder2ForCausalLM", "starcoder2"),
    "olmo2": (olmo2, "olmo2", "Olmo2ForCausalLM", "olmo2"),
    "qwen3_5": (qwen3_5, "qwen3_5_text", "Qwen3_5ForCausalLM", "qwen2"),
    "qwen3_5-vision": (qwen3_5_whole, "qwen3_5", "Qwen3_5ForConditionalGeneration", "qwen2"),
    "qwen3_5_moe": (qwen3_5_moe, "qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", "qwen2"),
    "qwen3_next": (qwen3_next, "qwen3_next", "Qwen3NextForCausalLM", "qwen2"),
    "gemma4": (gemma4, "gemma4_text", "Gemma4ForCausalLM", "gemma"),
    "gemma4_moe": (gemma4_moe, "gemma4_text", "Gemma4ForCausalLM", "gemma"),
    "gemma4_e": (gemma4_e, "gemma4_text", "Gemma4ForCausalLM", "gemma"),
    "gpt-oss": (gpt_oss, "gpt_oss", "GptOssForCausalLM", "llama"),
    "lfm2": (lfm2, "lfm2", "Lfm2ForCausalLM", "llama"),
    "lfm2-moe": (lfm2_moe, "lfm2_moe", "Lfm2MoeForCausalLM", "llama"),
    "granitemoe": (granite_moe, "granitemoe", "GraniteMoeForCausalLM", "llama"),
    "granitemoeshared": (granite_shared, "granitemoeshared", "GraniteMoeSharedForCausalLM", "llama"),
    "granitemoehybrid": (granite_hybrid, "granitemoehybrid", "GraniteMoeHybridForCausalLM", "llama"),
    "bamba": (bamba, "bamba", "BambaForCausalLM", "llama"),
    "nemotron-h": (nemotron_h, "nemotron_h", "NemotronHForCausalLM", "llama"),
    "falcon-h1": (falcon_h1, "falcon_h1", "FalconH1ForCausalLM", "llama"),
    "falcon-mamba": (falcon_mamba, "falcon_mamba", "FalconMambaForCausalLM", "llama"),
    "deepseek-v2": (deepseek_v2, "deepseek_v2", "DeepseekV2ForCausalLM", "llama"),
    "deepseek-v3": (deepseek_v3, "deepseek_v3", "DeepseekV3ForCausalLM", "llama"),
    "glm4-moe-lite": (glm4_moe_lite, "glm4_moe_lite", "Glm4MoeLiteForCausalLM", "llama"),
    "mistral4": (mistral4, "mistral4", "Mistral4ForCausalLM", "llama"),
    "olmo": (olmo, "olmo", "OlmoForCausalLM", "olmo2"),
    "olmo3": (olmo3, "olmo3", "Olmo3ForCausalLM", "olmo3"),
    "olmoe": (olmoe, "olmoe", "OlmoeForCausalLM", "olmoe"),
    "smollm3": (smollm3, "smollm3", "SmolLM3ForCausalLM", "smollm3"),
    "granite": (granite, "granite", "GraniteForCausalLM", "granite"),
    "cohere": (cohere, "cohere", "CohereForCausalLM", "cohere"),
    "cohere2": (cohere2, "cohere2", "Cohere2ForCausalLM", "cohere2"),
    "seed_oss": (seed_oss, "seed_oss", "SeedOssForCausalLM", "seed_oss"),
    "ernie4_5": (ernie, "ernie4_5", "Ernie4_5ForCausalLM", "ernie4_5"),
    "exaone4": (exaone4, "exaone4", "Exaone4ForCausalLM", "exaone4"),
    "exaone": (exaone, "exaone", "ExaoneForCausalLM", "exaone4"),
    "arcee": (arcee, "arcee", "ArceeForCausalLM", "arcee"),
    "nemotron": (nemotron, "nemotron", "NemotronForCausalLM", "nemotron"),
    "stablelm": (stablelm, "stablelm", "StableLmForCausalLM", "stablelm"),
    "phi": (phi, "phi", "PhiForCausalLM", "phi"),
    "hunyuan": (hunyuan, "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense"),
    "mistral3": (mistral3, "mistral3", "Mistral3ForConditionalGeneration", "mistral3"),
    "ministral3-text": (ministral3_text, "ministral3", "Ministral3ForCausalLM", "ministral3"),
    "ministral3": (ministral3, "mistral3", "Mistral3ForConditionalGeneration", "ministral3"),
    "qwen2_vl": (qwen2_vl, "qwen2_vl", "Qwen2VLForConditionalGeneration", "qwen2_5_vl"),
    "qwen2_5_vl": (qwen2_vl, "qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"),
    "qwen3_vl": (qwen3_vl, "qwen3_vl", "Qwen3VLForConditionalGeneration", "qwen3_vl"),
    "qwen3_vl_moe": (qwen3_vl_moe, "qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe"),
    "glm4": (glm4, "glm4", "Glm4ForCausalLM", "glm4_moe"),
    "glm4_moe": (glm4_moe, "glm4_moe", "Glm4MoeForCausalLM", "glm4_moe"),
    "dots1": (dots1, "dots1", "Dots1ForCausalLM", "qwen2"),
    "minimax_m2": (minimax_m2, "minimax_m2", "MiniMaxM2ForCausalLM", "minimax_m2"),
    "ernie4_5_moe": (ernie_moe, "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", "ernie4_5_moe"),
    "apertus": (apertus, "apertus", "ApertusForCausalLM", "apertus"),
    "internlm3": (internlm3, "internlm3", "InternLM3ForCausalLM", "llama-spm"),
    "gpt_bigcode": (gpt_bigcode, "gpt_bigcode", "GPTBigCodeForCausalLM", "gpt2"),
}


def added_to_one(model, name):
    """Norm weights that the class adds to 1."""
    kind = model.config.model_type
    if "qwen3_5" in kind or kind == "qwen3_next":
        return "linear_attn.norm" not in name and "visual" not in name
    return "gemma" in kind and "gemma4" not in kind


def randomise(model, seed):
    """Weights that make every part matter: outputs of a few units, norms around 1, biases and sinks that are not small."""
    generator = torch.Generator().manual_seed(seed)
    biases = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith(("e_score_correction_bias", "expert_bias"))]
    for name, parameter in [*model.named_parameters(), *biases]:
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name or ".ln_" in name or name.endswith("ln_f.weight"):
            around_zero = name.endswith("bias") or added_to_one(model, name) or model.config.model_type == "nemotron"
            values = values * 0.3 + (0 if around_zero else 1)
        elif parameter.dim() < 2 or "bias" in name or "sinks" in name:
            values = values * 0.5
        elif name.endswith("A_log"):
            values = values * 0.3
        else:
            values = values * 1.3 / parameter.shape[-1] ** 0.5
        with torch.no_grad():
            parameter.copy_(values)
    for name, buffer in model.named_buffers():
        if name.endswith("layer_scalar"):
            buffer.uniform_(0.5, 1.2, generator=generator)


def phimoe_by_length():
    """Lets the rotation of Phi-3.5-MoE know how long a sequence is, as the model's own code and transformers 4 do; version 5.24 keeps the
    short factors in long ones."""
    cls = transformers.models.phimoe.modeling_phimoe.PhimoeRotaryEmbedding
    upstream = cls.forward

    def forward(self, x, position_ids=None):
        table = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS
        if self.rope_type == "longrope":
            self.rope_init_fn = lambda config: table["longrope"](config, seq_len=int(position_ids.max()) + 1)
        return upstream(self, x, position_ids)

    cls.forward = forward


def class_of(folder):
    """The class that transformers makes of a causal model; it does not list all of them."""
    config = transformers.AutoConfig.from_pretrained(folder)
    known = transformers.AutoModelForCausalLM._model_mapping
    found = known[type(config)] if type(config) in known else None
    if found is not None and found.config_class is type(config):
        return found
    # Of a model with a vision part `found` may be the class of the text part; of a class that is another's under a configuration of its
    # own (EXAONE's, InternLM3's: Llama's) it is that other.
    return getattr(transformers, config.architectures[0], found)


def make(draw, family, folder, p):
    """Writes a model folder; returns its configuration as written."""
    draw_config, model_type, architecture, tokenizer = FAMILIES[family]
    old = draw.maybe()
    config = {"architectures": [architecture], "model_type": model_type, "torch_dtype" if old else "dtype": "float32",
              **as_published(draw, family, draw_config(draw, old))}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    # What transformers saves of its own reading is not what is compared: config.json stays as drawn.
    model = class_of(folder)._from_config(transformers.AutoConfig.from_pretrained(folder), dtype=torch.float32)
    randomise(model, draw.randrange(1 << 30))
    model = model.to(draw.choice([torch.float32, torch.bfloat16, torch.float16]))
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        if (source := p.fixture("models/" + tokenizer) / name).exists():
            shutil.copy(source, folder)
    return config


def truth(folder, ids, dtype=torch.float32):
    config = transformers.AutoConfig.from_pretrained(folder)  # which the class would read as its own: InternLM3's is no Llama's
    model = class_of(folder).from_pretrained(folder, config=config, dtype=dtype, attn_implementation="eager", experts_implementation="eager")
    with torch.no_grad():
        return model.eval()(torch.tensor([ids]), use_cache=False).logits[0]


def compare(checks, p, label, folder, path, ids, expected):
    out = p.work / "logits.safetensors"
    out.unlink(missing_ok=True)
    p.smelt("eval", path, "--tokens", folder / "ids.json", "--logits-out", out, "--quiet")
    ours = load_file(out)["logits"]
    rows = min(ours.shape[1], expected.shape[1])
    worst = (ours[:, :rows] - expected[:, :rows]).abs().max().item()
    spread = expected.std().item()
    if worst > TOLERANCE:
        own = (truth(folder, ids, torch.float64)[:, :rows] - expected[:, :rows]).abs().max().item()
        if own > TOLERANCE / 2:  # transformers' own arithmetic in single precision is as far from that in double
            print(f"skip {label}: ill-conditioned: transformers is off by {own:.1e} itself", flush=True)
            return True
    return checks.check(worst <= TOLERANCE, f"{label}: off by {worst:.1e} (deviation of the logits {spread:.2g})")


def one(checks, p, family, seed, keep):
    draw = Draw(zlib.crc32(f"{family} {seed}".encode()))
    label, folder = f"{family} {seed}", p.work / f"{family}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    ok, config, ids = False, {}, [draw.randrange(500) for _ in range(LENGTH)]
    ids_file, gguf = folder / "ids.json", folder / "f32.gguf"
    try:
        config = make(draw, family, folder, p)
        expected = truth(folder, ids)
    except Exception as e:  # a combination that transformers has no meaning for: nothing to compare
        print(f"skip {label}: transformers: {str(e).strip().splitlines()[-1][:150]}", flush=True)
        return
    try:
        ids_file.write_text(json.dumps(ids))
        ok = compare(checks, p, label + " folder", folder, folder, ids, expected)
        p.smelt("convert", folder, "--type", "f32", "-o", gguf, "--force", "--quiet", "--validate", "off")
        ok = compare(checks, p, label + " f32", folder, gguf, ids, expected) and ok
    except peers.Failed as e:
        said = str(e).strip().splitlines()[-1]
        ok = checks.check(any(f": {key} is " in said for key in SWITCHES.get(family, []) if key in config), f"{label}: {said}")
    if not ok:
        print("     " + json.dumps(config), flush=True)
    if ok and not keep:
        shutil.rmtree(folder)


def main():
    a = peers.parser(__doc__)
    a.add_argument("--families", default=",".join(FAMILIES))
    a.add_argument("--seeds", default="0:8", help="first:last+1")
    a.add_argument("--keep", action="store_true", help="leave the folders of models that passed, too")
    a.add_argument("--quiet", action="store_true", help="print failures only")
    a = a.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    phimoe_by_length()
    torch.set_num_threads(2)
    p, checks = peers.Peers(a), peers.Checks(verbose=not a.quiet)
    first, last = map(int, a.seeds.split(":"))
    for family in a.families.split(","):
        for seed in range(first, last):
            one(checks, p, family, seed, a.keep)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
