#!/usr/bin/env python3
"""Two builds of smelt on the same machine, run in turn: what a change costs, as ratios with their uncertainty.

    compare_builds.py BASE OTHER --model DIR [--row generate ...] [--threads 1,2,4] [--pairs 15] [--json FILE]

  BASE, OTHER    programs; a prefix of NAME=VALUE words sets their environment: "OMP_WAIT_POLICY=passive build/b/smelt"
  --model DIR    a published model; its q8_0 and q4_k_m files are made by BASE, in --work
  --row ROW      generate (128 tokens), prompt (512 tokens), eval (f32, 4 chunks), convert (q4_k_m, gate on); default: all
  --load N       busy processes beside, for a loaded machine

A pair is one run of each, the order changing from pair to pair. Printed per row and number of threads: the median of the
pairs' ratios of time (OTHER / BASE, above 1 is slower), its 95 % interval (bootstrap), and the same of processor time.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import random

ROWS = ("generate", "prompt", "eval", "convert")


def run(program, argv):
    """One run: (JSON on standard output, wall seconds, processor seconds)."""
    words = program.split()
    env = dict(os.environ, **dict(w.split("=", 1) for w in words[:-1]))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    p = subprocess.run([words[-1], *map(str, argv)], capture_output=True, text=True, env=env)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode != 0:
        sys.exit(f"exit {p.returncode}: {program} {' '.join(map(str, argv))}\n{p.stdout[-500:]}{p.stderr[-500:]}")
    return json.loads(p.stdout), wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Bench:
    def __init__(self, options, work):
        self.o, self.work = options, work
        self.file = work / "model-q8_0.gguf"
        run(options.base, ["convert", options.model, "--type", "q8_0", "-o", self.file, "--validate", "off", "--json"])
        vocabulary = next(t["shape"][-1] for t in run(options.base, ["inspect", self.file, "--json"])[0]["tensors"]
                          if t["name"] == "token_embd.weight")
        self.prompt_ids, self.text_ids = work / "prompt.json", work / "text.json"
        draw = random.Random(1)
        self.prompt_ids.write_text(json.dumps([draw.randrange(3, vocabulary // 2) for _ in range(512)]))
        self.text_ids.write_text(json.dumps([draw.randrange(3, vocabulary // 2) for _ in range(1024)]))

    def once(self, program, row, threads):
        """(seconds, processor seconds) of one run; those of the row's own phase where the program tells them."""
        tail = ["--threads", threads, "--json"]
        if row == "generate":
            argv = ["run", self.file, "--prompt-ids", self.work / "one.json", "-n", 128, "--temp", 0, "--ignore-eos"]
            (self.work / "one.json").write_text("[5, 6, 7, 8]")
            out, _, cpu = run(program, argv + tail)
            return 128 / out["tokens_per_second"], cpu
        if row == "prompt":
            out, _, cpu = run(program, ["run", self.file, "--prompt-ids", self.prompt_ids, "-n", 1, "--temp", 0] + tail)
            return 512 / out["prompt_tokens_per_second"], cpu
        if row == "eval":
            out, wall, cpu = run(program, ["eval", self.file, "--tokens", self.text_ids, "--context", 256, "--chunks", 4] + tail)
            return out["seconds"] if "seconds" in out else wall, cpu
        out, wall, cpu = run(program, ["convert", self.o.model, "--type", "q4_k_m", "-o", self.work / "out.gguf", "--force"] + tail)
        return wall, cpu

    def row(self, row, threads):
        ratios, cpu_ratios, base_times = [], [], []
        for pair in range(self.o.pairs):
            order = [self.o.base, self.o.other] if pair % 2 == 0 else [self.o.other, self.o.base]
            result = {program: self.once(program, row, threads) for program in order}
            (a, a_cpu), (b, b_cpu) = result[self.o.base], result[self.o.other]
            ratios.append(b / a)
            cpu_ratios.append(b_cpu / a_cpu)
            base_times.append(a)
        low, high = interval(ratios)
        return {"row": row, "threads": threads, "pairs": self.o.pairs, "seconds": statistics.median(base_times),
                "ratio": statistics.median(ratios), "low": low, "high": high, "cpu_ratio": statistics.median(cpu_ratios)}


def interval(values, rounds=4000):
    """95 % interval of the median."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(rounds))
    return medians[int(0.025 * rounds)], medians[int(0.975 * rounds)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("base")
    p.add_argument("other")
    p.add_argument("--model", type=pathlib.Path, required=True)
    p.add_argument("--row", action="append", choices=ROWS)
    p.add_argument("--threads", default=str(os.cpu_count()))
    p.add_argument("--pairs", type=int, default=15)
    p.add_argument("--load", type=int, default=0)
    p.add_argument("--work", default="/dev/shm")
    p.add_argument("--json", type=pathlib.Path)
    options = p.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="smelt-compare-", dir=options.work))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.load)]
    results = []
    try:
        bench = Bench(options, work)
        print(f"{'row':10} threads  seconds   ratio  95 % interval    processor time")
        for row in options.row or ROWS:
            for threads in map(int, options.threads.split(",")):
                r = bench.row(row, threads)
                results.append(r)
                print(f"{row:10} {threads:7} {r['seconds']:8.3f} {r['ratio']:7.3f}  {r['low']:5.3f} .. {r['high']:5.3f} {r['cpu_ratio']:15.3f}",
                      flush=True)
    finally:
        for process in busy:
            process.kill()
        shutil.rmtree(work)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
