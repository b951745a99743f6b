#!/usr/bin/env python3
"""kill -9 at random moments of a conversion: never a wrong file under the final name, and a later run gives the right one.

kill_resume_test.py PROGRAM MODEL_DIR [SECONDS]
"""
import os
import random
import subprocess
import sys
import time

import programs


def attempt(argv, out, reference, delay):
    """Starts, kills after `delay`; whatever has the final name must be right."""
    p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    p.kill()
    p.wait()
    if os.path.exists(out):
        assert programs.read(out) == reference, "a wrong file under the final name"
        return True
    return False


def rounds(argv, out, until, wanted):
    """Until that time, and until so many kills on a slow machine."""
    start = time.monotonic()
    first = programs.Program(argv)
    assert first.status == 0, first.err
    length = time.monotonic() - start
    reference = programs.read(out)
    os.remove(out)
    kills = resumed = 0
    while time.monotonic() < until or kills < wanted:
        for _ in range(random.randint(1, 4)):
            kills += 1
            if attempt(argv, out, reference, random.uniform(0, length * 1.1)):
                break
        if not os.path.exists(out):
            last = programs.Program(argv)
            assert last.status == 0, last.err
            resumed += "resuming" in last.err
        assert programs.read(out) == reference, "the output after a kill differs"
        left = [x for x in os.listdir(os.path.dirname(out)) if x != os.path.basename(out) and not x.endswith(".safetensors")]
        # A kill between the final rename and the journal's removal may leave the journal: the next run takes it away.
        assert left in ([], [os.path.basename(out) + ".part.journal"]), left
        os.remove(out)
    return kills, resumed


def main():
    program, model = sys.argv[1], sys.argv[2]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 16
    work = programs.temporary()
    matrices = os.path.join(work, "in.safetensors")
    programs.write_matrices(matrices, {"a.weight": (6000, 2048), "b.weight": (3000, 1024), "c.weight": (64, 256)})
    start = time.monotonic()
    kills, resumed = rounds([program, "quantize", matrices, "--type", "q4_k_m", "--validate", "off", "-o", os.path.join(work, "m.gguf")],
                            os.path.join(work, "m.gguf"), start + seconds * 0.6, 3)
    more, _ = rounds([program, "convert", model, "--type", "q4_0", "-o", os.path.join(work, "x.gguf")],
                     os.path.join(work, "x.gguf"), start + seconds * 0.8, 2)
    # The plan that goes on is made of a source whose tokenizer does not agree with what is written of it.
    accepted, _ = rounds([program, "convert", model, "--type", "q4_0", "--pre", "gpt-2", "--allow-tokenizer-mismatch",
                          "-o", os.path.join(work, "y.gguf")], os.path.join(work, "y.gguf"), start + seconds, 1)
    print(f"{kills + more + accepted} kills, {resumed} runs resumed")


if __name__ == "__main__":
    main()
