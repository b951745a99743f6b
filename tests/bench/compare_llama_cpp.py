#!/usr/bin/env python3
"""smelt and llama.cpp on the same machine, in one run: what costs how much, as ratios.

    compare_llama_cpp.py --smelt PROGRAM --shared DIR --big DIR --small DIR [options] [convert|eval|q8|prompt|generate|types|families]...

  --shared DIR         ground truth kept outside of this repository (SMELT_SHARED_DIR)
  --big DIR            model folder to convert, of a billion parameters
  --small DIR          model folder to evaluate, such as SmolLM2-135M
  --llama-python EXE   Python with llama-cpp-python built for this machine:  pip install llama-cpp-python==0.3.36 numpy gguf
  --llama-cpp TREE     llama.cpp's source, for its converter; the source archive of llama-cpp-python has it (vendor/llama.cpp):
                       pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
  --convert-python EXE Python that can run the converter:  pip install torch transformers sentencepiece
  --peak PROGRAM       engine_bench (cmake -DSMELT_BUILD_BENCHMARKS=ON): measures one core's f32 FMA peak
  --tmpfs DIR          outputs (default /dev/shm)
  --llama-bench EXE    llama.cpp's own benchmark built for this machine, which then measures the rows of `types` and `families`
  --experts DIR        model folder with experts, for `families`
  --backend NAME       which package --llama-python has: llama_cpp (built for this machine, the default) or xllamacpp (AVX2 at most)
  --threads N          of both programs (default: all cores)
  --repeat N           the best of N (default 2); llama.cpp and smelt take turns
  --json FILE          the figures

Inputs are read once beforehand, so that they are in the page cache. llama.cpp's threads spin while they wait: with another busy process on the
machine its generation becomes very slow, so measure on a quiet machine or with --threads 1.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import mamba2_model


def timed(argv, env=None):
    """Runs a program: (standard output, wall seconds, CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    p = subprocess.run([os.fspath(a) for a in argv], capture_output=True, text=True, env=env)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode != 0:
        sys.exit(f"exit {p.returncode}: {' '.join(map(str, argv))}\n{p.stdout[-2000:]}{p.stderr[-2000:]}")
    return p.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cache(path):
    """Reads the model's files once."""
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        with open(file, "rb") as f:
            while f.read(1 << 24):
                pass


class Bench:
    def __init__(self, a):
        self.a = a
        self.out = pathlib.Path(tempfile.mkdtemp(prefix="smelt-bench-", dir=a.tmpfs))
        self.rows = []

    def row(self, what, ours, theirs, ratio, unit):
        """One line of the result; `ratio` says how many times better ours is."""
        self.rows.append({"what": what, "smelt": ours, "reference": theirs, "ratio": ratio, "unit": unit})
        print(f"{what:58} smelt {ours:9.2f}   reference {theirs:9.2f} {unit:10} {ratio:6.2f}x", flush=True)

    def smelt(self, *argv):
        return timed([self.a.smelt, *argv, "--threads", self.a.threads])

    def smelt_json(self, *argv):
        out, wall, cpu = self.smelt(*argv, "--json")
        return json.loads(out), wall, cpu

    def llama(self, *argv):
        out, wall, cpu = timed([self.a.llama_python, self.a.shared / "tools/llama_peer.py", *argv, "--threads", self.a.threads,
                                "--backend", self.a.backend])
        return json.loads(out.splitlines()[-1]), wall, cpu

    def llama_speed(self, file, prompt, count):
        """Tokens per second that llama.cpp takes in of a prompt of that length, or generates from an empty context: one of the two is 0."""
        if not self.a.llama_bench:
            tests = self.llama("bench", file, "-p", str(prompt or 1), "-n", str(count or 1), "-r", "1")[0]
            return tests[f"tg{count}" if count else f"pp{prompt}"]["tokens_per_second"]
        out, _, _ = timed([self.a.llama_bench, "-m", file, "-p", str(prompt), "-n", str(count), "-r", "1", "-t", self.a.threads, "-o", "json"])
        return json.loads(out)[0]["avg_ts"]

    def compare_speed(self, file, label, prompt, count):
        """A row of prompt or generation, both programs with the same file."""
        measured = []
        speed = "tokens_per_second" if count else "prompt_tokens_per_second"

        def ours():
            measured.append(self.smelt_json("bench", file, "-p", str(prompt), "-n", str(count), "--repeat", "1")[0])
            return -measured[-1]["rows"][0][speed]["median"]

        mine, theirs = self.best(ours, lambda: -self.llama_speed(file, prompt, count))
        row = measured[0]["rows"][0]
        what = f"prompt of {prompt}" if prompt else "generation"
        share = ""
        if count:
            share = -mine * row["bytes_per_token"] / max(m["rows"][0]["read_bytes_per_second"] for m in measured)
            share = f", {100 * share:.0f} % of memory"
        held = "+".join(t for t in measured[0]["types"] if t != "F32")
        self.row(f"{what}, {label} ({held}), {self.a.threads} thr.{share}", -mine, -theirs, mine / theirs, "tokens/s")

    def best(self, *measurements):
        """Calls each measurement in turn, `--repeat` times; the smallest result of each."""
        results = [[] for _ in measurements]
        for _ in range(self.a.repeat):
            for kept, measure in zip(results, measurements):
                kept.append(measure())
        return [min(r) for r in results]

    # ------------------------------------------------------------ what is measured
    def convert(self):
        a, bf16 = self.a, self.out / "theirs-bf16.gguf"
        cache(a.big)

        def converter():
            _, wall, cpu = timed([a.convert_python, a.llama_cpp / "convert_hf_to_gguf.py", a.big, "--outtype", "bf16", "--outfile", bf16])
            return wall, cpu

        def quantize():
            result, _, cpu = self.llama("quantize", bf16, self.out / "theirs.gguf", "q4_k_m")
            return result["seconds"], cpu

        def ours(validate):
            def measure():
                _, wall, cpu = self.smelt("convert", a.big, "--type", "q4_k_m", "-o", self.out / "ours.gguf", "--force", "--quiet",
                                          *(["--validate", "off"] if not validate else []))
                return wall, cpu
            return measure

        (w1, c1), (w2, c2), (w_off, c_off), (w_on, c_on) = self.best(converter, quantize, ours(False), ours(True))
        print(f"  converter {w1:.1f} s wall {c1:.1f} s CPU, llama-quantize {w2:.1f} s wall {c2:.1f} s CPU")
        self.row("convert --type q4_k_m --validate off, seconds", w_off, w1 + w2, (w1 + w2) / w_off, "wall")
        self.row("convert --type q4_k_m, gate on, seconds", w_on, w1 + w2, (w1 + w2) / w_on, "wall")
        self.row("convert --type q4_k_m --validate off, CPU seconds", c_off, c1 + c2, (c1 + c2) / c_off, "CPU")
        self.row("convert --type q4_k_m, gate on, CPU seconds", c_on, c1 + c2, (c1 + c2) / c_on, "CPU")
        bf16.unlink()

    def small_files(self):
        """bf16, q8_0, q4_k_m of the small model, written by llama.cpp so that both read the same bytes."""
        bf16 = self.out / "small-bf16.gguf"
        if not bf16.exists():
            self.smelt("convert", self.a.small, "--type", "bf16", "-o", bf16, "--validate", "off", "--quiet")
            for kind in ("q8_0", "q4_k_m"):
                self.llama("quantize", bf16, self.out / f"small-{kind}.gguf", kind)
        return {kind: self.out / f"small-{kind}.gguf" for kind in ("bf16", "q8_0", "q4_k_m")}

    def arithmetic(self, path):
        """f32 multiplications and additions that one token of an evaluation needs: matrices, attention, half of the output matrix."""
        tensors = self.smelt_json("inspect", path)[0]["tensors"]
        size = {t["name"]: t["shape"] for t in tensors}
        head = size.get("output.weight", size["token_embd.weight"])
        layers = sum(s[0] * s[1] for n, s in size.items() if n.startswith("blk.") and len(s) == 2)
        attention = sum(s[1] for n, s in size.items() if n.endswith("attn_q.weight")) * 2 * 256  # scores and values, 256 keys on average
        return 2 * (layers + attention + head[0] * head[1] * 255 / 512)

    def eval(self):
        files, a = self.small_files(), self.a
        text = a.shared / "fixtures/text/eval.txt"
        report = json.loads(timed([a.peak, "--benchmark_filter=^Peak$", "--benchmark_format=json"])[0])
        peak = report["benchmarks"][0]["flops"] / 1e9 * int(a.threads)

        def speed():
            return -self.smelt_json("eval", files["bf16"], "--text", text, "--chunks", "8")[0]["tokens_per_second"]

        tokens = -self.best(speed)[0]
        gflops = tokens * self.arithmetic(files["bf16"]) / 1e9
        self.row("eval, f32 activations, GFLOP/s against the FMA peak", gflops, peak, gflops / peak, "GFLOP/s")

    def q8(self):
        files, text = self.small_files(), self.a.shared / "fixtures/text/eval.txt"
        for kind in ("q8_0", "q4_k_m"):
            ours, theirs = self.best(
                lambda: -self.smelt_json("eval", files[kind], "--text", text, "--chunks", "8", "--activations", "q8")[0]["tokens_per_second"],
                lambda: -self.llama("ppl", files[kind], "--text", text, "--ctx", "512", "--chunks", "8")[0]["tokens_per_second"])
            self.row(f"eval --activations q8, {kind}, tokens/s", -ours, -theirs, ours / theirs, "tokens/s")

    def generate(self):
        files = self.small_files()
        for kind in ("q8_0", "q4_k_m"):
            ours, theirs = self.best(
                lambda: -self.smelt_json("run", files[kind], "Once upon a time", "-n", "128", "--temp", "0", "--ignore-eos")[0]["tokens_per_second"],
                lambda: -self.llama("bench", files[kind], "-p", "64", "-n", "128", "-r", "1")[0]["tg128"]["tokens_per_second"])
            self.row(f"generation, {kind}, tokens/s", -ours, -theirs, ours / theirs, "tokens/s")

    def types(self):
        """Generation by every kind of kernel, from a model whose rows K-quants divide, with 1 thread and with --threads."""
        converting = {"mxfp4": ["--type", "q4_0", "--pure", "--tensor-type", ".*=mxfp4"]}
        threads = self.a.threads
        for kind in ("q8_0", "q6_k", "q4_k_m", "q3_k_m", "iq4_xs", "mxfp4", "bf16"):
            file = self.out / f"types-{kind}.gguf"
            self.smelt("convert", self.a.big, *converting.get(kind, ["--type", kind]), "--effort", "fast", "-o", file, "--validate", "off",
                       "--quiet")
            for self.a.threads in sorted({"1", threads}):
                self.compare_speed(file, kind, 0, 32)
            self.a.threads = threads
            file.unlink()

    def prompt_ids(self, count=512):
        ids = self.out / "ids.json"
        ids.write_text(json.dumps([7 * i % 40000 + 100 for i in range(count)]))
        return ids

    def families(self):
        """Prompts and generation of what is no plain transformer (which stands beside it): state space, the delta rule with attention, experts."""
        models = self.out / "models"
        mamba2_model.write(models / "mamba2", self.a.small)
        timed([sys.executable, pathlib.Path(__file__).with_name("delta_model.py"), models, "--tokenizer", self.a.small, "--layers", "8"])
        folders = [models / name for name in ("mamba2", "hybrid", "attention")]  # llama.cpp runs neither of the others
        threads = self.a.threads
        for folder in folders + ([self.a.experts] if self.a.experts else []):
            for kind in ("q8_0", "q4_k_m"):
                file = self.out / f"{folder.name}-{kind}.gguf"
                self.smelt("convert", folder, "--type", kind, "--effort", "fast", "-o", file, "--validate", "off", "--quiet")
                self.compare_speed(file, f"{folder.name} {kind}", 512, 0)
                for self.a.threads in sorted({"1", threads}):
                    self.compare_speed(file, f"{folder.name} {kind}", 0, 32)
                self.a.threads = threads
                file.unlink()

    def prompt(self):
        """A prompt of 512 tokens; unlike q8's reference, llama.cpp's figure has no Python in it."""
        files, ids = self.small_files(), self.prompt_ids()
        for kind in ("q8_0", "q4_k_m"):
            ours, theirs = self.best(
                lambda: -self.smelt_json("run", files[kind], "--prompt-ids", ids, "-n", "1", "--temp", "0")[0]["prompt_tokens_per_second"],
                lambda: -self.llama("bench", files[kind], "-p", "512", "-n", "16", "-r", "1")[0]["pp512"]["tokens_per_second"])
            self.row(f"prompt of 512, {kind}, tokens/s", -ours, -theirs, ours / theirs, "tokens/s")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("smelt", "shared", "small"):
        p.add_argument("--" + name, type=pathlib.Path, required=True)
    for name in ("big", "experts", "llama-bench", "llama-cpp", "peak", "json"):
        p.add_argument("--" + name, type=pathlib.Path)
    p.add_argument("--llama-python", default=sys.executable)
    p.add_argument("--convert-python", default=sys.executable)
    p.add_argument("--backend", default="llama_cpp", choices=["llama_cpp", "xllamacpp"])
    p.add_argument("--tmpfs", default="/dev/shm")
    p.add_argument("--threads", default=str(os.cpu_count()))
    p.add_argument("--repeat", type=int, default=2)
    p.add_argument("what", nargs="*", default=["convert", "eval", "q8", "prompt", "generate", "types", "families"])
    a = p.parse_args()
    bench = Bench(a)
    try:
        for what in a.what:
            getattr(bench, what)()
    finally:
        shutil.rmtree(bench.out)
    if a.json:
        a.json.write_text(json.dumps({"threads": int(a.threads), "rows": bench.rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
