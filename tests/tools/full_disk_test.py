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
    reference = programs.read(whole)
    disk = os.path.join(work, "disk")
    os.mkdir(disk)
    pages = -(-len(reference) // 4096)
    refused = 0
    for size in (4096, len(reference) // 2, pages * 4096, (pages + 1) * 4096, (pages + 2) * 4096, (pages + 64) * 4096):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, text=True)
        if mounted.returncode != 0:
            programs.skip("a small tmpfs cannot be mounted here (" + mounted.stderr.strip() + ")")
        try:
            out = os.path.join(disk, "x.gguf")
            p = programs.Program([program, "convert", model, "--type", "f16", "-o", out])
            if p.status == 0:
                assert programs.read(out) == reference
            else:
                refused += 1
                assert p.status == 1 and len(p.error_lines()) == 1, p.err
                assert "space" in p.err, p.err
                assert not os.path.exists(out)
                assert os.listdir(disk) == [], os.listdir(disk)
            last = p.status
        finally:
            subprocess.run(["umount", disk], check=True)
    assert refused >= 3 and last == 0
    print(f"{refused} disks too small: refused, nothing left behind")


if __name__ == "__main__":
    main()
