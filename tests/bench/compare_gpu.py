#!/usr/bin/env python3
"""smelt on a graphics card beside llama.cpp's Vulkan build, in one run of a few minutes: tokens a second, and ratios.

    compare_gpu.py --smelt PROGRAM --model FILE.gguf [options]

  --model FILE.gguf    what both run; of a folder: smelt convert DIR --type q4_k_m
  --text FILE          also eval in f32: tokens a second, and with a quarter of the model's size as the device's memory
  --device NAME        smelt's --device (default vulkan)
  --llama-python EXE   Python with llama.cpp's Vulkan build:  pip install cyllama-vulkan
  --repeat N           of smelt's medians, and llama.cpp's best (default 3)
  --prompts 512,2048   prompt lengths
  --contexts 0,4096    tokens that lie before the 128 that are generated
  --read-bandwidth B   bytes a second that the card's memory gives, for the share that generation reaches
  --peak N             operations a second that the card makes, for the share that prompts reach
  --activations KIND   f32 (default), or q8: inputs of products rounded to 8 bits and multiplied as integers, as llama.cpp does
  --json FILE          the figures

Without a card this runs on Mesa's software device, where the figures mean nothing: give small prompts, contexts and counts.
"""
import argparse
import json
import pathlib
import subprocess
import sys

# One line of JSON: prompt and generation in tokens a second.
LLAMA = r"""
import json, os, sys, time
from cyllama.llama import llama_cpp as cy
file, prompt, context, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
cy.ggml_backend_load_all()
params = cy.LlamaModelParams()
params.n_gpu_layers = 999
model = cy.LlamaModel(file, params)
context_params = cy.LlamaContextParams()
context_params.n_ctx = max(prompt, context + count) + 16
context_params.n_batch = 2048
vocabulary = model.get_vocab().n_vocab
def ids(n):
    return [(7919 * i) % (vocabulary - 1) + 1 for i in range(n)]
def feed(ctx, tokens, at):
    for i in range(0, len(tokens), 2048):
        ctx.decode(cy.llama_batch_get_one(tokens[i:i + 2048], at + i))
    ctx.synchronize()
result = {}
if prompt:
    ctx = cy.LlamaContext(model, context_params)
    feed(ctx, ids(8), 0)
    ctx = cy.LlamaContext(model, context_params)
    start = time.perf_counter()
    feed(ctx, ids(prompt), 0)
    result["prompt"] = prompt / (time.perf_counter() - start)
if count:
    ctx = cy.LlamaContext(model, context_params)
    if context:
        feed(ctx, ids(context), 0)
    feed(ctx, ids(1), context)
    start = time.perf_counter()
    for i in range(count - 1):
        feed(ctx, ids(1), context + 1 + i)
    result["generation"] = (count - 1) / (time.perf_counter() - start)
sys.stdout.flush()
os.write(1, ("\n" + json.dumps(result) + "\n").encode())
os._exit(0)  # drivers have crashed in their last moments
"""


def output(argv):
    p = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if p.returncode != 0:
        sys.exit(f"exit {p.returncode}: {' '.join(map(str, argv[:6]))}\n{p.stdout[-1000:]}{p.stderr[-2000:]}")
    return p.stdout


class Bench:
    def __init__(self, a):
        self.a, self.rows = a, []

    def row(self, what, ours, theirs, note="", **counted):
        self.rows.append({"what": what, "smelt": ours, "llama.cpp": theirs, **counted})
        beside = f"llama.cpp {theirs:10.2f}   {ours / theirs:5.2f}x" if theirs else ""
        print(f"{what:44} smelt {ours:10.2f} tokens/s   {beside} {note}", flush=True)

    def smelt_bench(self, prompt, context, count):
        found = json.loads(output([self.a.smelt, "bench", self.a.model, "--device", self.a.device, "--activations", self.a.activations,
                                   "-p", prompt, "-n", count, "--context", context, "--repeat", self.a.repeat, "--json", "--quiet"]))
        return found["rows"][0]

    def llama(self, prompt, context, count):
        if not self.a.llama_python:
            return {}
        runs = [json.loads(output([self.a.llama_python, "-c", LLAMA, self.a.model, prompt, context, count]).splitlines()[-1])
                for _ in range(self.a.repeat)]
        return {key: max(run[key] for run in runs) for key in runs[0]}

    def prompts(self):
        for prompt in self.a.prompts:
            row = self.smelt_bench(prompt, 0, 0)
            ours, operations = row["prompt_tokens_per_second"]["median"], row["operations_per_token"]
            share = f"{100 * ours * operations / self.a.peak:.3g} % of the card's peak" if self.a.peak else ""
            self.row(f"prompt of {prompt}", ours, self.llama(prompt, 0, 0).get("prompt"), share, operations_per_token=operations)

    def generations(self):
        for context in self.a.contexts:
            row = self.smelt_bench(0, context, self.a.count)
            ours = row["tokens_per_second"]["median"]
            commands = row["commands_per_token"] or {}
            counted = {key: row[key] for key in ("bytes_per_token", "operations_per_token")} | commands
            note = f"{row['bytes_per_token'] / 1e6:.3g} MB, {row['operations_per_token'] / 1e9:.3g} G operations"
            note += "".join(f", {n:.4g} {what}" for what, n in commands.items()) + " a token"
            if self.a.read_bandwidth:
                note += f", {100 * ours * row['bytes_per_token'] / self.a.read_bandwidth:.3g} % of the card's bandwidth"
            self.row(f"generation of {self.a.count} behind {context}", ours, self.llama(0, context, self.a.count).get("generation"), note,
                     **counted)

    def evaluations(self):
        quarter = max(self.a.model.stat().st_size // 4, 1_000_000)
        for memory in (None, quarter):
            limit = [] if memory is None else ["--device-memory", memory]
            found = json.loads(output([self.a.smelt, "eval", self.a.model, "--text", self.a.text, "--device", self.a.device, "--chunks", 4,
                                       "--context", self.a.eval_context, "--json", "--quiet", *limit]))
            what = "eval, f32" if memory is None else f"eval, f32, in {memory / 1e6:.0f} MB of the card"
            self.row(what, found["tokens_per_second"], None, f"perplexity {found['perplexity']:.4f}")


def main():
    numbers = lambda text: [int(n) for n in text.split(",")]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--smelt", type=pathlib.Path, required=True)
    p.add_argument("--model", type=pathlib.Path, required=True)
    p.add_argument("--text", type=pathlib.Path)
    p.add_argument("--json", type=pathlib.Path)
    p.add_argument("--device", default="vulkan")
    p.add_argument("--llama-python")
    p.add_argument("--activations", choices=["f32", "q8"], default="f32")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--prompts", type=numbers, default=[512, 2048])
    p.add_argument("--contexts", type=numbers, default=[0, 4096])
    p.add_argument("--count", type=int, default=128)
    p.add_argument("--eval-context", type=int, default=512)
    p.add_argument("--read-bandwidth", type=float)
    p.add_argument("--peak", type=float)
    bench = Bench(p.parse_args())
    devices = json.loads(output([bench.a.smelt, "devices", "--json"]))
    print("devices: " + ", ".join(f"{d['id']} {d['name']}" for d in devices["devices"]), flush=True)
    bench.prompts()
    bench.generations()
    if bench.a.text:
        bench.evaluations()
    if bench.a.json:
        bench.a.json.write_text(json.dumps(bench.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
