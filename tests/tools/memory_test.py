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
    for kind in ("f32", "q8_0", "q4_k_m"):
        p = programs.Program([*limited, "quantize", matrices, "--type", kind, "--validate", "off", "--json", "--threads", "2",
                              "-o", os.path.join(work, "m.gguf"), "--force"])
        assert p.status == 0, p.err
        print(kind, p.json()["peak_anonymous_bytes"] >> 20, "MiB anonymous at most")
    p = programs.Program([*limited, "convert", model, "--type", "q4_k_m", "--json", "-o", os.path.join(work, "x.gguf")])
    assert p.status == 0, p.err
    print("with the check:", p.json()["peak_anonymous_bytes"] >> 20, "MiB anonymous at most")


if __name__ == "__main__":
    main()
