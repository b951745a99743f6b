#!/usr/bin/env python3
"""Models as mlx-lm writes them: the tensors that smelt reads of the folder are those of the model that was converted.

    mlx_peer.py --smelt PROGRAM --shared DIR --work DIR [--model NAME]...

Each fixture is loaded by mlx-lm's own class (its `sanitize` changes names and weights) and saved, as it is and in 8 bits; smelt converts that and the
published folder to f32. As it is, every tensor is the same (of norms to which the class adds one, within bf16's rounding); in 8 bits, within a hundredth
of the largest value. What the class leaves out may be missing (keys of layers that share them, draft heads) or zero (ERNIE's bias of experts' scores).
Needs mlx, mlx-lm, transformers, gguf.
"""
import json
import pathlib
import shutil
import sys

import gguf
import mlx.core as mx
import numpy as np
import transformers
from mlx_lm import utils

import peers

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ("deepseek_v2 deepseek_v3 glm4_moe_lite mistral4 granitemoe granitemoehybrid gemma4 gemma4_moe gemma4_e glm4_moe phimoe qwen3_5 qwen3_5_moe qwen3_next "
          "qwen2moe minimax_m2 olmoe lfm2_moe jamba nemotron_h_moe apertus internlm2 starcoder2 phi3 stablelm cohere2 gpt2 gptneox ernie4_5_moe").split()
ADD_ONE = ("qwen3_5", "qwen3_5_moe", "qwen3_next")  # in bf16
LEFT_AWAY = "exp_probs_b.bias"  # of ernie4_5_moe


def bare(source, folder):
    """GPT-2 with names as its makers published it: mlx-lm turns the matrices of those alone."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    for file in folder.glob("*.safetensors"):
        mx.save_safetensors(str(file), {k.removeprefix("transformer."): v for k, v in mx.load(str(file)).items()}, {"format": "pt"})
    return folder


def save(source, out, bits):
    """The folder as mlx-lm saves it; False where a row is no whole number of groups."""
    own = json.loads((source / "config.json").read_text())
    try:
        known = transformers.AutoConfig.from_pretrained(source).to_dict()
    except ValueError:
        known = {}
    model, config = utils.load_model(source, strict=False, model_config={k: v for k, v in known.items() if k not in own and v is not None})
    if bits:
        try:
            model, config = utils.quantize_model(model, config, 32, bits)
        except ValueError as error:
            if "divisible" in str(error):
                return False
            raise
        own.update({k: v for k, v in config.items() if k.startswith("quantization")})
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    utils.save_model(out, model)
    utils.save_config(own, config_path=out / "config.json")
    for file in source.iterdir():
        if "token" in file.name or file.name in ("vocab.json", "merges.txt"):
            shutil.copyfile(file, out / file.name)
    return True


def tensors(p, folder, out):
    p.smelt("convert", folder, "--type", "f32", "--validate", "off", "--mtp", "drop", "-o", out, "--force", "--quiet")
    return {t.name: np.asarray(t.data, np.float32) for t in gguf.GGUFReader(out).tensors}


def compare(checks, label, published, mlx, bound):
    missing = [n for n in published if n not in mlx and not n.endswith(("attn_k.weight", "attn_v.weight", "attn_k_norm.weight"))]
    for name in (n for n in published if n.endswith(LEFT_AWAY) and label.startswith("ernie")):
        published[name] = np.zeros_like(published[name])
    worst = max((np.abs(published[n] - mlx[n]).max() / (np.abs(published[n]).max() + 1e-30), n) for n in mlx)
    checks.check(not missing and worst[0] <= bound, f"{label}: {len(mlx)} tensors, {worst[0]:.2g} off ({worst[1]}), missing {missing[:3]}")


def main():
    a = peers.parser(__doc__)
    a.add_argument("--model", action="append")
    a = a.parse_args()
    mx.set_default_device(mx.cpu)
    transformers.logging.set_verbosity_error()
    p, checks = peers.Peers(a), peers.Checks()
    for name in a.model or MODELS:
        source = next(d for d in (p.fixture("models") / name, HERE.parent.parent / "testdata/models" / name) if d.is_dir())
        if name == "gpt2":
            source = bare(source, p.work / "bare")
        published = tensors(p, source, p.work / "published.gguf")
        for bits in (0, 8):
            label, folder = f"{name} {bits or 'as it is'}", p.work / "mlx"
            if not save(source, folder, bits):
                continue
            bound = 0.01 if bits else 4e-3 if name in ADD_ONE else 0
            compare(checks, label, published, tensors(p, folder, p.work / "mlx.gguf"), bound)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
