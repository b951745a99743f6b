#!/usr/bin/env python3
"""Real models against transformers' and llama.cpp's recorded results (fixtures/real/NAME.json).

    real_peer.py --smelt PROGRAM --shared DIR --work DIR [--quick] NAME=MODEL_DIR...

MODEL_DIR is what tools/real_models.py NAME makes (smollm2, qwen2.5-coder-0.5b, gemma3-270m). Perplexity of the directory in place, ids,
greedy text; conversion with its validation; perplexity of llama.cpp's own quantized files, with f32 activations and with activations
rounded to 8 bits as llama.cpp rounds them.
Needs gguf, numpy, xllamacpp.
"""
import json
import sys

import peers

# Files written by llama.cpp's quantizer and read by us; files written by us.
THEIRS = ("q8_0", "q4_k_m", "q3_k_m")
OURS = ("q8_0", "q4_k_m")
NEAR = 0.02  # a distance of the two best logits below which a correct engine may choose the other token


def check_ids(checks, p, model, golden):
    """Ids of the recorded strings, specials parsed, none added."""
    lines = p.work / "strings.jsonl"
    strings = golden["tokenizer"]["strings"]
    lines.write_text("".join(json.dumps({"text": s["text"]}) + "\n" for s in strings))
    with open(lines, encoding="utf-8") as f:
        out = peers.run([p.program, "tokenize", model, "-", "--jsonl", "--no-special"], stdin=f)
    ours = [json.loads(line)["ids"] for line in out.splitlines()]
    wrong = [s["text"][:40] for s, ids in zip(strings, ours) if ids != s["ids"]]
    checks.check(not wrong and len(ours) == len(strings), f"ids of {len(strings)} strings; different: {wrong}")


def check_greedy(checks, p, model, golden):
    """Greedy continuations, up to the first step whose two best tokens are nearly equal."""
    for g in golden["greedy"]:
        ids = p.work / "prompt.json"
        ids.write_text(json.dumps(g["prompt_ids"]))
        want = g["continuation_ids"]
        sure = next((i for i, gap in enumerate(g["gaps"]) if gap < NEAR), len(want))
        r = p.smelt_json("run", model, "--prompt-ids", ids, "-n", str(len(want)), "--temp", "0", "--activations", "f32", "--ignore-eos")
        checks.check(r["ids"][:sure] == want[:sure], f"greedy text after {g['prompt']!r}: {sure} of {len(want)} ids are certain")


def check_conversion(checks, p, model, kind):
    """Our file passes its validation; the figures of the table."""
    path = p.work / f"ours-{kind}.gguf"
    r = p.smelt_json("convert", model, "--type", kind, "-o", path, "--force", "--quiet")
    v = r["validation"]
    checks.check(v["passed"] and path.stat().st_size == r["bytes"],
                 f"our {kind}: {r['bytes'] / 1e6:.1f} MB, {r['bits_per_weight']:.2f} bits/weight, perplexity "
                 f"{v['reference']['perplexity']:.4g} to {v['perplexity']:.4g}, KL {v['reference']['kl_mean']:.4f}, same top-1 "
                 f"{100 * v['reference']['top1_agreement']:.1f}%, {r['seconds']:.1f} s, peak {r['peak_anonymous_bytes'] / 2**20:.0f} MiB")
    path.unlink()


def check_model(checks, p, name, model, theirs):
    golden = json.loads(p.fixture(f"real/{name}.json").read_text())
    text = p.fixture("text/eval.txt")

    def perplexity(path, *options):
        r = p.smelt_json("eval", path, "--text", text, "--context", "512", "--chunks", "16", *options)
        return r["perplexity"], r["tokens_per_second"]

    check_ids(checks, p, model, golden)
    ours, speed = perplexity(model)
    checks.within(ours, golden["perplexity"]["perplexity"], 5e-4, f"perplexity of the directory ({speed:.0f} tokens/s)")
    check_greedy(checks, p, model, golden)
    for kind in OURS:
        check_conversion(checks, p, model, kind)

    bf16 = p.work / f"{name}-bf16.gguf"
    p.smelt("convert", model, "--type", "bf16", "-o", bf16, "--force", "--quiet")
    recorded, decoded = golden["llama_cpp"]["perplexity"], golden["llama_cpp"]["perplexity_of_the_decoded_weights"]["perplexity"]
    for kind in theirs:
        path = p.work / f"theirs-{kind}.gguf"
        p.llama("quantize", bf16, path, kind, "--types", p.fixture(f"real/{name}_presets.json"), "--backend", "xllamacpp")
        ours, speed = perplexity(path)
        checks.within(ours, decoded[kind]["perplexity"], 5e-4, f"llama.cpp's {kind}, f32 activations ({speed:.0f} tokens/s), its decoded weights")
        checks.within(ours, recorded[kind]["perplexity"], 0.01, f"llama.cpp's {kind}, f32 activations, its own figure")
        ours, speed = perplexity(path, "--activations", "q8")
        checks.within(ours, recorded[kind]["perplexity"], 0.015, f"llama.cpp's {kind}, 8-bit activations ({speed:.0f} tokens/s), its own figure")
        path.unlink()
    bf16.unlink()


def main():
    a = peers.parser(__doc__)
    a.add_argument("models", nargs="+", metavar="NAME=MODEL_DIR")
    a.add_argument("--quick", action="store_true", help="leave llama.cpp's q8_0 and q3_k_m files out")
    a = a.parse_args()
    p, checks = peers.Peers(a), peers.Checks()
    for model in a.models:
        name, folder = model.split("=", 1)
        print(f"---- {name}", flush=True)
        check_model(checks, p, name, folder, THEIRS[1:2] if a.quick else THEIRS)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
