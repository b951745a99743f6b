#!/usr/bin/env python3
"""Memory stays within 300 MiB: conversions of weights larger than that run under `prlimit --data`.

memory_test.py PROGRAM MODEL_DIR
"""
import os
import shutil
import sys

import programs

LIMIT = 300 << 20


def main():
    program, model = sys.argv[1], sys.argv[2]
    if shutil.which("prlimit") is None:
        programs.skip("prlimit (util-linux) is missing")
    work = programs.temporary()
    matrices = os.path.join(work, "in.safetensors")
    # 400 MB: a vocabulary of 100,000 rows, and one row of 8 million columns.
    programs.write_matrices(matrices, {"token_embd.weight": (100_000, 1920), "wide.weight": (1, 8 << 20)})
    limited = ["prlimit", f"--data={LIMIT}", program]
    for threads in ("2", "64"):  # stacks count as data
        def run(what, *argv):
            p = programs.Program([*limited, *argv, "--json", "--threads", threads])
            assert p.status == 0, p.err
            assert "threads" not in p.err, p.err  # all were started
            peak = p.json().get("peak_anonymous_bytes", 0) >> 20
            print(f"{threads} threads, {what}: {peak} MiB anonymous at most" if peak else f"{threads} threads, {what}")
        for kind in ("f32", "q8_0", "q4_k_m"):
            run(kind, "quantize", matrices, "--type", kind, "--validate", "off", "-o", os.path.join(work, "m.gguf"), "--force")
        out = os.path.join(work, "x.gguf")
        run("with the check", "convert", model, "--type", "q4_k_m", "-o", out, "--force")
        run("eval", "eval", out, "--reference", model, "--text", os.path.join(os.path.dirname(model), "eval.txt"), "--chunks", "4")


if __name__ == "__main__":
    main()
