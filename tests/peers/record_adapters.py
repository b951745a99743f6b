#!/usr/bin/env python3
"""Records small bases, PEFT adapters for them, and what the two compute together.

    record_adapters.py OUTPUT_DIR [NAME...]

OUTPUT_DIR/bases/NAME: a model of random weights (bf16, no tokenizer). OUTPUT_DIR/NAME: an adapter as peft saves it, and in golden/ what the base computes
with it: golden_logits.safetensors (tokens I64, logits F32), of the model with the adapter beside its weights (peft does not merge where an output
matrix is tied: issue 2777), in f32. "unmerged-..." are whole checkpoints with the adapter in them. Written once, with the versions that README.md names;
it is not run by any test. Needs peft, torch and transformers.
"""
import json
import os
import pathlib
import sys
import warnings

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
TOKENS = 24  # of the logits

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 61, "hidden_size": 32, "intermediate_size": 44,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128,
         "rms_norm_eps": 1e-5, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
BASES = {
    "llama": LLAMA,
    "llama-tied": {**LLAMA, "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 44,
             "n_positions": 128, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2},
    "mixtral": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 61, "hidden_size": 32, "intermediate_size": 28,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
                "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": None, "tie_word_embeddings": False, "bos_token_id": 1,
                "eos_token_id": 2},
    "gpt-oss": {"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "vocab_size": 61, "hidden_size": 32, "intermediate_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128,
                "num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": 16, "tie_word_embeddings": False, "bos_token_id": 1,
                "eos_token_id": 2, "rope_scaling": None},
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# Name: base, options of LoraConfig.
ADAPTERS = {
    "tied-head": ("llama-tied", dict(r=3, lora_alpha=6, target_modules=["q_proj", "lm_head"])),
    "tied-embedding": ("llama-tied", dict(r=3, lora_alpha=6, target_modules=["v_proj", "embed_tokens"])),
    "tied-both": ("llama-tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "lm_head"])),
    "tied-ensured": ("llama-tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "k_proj"], ensure_weight_tying=True)),
    "tied-saved": ("llama-tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["embed_tokens"])),
    "tied-saved-head": ("llama-tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["lm_head"])),
    "tied-tokens": ("llama-tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"], trainable_token_indices=[3, 60, 17])),
    "ends": ("llama", dict(r=3, lora_alpha=5, target_modules=["embed_tokens", "lm_head", "down_proj"])),
    "tokens": ("llama", dict(r=2, lora_alpha=3, target_modules=["v_proj"], trainable_token_indices={"embed_tokens": [5, 0], "lm_head": [9]})),
    "added-tokens": ("llama", dict(r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])),
    "bias": ("llama", dict(r=2, lora_alpha=5, target_modules=ATTENTION, lora_bias=True)),
    "all-biases": ("llama", dict(r=2, lora_alpha=5, target_modules=["q_proj", "up_proj"], bias="all")),
    "norms": ("llama", dict(r=2, lora_alpha=5, target_modules=["q_proj"], modules_to_save=["norm", "input_layernorm"])),
    "dora-ends": ("llama", dict(r=3, lora_alpha=5, target_modules=["embed_tokens", "lm_head", "k_proj"], use_dora=True)),
    "ranks": ("llama", dict(r=4, lora_alpha=6, target_modules=ATTENTION + ["up_proj"], rank_pattern={"up_proj": 7, r"layers\.1\..*q_proj": 1},
                            alpha_pattern={"o_proj": 2.5, "^model.layers.0.self_attn.k_proj": 9}, use_rslora=True)),
    "gpt2": ("gpt2", dict(r=3, lora_alpha=5, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "gpt2-dora": ("gpt2", dict(r=3, lora_alpha=5, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True, use_dora=True)),
    "experts": ("mixtral", dict(r=2, lora_alpha=5, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    "experts-down": ("mixtral", dict(r=2, lora_alpha=5, target_modules=[], target_parameters=["mlp.experts.down_proj", "mlp.gate.weight"],
                                     rank_pattern={"experts.down_proj": 3})),
    "experts-turned": ("gpt-oss", dict(r=2, lora_alpha=5, target_modules=["o_proj"], target_parameters=["mlp.experts.gate_up_proj",
                                                                                                   "mlp.experts.down_proj"])),
}
# Whole checkpoints with the adapter of another folder in them.
UNMERGED = ["ends", "bias", "experts", "tokens", "dora-ends"]


def base_of(name):
    torch.manual_seed(sum(map(ord, name)))
    config = transformers.AutoConfig.for_model(**BASES[name])
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            size = 1.0 if p.ndim < 2 and "norm" in key or ".ln_" in key and key.endswith("weight") else 0.0
            p.copy_((torch.randn_like(p) * (0.1 if p.ndim < 2 else 0.25) + size).bfloat16().float())
    return model


def save_base(name, out):
    model = base_of(name).to(torch.bfloat16)
    model.save_pretrained(out / "bases" / name)
    for extra in ("generation_config.json",):
        (out / "bases" / name / extra).unlink(missing_ok=True)
    path = out / "bases" / name / "config.json"
    config = json.loads(path.read_text())
    for key in ("transformers_version", "use_cache", "initializer_range", "attention_dropout"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def fill(model, seed):
    """Trained-looking values for whatever peft added."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_magnitude" in key:
                p.mul_(1 + 0.2 * torch.randn_like(p))
            elif "lora_" in key:
                p.copy_((torch.randn_like(p) * 0.3).bfloat16().float())
            elif "modules_to_save" in key or "trainable_tokens_delta" in key or p.requires_grad:
                p.copy_((p + torch.randn_like(p) * 0.2).bfloat16().float())


def adapted(name, seed=None):
    base, options = ADAPTERS[name]
    model = base_of(base)
    if name == "added-tokens":
        model.resize_token_embeddings(67, mean_resizing=False)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    fill(model, sum(map(ord, name)) if seed is None else seed)
    return base, model


def logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens).logits[0].float().contiguous()


def write_golden(folder, model, tokens):
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    save_file({"tokens": tokens[0].contiguous(), "logits": logits(model, tokens)}, folder / "golden" / "golden_logits.safetensors")


def settle_config(folder, base):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = "../bases/" + base
    config = {k: v for k, v in config.items() if v is not None}
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def tokens_for(model):
    torch.manual_seed(7)
    return torch.randint(0, model.get_input_embeddings().weight.shape[0], (1, TOKENS))


def main():
    out = pathlib.Path(sys.argv[1])
    chosen = sys.argv[2:]
    for name in BASES:
        if not chosen or name in chosen:
            save_base(name, out)
    for name in ADAPTERS:
        if chosen and name not in chosen:
            continue
        base, model = adapted(name)
        tokens = tokens_for(model)
        model.save_pretrained(out / name)
        settle_config(out / name, base)
        write_golden(out / name, model, tokens)
        if name in UNMERGED:
            folder = out / ("unmerged-" + name)
            folder.mkdir(parents=True, exist_ok=True)
            state = {k: v.contiguous().clone().to(torch.bfloat16 if "lora_magnitude" not in k else v.dtype) for k, v in model.state_dict().items()}
            save_file(state, folder / "model.safetensors")
            for source, file in ((out / "bases" / base, "config.json"), (out / name, "adapter_config.json")):
                (folder / file).write_text((source / file).read_text())
            write_golden(folder, model, tokens)
        before = logits(model, tokens)
        merged = model.merge_and_unload()
        print(f"{name}: merged differs by {(logits(merged, tokens) - before).abs().max():.3g}", flush=True)
    # Several adapters, one of them DoRA, merged in turn.
    if not chosen or "several" in chosen:
        base, model = adapted("ranks")
        first = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=3, target_modules=ATTENTION, use_dora=True)
        model.add_adapter("second", first)
        model.set_adapter("second")
        fill_second(model)
        folder = out / "several"
        model.save_pretrained(folder, selected_adapters=["second"])
        for file in (folder / "second").iterdir():
            file.rename(folder / file.name)
        (folder / "second").rmdir()
        settle_config(folder, base)
        tokens = tokens_for(model)
        merged = model.merge_and_unload(adapter_names=["default", "second"])
        write_golden(folder, merged, tokens)


def fill_second(model):
    torch.manual_seed(11)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if ".second" not in key:
                continue
            if "lora_magnitude" in key:
                p.mul_(1 + 0.2 * torch.randn_like(p))
            else:
                p.copy_((torch.randn_like(p) * 0.3).bfloat16().float())


if __name__ == "__main__":
    main()
