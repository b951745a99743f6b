#!/usr/bin/env python3
"""Records small models of classes that no other ground truth has: random weights, and what transformers computes with them.

    record_models.py OUTPUT_DIR [NAME...]

Each folder gets config.json, a tokenizer, weights, golden.json and golden/golden_logits.safetensors, in the form of testdata/models. Written once,
with the versions that golden.json names; it is not run by any test. Needs tokenizers, torch and transformers.
"""
import json
import math
import pathlib
import shutil
import sys

import tokenizers
import torch
import transformers
from safetensors.torch import save_file

CONTEXT, CHUNKS = 64, 4  # of the perplexity, over ids drawn from what the model itself finds likely
LOGITS = 80              # positions of golden_logits

# Options that change the result are off their defaults. No width, head or state size is a multiple of a vector.
CONFIGS = {
    "granitemoe": {
        "architectures": ["GraniteMoeForCausalLM"], "model_type": "granitemoe", "torch_dtype": "bfloat16", "vocab_size": 263,
        "hidden_size": 72, "intermediate_size": 28, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
        "num_local_experts": 5, "num_experts_per_tok": 2, "attention_multiplier": 0.2, "embedding_multiplier": 3.0,
        "residual_multiplier": 0.6, "logits_scaling": 0.8, "rope_theta": 10000.0, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True, "hidden_act": "silu"},
    "bamba": {
        "architectures": ["BambaForCausalLM"], "model_type": "bamba", "torch_dtype": "bfloat16", "vocab_size": 264, "hidden_size": 60,
        "intermediate_size": 92, "num_hidden_layers": 4, "num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 20,
        "attn_layer_indices": [1, 3], "attn_rotary_emb": 10, "mamba_n_heads": 6, "mamba_d_head": 20, "mamba_n_groups": 2,
        "mamba_d_state": 12, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_chunk_size": 32, "mamba_conv_bias": True,
        "mamba_proj_bias": False, "rope_theta": 10000.0, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False, "hidden_act": "silu"},
    "falcon_mamba": {
        "architectures": ["FalconMambaForCausalLM"], "model_type": "falcon_mamba", "torch_dtype": "bfloat16", "vocab_size": 259,
        "hidden_size": 52, "expand": 2, "num_hidden_layers": 4, "state_size": 10, "conv_kernel": 4, "time_step_rank": 5,
        "layer_norm_epsilon": 1e-5, "mixer_rms_eps": 1e-3, "use_bias": False, "use_conv_bias": True, "hidden_act": "silu",
        "tie_word_embeddings": False},
    "glm4_moe_lite": {
        "architectures": ["Glm4MoeLiteForCausalLM"], "model_type": "glm4_moe_lite", "torch_dtype": "bfloat16", "vocab_size": 261,
        "hidden_size": 64, "intermediate_size": 100, "moe_intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 4, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
        "first_k_dense_replace": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.8, "q_lora_rank": 28, "kv_lora_rank": 36,
        "qk_nope_head_dim": 18, "qk_rope_head_dim": 10, "v_head_dim": 22, "rope_theta": 1000000, "rope_scaling": None,
        "partial_rotary_factor": 1.0, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "attention_bias": False,
        "tie_word_embeddings": False, "hidden_act": "silu"},
    "mistral4": {
        "architectures": ["Mistral4ForCausalLM"], "model_type": "mistral4", "dtype": "bfloat16", "vocab_size": 265, "hidden_size": 60,
        "intermediate_size": 84, "moe_intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 3, "num_key_value_heads": 3,
        "n_routed_experts": 5, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 0,
        "norm_topk_prob": True, "routed_scaling_factor": 1.0, "q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 14,
        "qk_rope_head_dim": 12, "v_head_dim": 26, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 24,
                            "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.3},
        "hidden_act": "silu"},
    # The rotation's context is beyond every sequence: transformers 5.24 keeps the short factors in longer ones, which its version 4
    # and the model's own code do not.
    "phimoe": {
        "architectures": ["PhiMoEForCausalLM"], "model_type": "phimoe", "torch_dtype": "bfloat16", "vocab_size": 262, "hidden_size": 60,
        "intermediate_size": 44, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "num_local_experts": 5,
        "num_experts_per_tok": 2, "router_jitter_noise": 0.05, "input_jitter_noise": 0.01, "attention_bias": True, "lm_head_bias": True,
        "rope_theta": 10000.0, "max_position_embeddings": 1024, "sliding_window": 40, "rms_norm_eps": 1e-5,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.25, 1.5, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0, 16.0],
                         "short_mscale": 1.25, "long_mscale": 1.5, "original_max_position_embeddings": 256},
        "tie_word_embeddings": False, "hidden_act": "silu"},
    "exaone": {
        "architectures": ["ExaoneForCausalLM"], "model_type": "exaone", "torch_dtype": "bfloat16", "vocab_size": 266, "hidden_size": 72,
        "intermediate_size": 100, "num_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 12,
        "layer_norm_epsilon": 1e-4, "activation_function": "silu", "rope_theta": 1000000.0, "max_position_embeddings": 512,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 32},
        "embed_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 256, "pad_token_id": 0, "tie_word_embeddings": False},
    "internlm2": {
        "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "torch_dtype": "bfloat16", "vocab_size": 656, "hidden_size": 72,
        "intermediate_size": 60, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "bias": False,
        "rope_theta": 1000000, "rope_scaling": {"type": "linear", "factor": 2.0}, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "hidden_act": "silu"},
}


