#!/usr/bin/env python3
"""Encoding speed of smelt, the `tokenizers` library and llama.cpp on the same texts, in one run, one thread each, as ratios.

    compare_tokenizers.py --bench PROGRAM --texts DIR --tokenizers DIR [options] [encode|open|check]...

  --bench PROGRAM        tokenizer_bench (cmake -DSMELT_BUILD_BENCHMARKS=ON)
  --texts DIR            a folder of texts: every *.txt is encoded whole
  --tokenizers DIR       a folder of published tokenizers, each a folder with tokenizer.json
  --hf-python EXE        Python with  pip install tokenizers
  --llama-python EXE     Python with llama-cpp-python built for this machine:  pip install llama-cpp-python==0.3.36
  --vocabularies A,B     folders of --tokenizers (default llama3.1,qwen3)
  --repeat N             the best of N (default 7)
  --json FILE            the figures

encode: smelt through the GGUF vocabulary and through the published files, the library, and llama.cpp with the same GGUF, take turns, so
that whatever else the machine does hits all of them. Only the encoding call is timed, not Python, and not reading ids back. Three texts:
  texts     the fixtures, again and again: smelt's and the library's caches of words are warm, as in a program that goes on encoding
  first     the fixtures, each time with a newly opened tokenizer: caches help only with what the text itself repeats
  distinct  a megabyte of words that never repeat: caches do not help at all
llama.cpp has no cache. The library is taken by its fastest call (encode_batch_fast, which leaves offsets out), TOKENIZERS_PARALLELISM off.
All must give the same ids (smelt against the library; llama.cpp only by number of ids, since it applies no NFC).
open: milliseconds to open the vocabulary, smelt against llama.cpp (vocab_only), and smelt's CPU time, which other processes disturb less.
check: the self-test of a conversion.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

HF = r"""
import json, sys, time
from tokenizers import Tokenizer
path = sys.argv[1]
tokenizer = Tokenizer.from_file(path)
for line in sys.stdin:
    what, _, file = line.rstrip("\n").partition(" ")
    text = open(file, encoding="utf-8", newline="").read()
    if what == "fresh":
        tokenizer = Tokenizer.from_file(path)
    start = time.perf_counter()
    encoding = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    seconds = time.perf_counter() - start
    ids, total = encoding[0].ids, 0
    for i in ids:
        total = (total * 31 + i) % 1000003
    print(json.dumps({"seconds": seconds, "ids": len(ids), "sum": total}), flush=True)
"""

LLAMA = r"""
import ctypes, json, os, sys, time
import llama_cpp
from llama_cpp import llama_cpp as api
quiet = api.llama_log_callback(lambda level, text, data: None)
api.llama_log_set(quiet, None)
def load():
    params = api.llama_model_default_params()
    params.vocab_only = True
    start = time.perf_counter()
    model = api.llama_model_load_from_file(sys.argv[1].encode(), params)
    return model, time.perf_counter() - start
model, _ = load()
for line in sys.stdin:
    what, _, file = line.rstrip("\n").partition(" ")
    if what == "open":
        api.llama_model_free(model)
        model, seconds = load()
        print(json.dumps({"seconds": seconds}), flush=True)
        continue
    text = open(file, "rb").read()
    room = (api.llama_token * (len(text) + 16))()
    vocab = api.llama_model_get_vocab(model)
    start = time.perf_counter()
    n = api.llama_tokenize(vocab, text, len(text), room, len(text) + 16, False, True)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "ids": n}), flush=True)
