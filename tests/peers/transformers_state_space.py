#!/usr/bin/env python3
"""Mamba, Mamba-2 and Jamba as transformers_random.py does the attention families: random configurations and weights, our logits of
the folder and of the f32 GGUF against transformers'.

    transformers_state_space.py --smelt PROGRAM --shared DIR --work DIR [--families mamba,mamba2,jamba] [--seeds 0:8] [--keep]

Drawn are states, convolutions, ranks, head and group counts, chunk sizes, time-step limits (infinity in both spellings), expansion,
periods and offsets, biases, tying, and keys left away.
"""
import sys

import transformers_random as sweep


def state_common(draw, c):
    c.update(num_hidden_layers=draw.randint(1, 4), vocab_size=draw.randint(705, 800), conv_kernel=draw.choice([2, 3, 4, 4]))
    if draw.maybe(0.8):
        c["layer_norm_epsilon"] = draw.choice([1e-6, 1e-5, 1e-2])
    for key, share in (("use_bias", 0.3), ("use_conv_bias", 0.7)):
        if draw.maybe(0.7):
            c[key] = draw.maybe(share)
    if draw.maybe(0.7):
        c["tie_word_embeddings"] = draw.maybe()
    return c


def mamba(draw, old):
    width, expand = draw.choice([20, 36, 52, 64, 97]), draw.choice([1, 2, 2, 2, 3])
    c = state_common(draw, {"hidden_size": width, "state_size": draw.choice([1, 5, 8, 16, 24, 128])})
    if expand != 2 or draw.maybe():
        c["expand"] = expand
    if draw.maybe():
        c["intermediate_size"] = expand * width
    if draw.maybe(0.8):
        c["time_step_rank"] = draw.choice(["auto", 1, 3, 7, 48])
    if old:
        c.update(d_model=width, n_layer=c["num_hidden_layers"])
    return c


def mamba2(draw, old):
    groups = draw.choice([1, 1, 2, 3, 4, 8])
    heads, size, expand = groups * draw.choice([1, 2, 3]), draw.choice([4, 6, 8, 16, 20]), draw.choice([1, 2, 2, 4])
    while heads * size % expand:
        size += 1
    infinity = float("inf") if old else {"__float__": "Infinity"}
    c = state_common(draw, {"hidden_size": heads * size // expand, "num_heads": heads, "head_dim": size, "n_groups": groups,
                            "state_size": draw.choice([8, 16, 24, 40, 64, 128]), "expand": expand,
                            "chunk_size": draw.choice([1, 7, 16, 32, 64, 256])})
    if draw.maybe(0.8):
        c["time_step_limit"] = draw.choice([[0.0, infinity], [0.0, infinity], [0.3, infinity], [0.0, 0.6], [0.2, 0.9]])
    if expand == 2 and draw.maybe(0.3):
        del c["expand"]
    return c


def jamba(draw, old):
    c = sweep.common(draw, layers=draw.randint(2, 6))
    kv = draw.choice([1, 2, 3])
    heads = kv * draw.choice([1, 2, 3])
    c.update(hidden_size=heads * draw.choice([8, 12, 16]), num_attention_heads=heads, num_key_value_heads=kv)
    for kind in ("attn", "expert"):
        period = draw.choice([1, 2, 3, 4])
        c[f"{kind}_layer_period"], c[f"{kind}_layer_offset"] = period, draw.randrange(period)
    c.update(num_experts=draw.choice([1, 2, 3, 5, 8]), mamba_d_state=draw.choice([4, 8, 16, 33]), mamba_d_conv=draw.choice([2, 3, 4]))
    c["num_experts_per_tok"] = draw.randint(1, min(3, c["num_experts"]))
    if draw.maybe(0.7):
        c["mamba_dt_rank"] = draw.choice(["auto", 1, 3, 5])
    if draw.maybe(0.7):
        c["mamba_expand"] = draw.choice([1, 2, 2, 3])
    for key, share in (("mamba_conv_bias", 0.7), ("mamba_proj_bias", 0.3)):
        if draw.maybe(0.7):
            c[key] = draw.maybe(share)
    return c


if __name__ == "__main__":
    sweep.__doc__ = __doc__
    sweep.FAMILIES = {"mamba": (mamba, "mamba", "MambaForCausalLM", "mamba"), "mamba2": (mamba2, "mamba2", "Mamba2ForCausalLM", "mamba2"),
                      "jamba": (jamba, "jamba", "JambaForCausalLM", "jamba")}
    sys.exit(sweep.main())