def internlm2_weights(weights, config):
    """A Llama's weights as InternLM2's code reads them, which rearranges the rows of wqkv by "b q (h gs d) -> b q h gs d"."""
    kv, size = config["num_key_value_heads"], config["hidden_size"] // config["num_attention_heads"]
    names = {"embed_tokens": "tok_embeddings", "lm_head": "output", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
             "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
             "mlp.down_proj": "feed_forward.w2"}
    renamed = {}
    for name, values in weights.items():
        if "q_proj" in name:
            by_head = [weights[name.replace("q_proj", f"{x}_proj")].unflatten(0, (kv, -1, size)) for x in "qkv"]
            renamed[name.replace("self_attn.q_proj", "attention.wqkv")] = torch.cat(by_head, 1).flatten(0, 2)
        elif "k_proj" not in name and "v_proj" not in name:
            old = next((old for old in names if old in name), "")
            renamed[name.replace(old, names[old]) if old else name] = values
    return renamed


# Classes that transformers lacks: the one with the same mathematics, its names of the configuration's keys, and how weights are stored.
STAND_INS = {"internlm2": ("llama", {"bias": "attention_bias"}, internlm2_weights)}


def stand_in(name, folder):
    """The class that stands in, a configuration of its, and what makes the published weights of its own."""
    model_type, keys, weights = STAND_INS[name]
    config = transformers.AutoConfig.for_model(model_type, **{keys.get(key, key): value for key, value in CONFIGS[name].items()
                                                              if key not in ("architectures", "model_type", "torch_dtype")})
    return transformers.AutoModelForCausalLM._model_mapping[type(config)], config, weights


def model_of(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    known = transformers.AutoModelForCausalLM._model_mapping  # published names of classes are not always transformers' own
    return (known[type(config)] if type(config) in known else getattr(transformers, config.architectures[0])), config


def randomise(model):
    generator = torch.Generator().manual_seed(7)
    biases = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("correction_bias")]
    for name, parameter in [*model.named_parameters(), *biases]:
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            values = 1 + 0.3 * values
        elif name.endswith("A_log"):
            values = 0.3 * values
        elif parameter.dim() < 2:
            values = 0.5 * values
        else:
            values = values * 1.3 / parameter.shape[-1] ** 0.5
        with torch.no_grad():
            parameter.copy_(values)