"""


class Worker:
    """A process that answers one line with one line of JSON."""

    def __init__(self, argv):
        env = dict(os.environ, TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
        self.argv = argv
        self.process = subprocess.Popen([os.fspath(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"no answer to \"{line}\" from {' '.join(map(str, self.argv))[:300]}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def distinct_text(path, size=1_000_000):
    """Prose-like lines of words that do not repeat."""
    rng, seen, out, n = random.Random(5), set(), [], 0
    parts = ["ba", "con", "di", "er", "fo", "gra", "hi", "in", "ja", "ko", "lu", "men", "no", "or", "per", "qui", "re", "sta", "ti", "un", "ver", "wi"]
    while n < size:
        word = "".join(rng.choice(parts) for _ in range(rng.randint(3, 5)))
        if word in seen:
            continue
        seen.add(word)
        out.append(word.capitalize() if rng.random() < 0.1 else word)
        out.append("\n" if rng.random() < 0.05 else ". " if rng.random() < 0.05 else " ")
        n += len(out[-1]) + len(out[-2])
    path.write_text("".join(out), encoding="utf-8")


class Bench:
    def __init__(self, a):
        self.a, self.rows = a, []
        self.out = pathlib.Path(tempfile.mkdtemp(prefix="smelt-bench-"))
        self.gguf = {}
        for name in a.vocabularies:
            self.gguf[name] = self.out / f"{name}.gguf"
            subprocess.run([a.bench, "write", a.tokenizers / name, self.gguf[name]], check=True)

    def row(self, **values):
        self.rows.append(values)
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()), flush=True)

    def encode(self):
        a = self.a
        texts = sorted(a.texts.glob("*.txt"))
        distinct = self.out / "distinct.txt"
        distinct_text(distinct)
        for name in a.vocabularies:
            workers = {"smelt": Worker([a.bench, "serve", self.gguf[name]]),
                       "smelt_published": Worker([a.bench, "serve", a.tokenizers / name]),
                       "tokenizers": Worker([a.hf_python, "-c", HF, a.tokenizers / name / "tokenizer.json"])}
            if a.llama_python:
                workers["llama_cpp"] = Worker([a.llama_python, "-c", LLAMA, self.gguf[name]])
            for kind, files, what in (("texts", texts, "encode"), ("first", texts, "fresh"), ("distinct", [distinct], "encode")):
                best = {}
                for _ in range(max(2, a.repeat // 3) if what == "fresh" else a.repeat):
                    for who, worker in workers.items():
                        answers = [worker.ask(f"{what} {f}") for f in files]
                        seconds = sum(x["seconds"] for x in answers)
                        if who not in best or seconds < best[who][0]:
                            best[who] = seconds, [x["ids"] for x in answers], [x.get("sum") for x in answers]
                if len({str(best[w][1:]) for w in ("smelt", "smelt_published", "tokenizers")}) != 1:
                    sys.exit(f"{name}, {kind}: the ids differ: {best}")
                size = sum(f.stat().st_size for f in files) / 1e6
                speed = {who: size / seconds for who, (seconds, *_) in best.items()}
                self.row(vocabulary=name, text=kind, **{f"{w}_mb_per_s": s for w, s in speed.items()},
                         **{f"{ours}_vs_{w}": speed[ours] / s for ours in ("smelt", "smelt_published") for w, s in speed.items()
                            if not w.startswith("smelt")})
            for worker in workers.values():
                worker.close()

    def open(self):
        for name in self.a.vocabularies:
            workers = {"smelt": Worker([self.a.bench, "serve", self.gguf[name]])}
            if self.a.llama_python:
                workers["llama_cpp"] = Worker([self.a.llama_python, "-c", LLAMA, self.gguf[name]])
            best, cpu = {who: float("inf") for who in workers}, float("inf")
            for _ in range(self.a.repeat):
                for who, worker in workers.items():
                    answer = worker.ask("open")
                    best[who] = min(best[who], answer["seconds"])
                    cpu = min(cpu, answer.get("cpu", cpu))
            for worker in workers.values():
                worker.close()
            self.row(vocabulary=name, **{f"{w}_open_ms": s * 1000 for w, s in best.items()}, smelt_open_cpu_ms=cpu * 1000)

    def check(self):
        for name in self.a.vocabularies:
            worker = Worker([self.a.bench, "serve", self.a.tokenizers / name])
            answers = [worker.ask("check") for _ in range(3)]
            worker.close()
            self.row(vocabulary=name, tokens=answers[0]["ids"], self_check_ms=min(x["seconds"] for x in answers) * 1000,
                     peak_mb=answers[-1]["peak_kb"] / 1024)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bench", "texts", "tokenizers"):
        p.add_argument("--" + name, type=pathlib.Path, required=True)
    p.add_argument("--hf-python", default=sys.executable)
    p.add_argument("--llama-python")
    p.add_argument("--vocabularies", type=lambda s: s.split(","), default=["llama3.1", "qwen3"])
    p.add_argument("--repeat", type=int, default=7)
    p.add_argument("--json", type=pathlib.Path)
    p.add_argument("what", nargs="*", default=["encode", "open", "check"])
    a = p.parse_args()
    bench = Bench(a)
    try:
        for what in a.what:
            getattr(bench, what)()
    finally:
        shutil.rmtree(bench.out)
    if a.json:
        a.json.write_text(json.dumps({"rows": bench.rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
