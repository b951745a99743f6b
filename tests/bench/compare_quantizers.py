#!/usr/bin/env python3
"""smelt and llama-quantize from the same weights: how far predictions move (KL divergence), for how many bytes.

    compare_quantizers.py --smelt PROGRAM --llama-bin DIR --model DIR --text FILE... --json FILE [options] [--types TYPE...]

  --llama-bin DIR    llama-quantize (and with --llama-kl llama-perplexity), built from llama.cpp:
                     cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target llama-quantize llama-perplexity
  --model DIR        published folder or GGUF. Weights that were quantized once lie on that grid, and who finds it looks better than it is:
                     take weights that lie on none.
  --types TYPE...    presets, such as q4_k_m (the default: those of quant/README.md)
  --text FILE...     what predictions are compared on: figures of all together, and the mean of each
  --calibration FILE text of the importance matrix and of --effort best (default: the one that smelt carries); no --text may share passages with it
  --tokens N         of it for both (default 32768)
  --chunks N         of 512 tokens, of each text (default 16; of each the second half is scored)
  --variants NAME... llama (llama-quantize with importance), plain (without), normal (smelt with the same importance), best, sized (best, each
                     tensor's type chosen for the bytes of llama-quantize's file); default: llama normal best
  --llama-kl         llama-perplexity's own KL divergence of each file besides (it rounds activations to 8 bits)
  --json FILE        results; what it has already is not measured again
  --work DIR         where files are made (default: a temporary folder); kept there with --keep
  --markdown         prints the tables of --json alone, of all models in it

Everything is made of one bf16 GGUF, which is the reference too. The ratios are to llama-quantize with importance.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

TYPES = ["q4_k_m", "q3_k_m", "q2_k", "iq4_xs", "iq3_s", "iq2_s", "q4_0"]
VARIANTS = ["llama", "plain", "normal", "best", "sized"]
FIGURES = {"mean": "kl_mean", "median": "kl_median", "p99": "kl_p99", "p999": "kl_p999", "top1": "top1_agreement"}
CALIBRATION = pathlib.Path(__file__).resolve().parents[2] / "testdata/text/calibration.txt"  # what the program carries


def run(*argv):
    p = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if p.returncode != 0:
        sys.exit(f"exit {p.returncode}: {' '.join(map(str, argv))}\n{p.stdout[-2000:]}{p.stderr[-2000:]}")
    return p.stdout


def llama_figures(text):
    """What llama-perplexity prints of a comparison; nothing where its end is missing."""
    patterns = {"mean": r"Mean\s+KLD", "median": r"Median\s+KLD", "p99": r"99\.0%\s+KLD", "p999": r"99\.9%\s+KLD", "top1": "Same top p"}
    found = {name: re.search(pattern + r"\s*: *(-?[0-9.]+)", text) for name, pattern in patterns.items()}
    figures = {name: float(match.group(1)) for name, match in found.items() if match}
    return figures | {"top1": figures["top1"] / 100} if len(figures) == len(patterns) else None


class Comparison:
    """One model; results are kept in the JSON file after each step."""

    def __init__(self, a, work):
        self.a, self.work = a, work
        self.all = json.loads(a.json.read_text()) if a.json.exists() else {}
        self.model = a.name or a.model.name
        self.base = work / f"{self.model}-bf16.gguf"
        self.imatrix = work / f"{self.model}.imatrix.gguf"
        self.statistics = work / f"{self.model}.statistics.gguf"

    def record(self, kind, variant):
        return self.all.setdefault(self.model, {}).setdefault(kind, {}).setdefault(variant, {"texts": {}})

    def save(self):
        part = self.a.json.with_suffix(".part")
        part.write_text(json.dumps(self.all, indent=1) + "\n")
        part.replace(self.a.json)

    def smelt(self, *argv):
        return run(self.a.smelt, *argv, "--threads", self.a.threads, "--quiet")

    def make_base(self):
        if not self.base.exists():
            self.smelt("convert", self.a.model, "--type", "bf16", "-o", self.base, "--validate", "off")
        if not self.imatrix.exists():
            self.smelt("imatrix", self.base, "--text", self.a.calibration, "--chunks", self.a.tokens // 512, "-o", self.imatrix)

    def make(self, kind, variant, file):
        self.make_base()
        if variant in ("llama", "plain"):
            importance = ["--imatrix", self.imatrix] if variant == "llama" else []
            run(self.a.llama_bin / "llama-quantize", *importance, self.base, file, kind, self.a.threads)
            return
        effort = "normal" if variant == "normal" else "best"
        size = ["--target-size", self.record(kind, "llama")["bytes"]] if variant == "sized" else ["--type", kind]
        gathered = ["--calibration", self.a.calibration, "--calibration-tokens", self.a.tokens, "--statistics", self.statistics]
        self.smelt("quantize", self.base, *size, "--effort", effort, "--imatrix", self.imatrix, "-o", file, "--validate", "off",
                   *(gathered if effort == "best" else []))

    def measure(self, file, texts):
        named = [argument for text in texts for argument in ("--text", text)]
        out = json.loads(self.smelt("eval", file, "--reference", self.base, *named, "--chunks", self.a.chunks, "--json"))
        return {"tokens": out["tokens_scored"], "means": {text.name: t["kl_mean"] for text, t in zip(texts, out["texts"])}} | {
            ours: out["reference"][theirs] for ours, theirs in FIGURES.items()}

    def measure_by_llama(self, file, text):
        logits = self.work / f"{self.model}-{text.name}-{self.a.chunks}.kld"
        common = ["-f", text, "-c", 512, "-b", 512, "--chunks", self.a.chunks, "-t", self.a.threads, "--kl-divergence-base", logits]
        if not logits.exists():
            part = logits.with_suffix(".part")
            run(self.a.llama_bin / "llama-perplexity", "-m", self.base, *common[:-1], part)
            part.replace(logits)
        for _ in range(10):  # now and then it ends before its logging thread has written everything
            if figures := llama_figures(run(self.a.llama_bin / "llama-perplexity", "-m", file, *common, "--kl-divergence")):
                return figures
        sys.exit(f"llama-perplexity does not say what it found of {file}")

    def missing(self, record):
        """The measurements that are still to be made, as (name, method, what)."""
        together = f"{' + '.join(t.name for t in self.a.text)}, {self.a.chunks}"
        if together not in record["texts"]:
            yield together, self.measure, self.a.text
        for text in self.a.text if self.a.llama_kl else []:
            alone = f"by llama.cpp: {text.name}, {self.a.chunks}"
            if alone not in record["texts"]:
                yield alone, self.measure_by_llama, text

    def compare(self, kind, variant):
        record = self.record(kind, variant)
        todo = list(self.missing(record))
        if not todo:
            return
        file = self.work / f"{self.model}-{kind}-{variant}.gguf"
        if not file.exists():
            part = file.with_suffix(".part.gguf")
            part.unlink(missing_ok=True)
            self.make(kind, variant, part)
            part.replace(file)
        self.make_base()
        record["bytes"] = file.stat().st_size
        for name, measure, what in todo:
            record["texts"][name] = measure(file, what)
            self.save()
            f = record["texts"][name]
            print(f"{self.model} {kind} {variant}, {name} chunks: " + " ".join(f"{n} {f[n]:.4f}" for n in FIGURES), flush=True)
        if not self.a.keep:
            file.unlink()


def number(value):
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def print_tables(everything):
    """One table for each model and text; ratios to llama-quantize with importance."""
    for model, kinds in everything.items():
        texts = list(dict.fromkeys(t for variants in kinds.values() for r in variants.values() for t in r["texts"]))
        for text in texts:
            print(f"\n{model}, {text} chunks\n")
            print("| type | by | mean | median | p99 | p99.9 | same top-1 | bytes |\n|---|---|---|---|---|---|---|---|")
            for kind, variants in kinds.items():
                base = variants.get("llama", {"texts": {}})
                for variant in sorted(variants, key=VARIANTS.index):
                    f, b = variants[variant]["texts"].get(text), base["texts"].get(text)
                    if f is None:
                        continue
                    ratio = {} if b is None or variant == "llama" else {n: f" ({f[n] / b[n]:.2f}x)" for n in FIGURES if b[n] > 0}
                    bytes_ratio = f" ({variants[variant]['bytes'] / base['bytes'] - 1:+.2%})" if ratio else ""
                    cells = [number(f[n]) + ratio.get(n, "") for n in ("mean", "median", "p99", "p999")]
                    print(f"| {kind} | {variant} | {' | '.join(cells)} | {f['top1']:.1%} | {variants[variant]['bytes'] / 1e6:.2f} MB{bytes_ratio} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("smelt", "llama-bin", "model"):
        p.add_argument("--" + name, type=lambda path: pathlib.Path(path).resolve())
    p.add_argument("--name", help="of the model, in results (default: the folder's)")
    p.add_argument("--json", type=pathlib.Path, required=True)
    p.add_argument("--types", nargs="+", default=TYPES)
    p.add_argument("--variants", nargs="+", default=["llama", "normal", "best"], choices=VARIANTS)
    p.add_argument("--text", nargs="+", type=pathlib.Path, default=[])
    p.add_argument("--calibration", type=pathlib.Path, default=CALIBRATION)
    p.add_argument("--tokens", type=int, default=32768)
    p.add_argument("--chunks", type=int, default=16)
    p.add_argument("--threads", default=str(os.cpu_count()))
    p.add_argument("--work", type=pathlib.Path)
    for name in ("llama-kl", "keep", "markdown"):
        p.add_argument("--" + name, action="store_true")
    a = p.parse_args()
    if a.markdown:
        print_tables(json.loads(a.json.read_text()))
        return
    if not (a.smelt and a.llama_bin and a.model and a.text):
        p.error("--smelt, --llama-bin, --model and --text are needed")
    if a.calibration.resolve() in [t.resolve() for t in a.text]:
        p.error("a text to compare on must not be the one of the calibration")
    if "sized" in a.variants and "llama" not in a.variants:
        p.error("sized takes its size from llama")
    with tempfile.TemporaryDirectory(prefix="smelt-quantizers-") as temporary:
        work = a.work or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        comparison = Comparison(a, work)
        for kind in a.types:
            for variant in sorted(a.variants, key=VARIANTS.index):
                comparison.compare(kind, variant)
    print_tables({comparison.model: comparison.all.get(comparison.model, {})})


if __name__ == "__main__":
    main()
