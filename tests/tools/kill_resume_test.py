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


def contents(files):
    return [programs.read(f) for f in files]


def attempt(argv, files, reference, delay):
    """Starts, kills after `delay`; whatever has a final name must be right, and who opens the first file finds all."""
    p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    p.kill()
    p.wait()
    for file, right in zip(files, reference):
        assert not os.path.exists(file) or programs.read(file) == right, "a wrong file under its final name"
    if os.path.exists(files[0]):
        assert contents(files) == reference, "the first file came before the others"
        return True
    return False


def rounds(argv, files, until, wanted):
    """Until that time, and until so many kills on a slow machine. `files`: of the output."""
    start = time.monotonic()
    first = programs.Program(argv)
    assert first.status == 0, first.err
    length = time.monotonic() - start
    reference = contents(files)
    out = files[0]
    for file in files:
        os.remove(file)
    kills = resumed = 0
    while time.monotonic() < until or kills < wanted:
        for _ in range(random.randint(1, 4)):
            kills += 1
            if attempt(argv, files, reference, random.uniform(0, length * 1.1)):
                break
        if not os.path.exists(out):
            last = programs.Program(argv)
            assert last.status == 0, last.err
            resumed += "resuming" in last.err
        assert contents(files) == reference, "the output after a kill differs"
        names = {os.path.basename(f) for f in files}
        left = {x for x in os.listdir(os.path.dirname(out)) if x not in names and not x.endswith(".safetensors")}
        # A kill between the final rename and the journals' removal may leave them: the next run takes them away.
        assert left <= {x + ".part.journal" for x in names}, left
        for file in files:
            os.remove(file)
    for journal in left:
        os.remove(os.path.join(os.path.dirname(out), journal))
    return kills, resumed


def several(program, model, folder, until, wanted):
    """Several outputs of one read: each is right when it has its name, and the same command goes on until all have."""
    argv = [program, "convert", model, "--type", "q4_0,q8_0,f16", "-o", folder + "/"]
    start = time.monotonic()
    first = programs.Program(argv)
    assert first.status == 0, first.err
    length = time.monotonic() - start
    files = sorted(os.path.join(folder, x) for x in os.listdir(folder))
    assert len(files) == 3, files
    reference = contents(files)
    kills = 0
    while time.monotonic() < until or kills < wanted:
        for file in files:
            os.remove(file)
        for journal in os.listdir(folder):
            os.remove(os.path.join(folder, journal))
        while not all(os.path.exists(x) for x in files):
            p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                _, err = p.communicate(timeout=random.uniform(length * 0.3, length * 1.3))
                assert p.returncode == 0, err
            except subprocess.TimeoutExpired:
                p.kill()
                p.communicate()
                kills += 1
            for file, right in zip(files, reference):
                assert not os.path.exists(file) or programs.read(file) == right, "a wrong file under its final name"
    return kills


def main():
    program, model = sys.argv[1], sys.argv[2]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 16
    work = programs.temporary()
    matrices = os.path.join(work, "in.safetensors")
    programs.write_matrices(matrices, {"a.weight": (6000, 2048), "b.weight": (3000, 1024), "c.weight": (64, 256)})
    start = time.monotonic()
    kills, resumed = rounds([program, "quantize", matrices, "--type", "q4_k_m", "--validate", "off", "-o", os.path.join(work, "m.gguf")],
                            [os.path.join(work, "m.gguf")], start + seconds * 0.4, 3)
    parts, _ = rounds([program, "quantize", matrices, "--type", "q4_k_m", "--validate", "off", "--split-tensors", "1",
                       "-o", os.path.join(work, "p.gguf")],
                      [os.path.join(work, f"p-0000{i}-of-00003.gguf") for i in (1, 2, 3)], start + seconds * 0.6, 3)
    more, _ = rounds([program, "convert", model, "--type", "q4_0", "-o", os.path.join(work, "x.gguf")],
                     [os.path.join(work, "x.gguf")], start + seconds * 0.8, 2)
    # The plan that goes on is made of a source whose tokenizer does not agree with what is written of it.
    accepted, _ = rounds([program, "convert", model, "--type", "q4_0", "--pre", "gpt-2", "--allow-tokenizer-mismatch",
                          "-o", os.path.join(work, "y.gguf")], [os.path.join(work, "y.gguf")], start + seconds, 1)
    outputs = several(program, model, os.path.join(work, "several"), start + seconds * 1.2, 3)
    print(f"{kills + parts + more + accepted + outputs} kills, {resumed} runs resumed")


if __name__ == "__main__":
    main()
