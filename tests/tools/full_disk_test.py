#!/usr/bin/env python3
"""A disk that is too small is refused before the work starts, and nothing stays on it. Needs root for a small tmpfs.

full_disk_test.py PROGRAM MODEL_DIR
"""
import os
import subprocess
import sys

import programs


def main():
    program, model = sys.argv[1], sys.argv[2]
    work = programs.temporary()
    whole = os.path.join(work, "whole.gguf")
    done = programs.Program([program, "convert", model, "--type", "f16", "-o", whole])
    assert done.status == 0, done.err
    disk = os.path.join(work, "disk")
    os.mkdir(disk)
    refused = fill(program, model, disk, [programs.read(whole)], [os.path.join(disk, "x.gguf")], [])
    split = ["--split-tensors", "9"]
    done = programs.Program([program, "convert", model, "--type", "f16", "-o", whole, *split, "--json"])
    assert done.status == 0, done.err
    parts = [p["path"] for p in done.json()["parts"]]
    assert len(parts) > 2
    refused += fill(program, model, disk, [programs.read(p) for p in parts],
                    [os.path.join(disk, f"x-{i + 1:05}-of-{len(parts):05}.gguf") for i in range(len(parts))], split)
    print(f"{refused} disks too small: refused, nothing left behind")


def fill(program, model, disk, reference, files, options):
    """The output, `files` with the contents `reference`, on disks of several sizes; how many were too small."""
    pages = sum(-(-len(x) // 4096) for x in reference)
    refused = 0
    for size in (4096, pages * 2048, pages * 4096, (pages + 1) * 4096, (pages + 2) * 4096, (pages + 64) * 4096):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, text=True)
        if mounted.returncode != 0:
            programs.skip("a small tmpfs cannot be mounted here (" + mounted.stderr.strip() + ")")
        try:
            p = programs.Program([program, "convert", model, "--type", "f16", "-o", os.path.join(disk, "x.gguf"), *options])
            if p.status == 0:
                assert [programs.read(f) for f in files] == reference
            else:
                refused += 1
                assert p.status == 1 and len(p.error_lines()) == 1, p.err
                assert "space" in p.err, p.err
                assert os.listdir(disk) == [], os.listdir(disk)
            last = p.status
        finally:
            subprocess.run(["umount", disk], check=True)
    assert refused >= 3 and last == 0
    return refused


if __name__ == "__main__":
    main()
