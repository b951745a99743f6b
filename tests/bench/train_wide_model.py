#!/usr/bin/env python3
"""Trains a small Llama whose rows are multiples of 256 throughout, as those of large models are, and saves it as a published folder:
what quantizers do with it needs no fall-back to other types (compare_quantizers.py).

    train_wide_model.py --out DIR --tokenizer MODEL --text FILE... [--layers 4] [--width 512] [--tokens 2000000] [--validation FILE]

  --tokenizer MODEL  folder whose tokenizer.json is taken, its byte-level BPE trained anew on the texts (--vocabulary ids)
  --text FILE        files or folders (of *.py, *.txt, *.md, *.h, *.pod)
  --exclude NAME...  files of these names are left out of folders: those to be evaluated on
  --validation FILE  text not trained on: its loss beside the loss of token frequencies alone

Needs torch, tokenizers, safetensors. A CPU suffices: two cores train a million tokens in some half an hour.
"""
import argparse
import json
import math
import pathlib
import random
import time

import tokenizers
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

CONTEXT = 512


class Block(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.heads, self.kv, self.size = a.heads, a.kv_heads, a.width // a.heads
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(a.width, eps=1e-5) for _ in range(2))
        self.self_attn = nn.ModuleDict({"q_proj": nn.Linear(a.width, a.width, bias=False),
                                        "k_proj": nn.Linear(a.width, self.kv * self.size, bias=False),
                                        "v_proj": nn.Linear(a.width, self.kv * self.size, bias=False),
                                        "o_proj": nn.Linear(a.width, a.width, bias=False)})
        self.mlp = nn.ModuleDict({"gate_proj": nn.Linear(a.width, a.intermediate, bias=False),
                                  "up_proj": nn.Linear(a.width, a.intermediate, bias=False),
                                  "down_proj": nn.Linear(a.intermediate, a.width, bias=False)})

    def rotate(self, x, cosine, sine):
        left, right = x.chunk(2, -1)
        return x * cosine + torch.cat((-right, left), -1) * sine

    def forward(self, x, cosine, sine):
        batch, length, _ = x.shape
        h = self.input_layernorm(x)
        q, k, v = (self.self_attn[n](h).view(batch, length, -1, self.size).transpose(1, 2) for n in ("q_proj", "k_proj", "v_proj"))
        q, k = self.rotate(q, cosine, sine), self.rotate(k, cosine, sine)
        k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.self_attn["o_proj"](attended.transpose(1, 2).reshape(batch, length, -1))
        h = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](h)) * self.mlp["up_proj"](h))