def sample(model, count):
    """Ids that the model finds likely, with some chance in them, so that its perplexity is far from the vocabulary's size."""
    torch.manual_seed(11)
    with torch.no_grad():
        made = model.generate(torch.tensor([[5]]), do_sample=True, top_k=0, max_new_tokens=count - 1, min_new_tokens=count - 1)
    return made[0].tolist()


def perplexity(model, ids):
    losses = []
    with torch.no_grad():
        for chunk in range(CHUNKS):
            part = ids[chunk * CONTEXT:(chunk + 1) * CONTEXT]
            logits = model(torch.tensor([part]), use_cache=False).logits[0].double()
            scores = torch.log_softmax(logits, -1)
            losses += [-scores[i, part[i + 1]].item() for i in range(CONTEXT // 2, CONTEXT - 1)]
    n = len(losses)
    mean = sum(losses) / n
    spread = sum(loss * loss for loss in losses) / n - mean * mean
    return {"context": CONTEXT, "chunks": CHUNKS, "n_scored": n, "mean_nll": mean, "perplexity": math.exp(mean),
            "perplexity_error": math.sqrt(spread / (n - 1)) * math.exp(mean)}


def greedy(model, prompt, count):
    ids, margin = list(prompt), math.inf
    with torch.no_grad():
        for _ in range(count):
            values, best = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
            margin = min(margin, float(values[0] - values[1]))
            ids.append(int(best[0]))
    return {"prompt": list(prompt), "continuation": ids[len(prompt):], "min_margin": margin}


def bytes_tokenizer():
    """Every byte a token, and an end of text: enough for a file that holds a vocabulary."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    return made


def made_model(name, folder):
    """Writes the weights; the model that transformers makes of them."""
    text = (folder / "config.json").read_text()
    cls, config, *weights = stand_in(name, folder) if name in STAND_INS else model_of(folder)
    model = cls._from_config(config, dtype=torch.float32)
    randomise(model)
    if weights:
        stored = {key: value.to(torch.bfloat16) for key, value in model.state_dict().items()}
        save_file({key: value.contiguous() for key, value in weights[0](stored, CONFIGS[name]).items()}, folder / "model.safetensors")
        model.load_state_dict(stored)
        return model.eval()
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "config.json").write_text(text)  # as publishers write it, not as transformers saves it
    (folder / "generation_config.json").unlink(missing_ok=True)  # of nothing but defaults
    return cls.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager").eval()


def record(name, folder):
    folder.mkdir(parents=True)
    if name in STAND_INS:  # llama.cpp's converter, which reads these too, wants their kind of tokenizer
        shutil.copy(pathlib.Path(__file__).parents[2] / "testdata/models/llama-spm/tokenizer.model", folder)
    else:
        bytes_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(CONFIGS[name], indent=1) + "\n")
    model = made_model(name, folder)
    ids = sample(model, CONTEXT * CHUNKS)
    golden = {"software": f"transformers {transformers.__version__}, torch {torch.__version__}: weights read from this directory, "
                          "computed in float32, attn_implementation=eager", "add_bos": False, **perplexity(model, ids),
              "tokens": ids, "greedy": max((greedy(model, ids[k:k + 20], 24) for k in range(0, 60, 20)), key=lambda g: g["min_margin"])}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    with torch.no_grad():
        logits = model(torch.tensor([ids[:LOGITS]]), use_cache=False).logits[0]
    (folder / "golden").mkdir()
    save_file({"tokens": torch.tensor(ids[:LOGITS]), "logits": logits.contiguous()}, folder / "golden/golden_logits.safetensors")
    print(f"{name}: perplexity {golden['perplexity']:.2f}, margin {golden['greedy']['min_margin']:.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:] or CONFIGS:
        record(wanted, pathlib.Path(sys.argv[1]) / wanted)
