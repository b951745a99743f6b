#!/usr/bin/env python3
"""A decoder that is an embedding model, of Qwen3-Embedding's kind, in llama.cpp: it pools as modules.json says.

    embeddings_peer.py --smelt PROGRAM --shared DIR --work DIR

Makes a small random model with modules.json, a pooling of the last token and a dense module behind it, whose tokenizer ends every text;
converts it; and compares the vector that llama.cpp gives of a text with transformers' (the last token of the last norm, brought to length
1). Needs torch, transformers and xllamacpp or llama-cpp-python.
"""
import ctypes
import json
import shutil
import subprocess
import sys

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

import families_peer
import peers

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen."
TOLERANCE = 1e-4  # of components of a vector of length 1
LAST_TOKEN = 3    # of llama.cpp's enum llama_pooling_type
WIDTH = 48


def make(folder, source, tied):
    """Writes the model; returns its class's body and its tokenizer. Without a tie the files lack the output matrix all the same."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    end = "<|endoftext|>"
    tokenizer.add_special_tokens([end])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1",
                                                                        special_tokens=[(end, tokenizer.token_to_id(end))])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=WIDTH, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=tied, architectures=["Qwen3ForCausalLM"],
        eos_token_id=tokenizer.token_to_id(end), bos_token_id=None, pad_token_id=None)
    torch.manual_seed(3)
    model = transformers.Qwen3Model(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.copy_(1 + 0.3 * torch.randn(weights.shape) if "norm" in name else torch.randn(weights.shape) * weights.shape[-1] ** -0.5)
    model.save_pretrained(folder)  # of Qwen3Model, whose tensors have no "model." before them, as the releases'
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    (folder / "modules.json").write_text(json.dumps([
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(modules)]))
    for path, content in (("1_Pooling", {"word_embedding_dimension": WIDTH, "pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}),
                          ("2_Dense", {"in_features": WIDTH, "out_features": 8, "bias": False})):
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(content))
    save_file({"linear.weight": torch.randn(8, WIDTH)}, folder / "2_Dense" / "model.safetensors")
    return model, tokenizer


def unit(vector):
    vector = np.asarray(vector, np.float64)
    return vector / np.linalg.norm(vector)


def pooled(llama, path, count):
    """What llama.cpp makes of TEXT, by the pooling that the file says: ids and the vector."""
    lib = llama.lib
    lib.llama_get_embeddings_seq.restype = ctypes.POINTER(ctypes.c_float)
    lib.llama_get_embeddings_seq.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    lib.llama_set_embeddings.restype, lib.llama_set_embeddings.argtypes = None, [ctypes.c_void_p, ctypes.c_bool]
    llama.load(str(path), 512, None, 1, exact=True)
    ids = llama.tokenize(TEXT)
    lib.llama_set_embeddings(llama.ctx, True)
    llama.decode(ids, wanted=range(len(ids)))
    return list(ids), [lib.llama_get_embeddings_seq(llama.ctx, 0)[i] for i in range(count)]


def check(p, checks, tied):
    folder, path = p.work / "embedding", p.work / "embedding-f32.gguf"
    model, tokenizer = make(folder, p.fixture("models/qwen2"), tied)
    ids = tokenizer.encode(TEXT).ids
    said = subprocess.run([p.program, "convert", folder, "--type", "f32", "-o", path, "--force", "--validate", "off"],
                          capture_output=True, text=True, check=True).stderr
    checks.check(tied != ("no output matrix (lm_head.weight) is stored" in said), f"a note says that there is no output matrix: {said!r}")
    checks.check("the module Dense (2_Dense) of modules.json is left out" in said, f"a note names the module that no GGUF of this has: {said!r}")
    keys = {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}
    checks.check(keys.get("qwen3.pooling_type") == LAST_TOKEN, f"the last token is pooled: {keys.get('qwen3.pooling_type')}")
    checks.check(keys.get("tokenizer.ggml.add_eos_token") is True, "texts get an end")
    with torch.no_grad():
        expected = unit(model(torch.tensor([ids])).last_hidden_state[0, -1])
    theirs, vector = pooled(families_peer.load_llama(p), path, WIDTH)
    checks.check(theirs == ids, f"llama.cpp's ids are the tokenizer's: {theirs} {ids}")
    off = float(np.abs(unit(vector) - expected).max())
    checks.check(off <= TOLERANCE, f"the vector is transformers': {off:.2g} off")


def main():
    p, checks = peers.Peers(peers.parser(__doc__).parse_args()), peers.Checks()
    for tied in (True, False):  # Qwen3-Embedding-0.6B, 8B
        check(p, checks, tied)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
