#!/usr/bin/env python3
"""Checks every file of the project: C++ formatted as .clang-format says, no path of somebody's machine, no metadata key of our own
read or written past its table (lib/base/own_keys.h).

    tree_test.py format|paths|keys [ROOT]

Looks at the files that git tracks, or at all files where there is no git. Exit status 1 with one line per complaint; 77 (skipped) where
clang-format is missing.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

# Written so that the pattern does not find itself.
MACHINE_PATH = re.compile(rb"/(?:[w]ork|[h]ome/\w+|[t]mp/bash_jobs|[r]oot)/|\.[l]ibrary/")
# A member of Metadata with the name of a key of our own.
RAW_KEY = re.compile(r'(?:\.|->)(?:Set|Find|Has|Erase|Uint|UintOr|Float|FloatOr|BoolOr|String|StringOr|Strings)\(\s*"smelt\.')
BINARY = {".safetensors", ".gguf", ".model", ".bin", ".png"}


def files(root):
    """Paths relative to the root."""
    if shutil.which("git"):
        git = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True)
        if git.returncode == 0 and git.stdout:
            return [p for p in os.fsdecode(git.stdout).split("\0") if p and (root / p).is_file()]
    places = [p.relative_to(root) for p in root.rglob("*") if p.is_file()]
    return [p.as_posix() for p in places if p.parts[0] != ".git" and "build" not in p.parts[0]]


def unformatted(root):
    """Complaints of clang-format about C++ sources."""
    sources = [p for p in files(root) if p.endswith((".cc", ".h"))]
    run = subprocess.run(["clang-format", "--dry-run", *sources], cwd=root, capture_output=True, text=True)
    return sorted({line.split(":")[0] + ": not formatted (clang-format -i)" for line in run.stderr.splitlines() if "warning:" in line})


def machine_paths(root):
    """Lines that name a place on the machine of whoever wrote them."""
    found = []
    for path in files(root):
        if path.startswith("testdata/") or pathlib.PurePath(path).suffix in BINARY:
            continue
        for number, line in enumerate((root / path).read_bytes().split(b"\n"), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path}:{number}: {line.decode(errors='replace').strip()[:120]}")
    return found


def raw_keys(root):
    """Places in the library and the program that know a key of our own only by its text."""
    found = []
    for path in files(root):
        if path.endswith((".cc", ".h")) and not path.startswith("tests/"):
            text = (root / path).read_text()
            found += [f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {m.group()}...: use ReadOwn, WriteOwn or OwnKeyName" for m in RAW_KEY.finditer(text)]
    return found


def main():
    what = sys.argv[1]
    root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parents[2]).resolve()
    if what == "format" and not shutil.which("clang-format"):
        print("SKIPPED: no clang-format")
        return 77
    found = {"format": unformatted, "paths": machine_paths, "keys": raw_keys}[what](root)
    print("\n".join(found + [f"{len(found)} complaints"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