class Model(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embed_tokens = nn.Embedding(a.vocabulary, a.width)
        self.layers = nn.ModuleList(Block(a) for _ in range(a.layers))
        self.norm = nn.RMSNorm(a.width, eps=1e-5)
        self.lm_head = nn.Linear(a.width, a.vocabulary, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = 1 / math.sqrt(2 * a.layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
                nn.init.normal_(p, std=0.02 * scale)
        size = a.width // a.heads
        angles = torch.outer(torch.arange(CONTEXT), 10000.0 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cosine[:ids.shape[1]], self.sine[:ids.shape[1]])
        return self.lm_head(self.norm(x))


def read_texts(paths, excluded):
    texts = []
    for path in map(pathlib.Path, paths):
        files = sorted(f for e in ("py", "txt", "md", "h", "pod") for f in path.rglob("*." + e) if f.name not in excluded)
        files = files if path.is_dir() else [path]
        texts += [f.read_text("utf-8", "ignore") for f in files]
    return texts


def make_tokenizer(a, texts):
    """The folder's tokenizer.json with another vocabulary: its steps and special tokens stay."""
    spec = json.loads((a.tokenizer / "tokenizer.json").read_text())
    special = len(spec["added_tokens"])
    new = tokenizers.Tokenizer(tokenizers.models.BPE())
    new.pre_tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec)).pre_tokenizer
    new.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=a.vocabulary - special, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    trained = json.loads(new.to_str())["model"]
    spec["model"]["vocab"], spec["model"]["merges"] = trained["vocab"], trained["merges"]
    if len(trained["vocab"]) != a.vocabulary - special:
        raise SystemExit("too little text for so many ids")
    text = json.dumps(spec)
    for i, token in enumerate(spec["added_tokens"]):
        text = text.replace(f'"id": {token["id"]},', f'"id": {a.vocabulary - special + i},')
        text = text.replace(f'"ids": [{token["id"]}]', f'"ids": [{a.vocabulary - special + i}]')
    return json.loads(text)


def save(a, model, spec):
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "tokenizer.json").write_text(json.dumps(spec))
    added = {t["content"]: t["id"] for t in spec["added_tokens"]}
    settings = json.loads((a.tokenizer / "tokenizer_config.json").read_text())
    settings["added_tokens_decoder"] = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in spec["added_tokens"]}
    (a.out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    (a.out / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": a.width, "intermediate_size": a.intermediate,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads, "vocab_size": a.vocabulary,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "attention_bias": False,
        "mlp_bias": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": added[settings["bos_token"]],
        "eos_token_id": added[settings["eos_token"]]}, indent=1))
    weights = {n if n.startswith("lm_head") else "model." + n: p.detach().bfloat16().contiguous() for n, p in model.named_parameters()}
    save_file(weights, a.out / "model.safetensors", metadata={"format": "pt"})


def loss_of(model, ids):
    batch = ids[:len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    with torch.no_grad():
        losses = [F.cross_entropy(model(b[:-1][None])[0], b[1:]).item() for b in batch]
    return sum(losses) / len(losses)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "tokenizer"):
        p.add_argument("--" + name, type=pathlib.Path, required=True)
    p.add_argument("--text", nargs="+", required=True)
    p.add_argument("--exclude", nargs="+", default=[])
    p.add_argument("--validation", type=pathlib.Path)
    for name, value in (("width", 512), ("layers", 4), ("intermediate", 1536), ("heads", 8), ("kv-heads", 4), ("vocabulary", 4096),
                        ("tokens", 2_000_000), ("batch", 8), ("seed", 1)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--tokenizer-text", type=int, default=8_000_000, help="bytes of text that the vocabulary is trained on")
    a = p.parse_args()
    torch.manual_seed(a.seed)
    random.seed(a.seed)
    texts = read_texts(a.text, a.exclude)
    random.shuffle(texts)
    some, size = [], 0
    for text in texts:
        if size < a.tokenizer_text:
            some.append(text)
            size += len(text)
    spec = make_tokenizer(a, some)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
    ids, needed = [], a.tokens + CONTEXT
    for text in texts:
        if len(ids) < needed:
            ids += tokenizer.encode(text).ids
    ids = torch.tensor(ids)
    print(f"{len(texts)} texts, {len(ids)} tokens", flush=True)
    validation = torch.tensor(tokenizer.encode(a.validation.read_text("utf-8")[:60000]).ids[:16384]) if a.validation else None

    model = Model(a)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                   {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}],
                                  lr=a.rate, betas=(0.9, 0.95))
    chunks = ids[:len(ids) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
    order = torch.randperm(len(chunks))
    steps = min(a.tokens // (CONTEXT * a.batch), len(chunks) // a.batch)
    start = time.time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = a.rate * min(1, (step + 1) / 40) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        batch = chunks[order[step * a.batch:(step + 1) * a.batch]]
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step} of {steps}: loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)
    save(a, model, spec)
    if validation is not None:
        counts = torch.bincount(ids, minlength=a.vocabulary).double() + 1
        print(f"validation: {loss_of(model, validation):.3f} nats a token, by frequencies alone "
              f"{-(counts / counts.sum()).log()[validation].mean().item():.3f}")


if __name__ == "__main__":
    main()
