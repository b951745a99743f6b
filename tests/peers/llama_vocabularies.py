#!/usr/bin/env python3
"""The vocabularies that llama.cpp publishes with test vectors (models/ggml-vocab-*.gguf, .inp, .out): `smelt tokenize` gives every id.

    tests/peers/llama_vocabularies.py --smelt SMELT --shared SHARED --work WORK [--sdist FILE]

They are inside the source distribution of llama-cpp-python on PyPI, which is fetched into WORK once; without it, exit status 77.
"""
import json
import pathlib
import subprocess
import sys
import tarfile

from peers import Checks, Peers, parser

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SEPARATOR = "\n__ggml_vocab_test__\n"  # between the texts of .inp; .out has the ids of each on a line
SKIPPED = 77


def fetch(work):
    """The source distribution; None when it cannot be had."""
    found = list(work.glob(f"llama_cpp_python-{VERSION}.tar.gz"))
    if not found:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", f"{PACKAGE}=={VERSION}", "-d", work],
                       check=False)
        found = list(work.glob(f"llama_cpp_python-{VERSION}.tar.gz"))
    return found[0] if found else None


def unpack(sdist, folder):
    """models/ggml-vocab-* as files of `folder`."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            name = pathlib.PurePosixPath(member.name)
            if member.isfile() and name.parent.name == "models" and name.name.startswith("ggml-vocab-"):
                (folder / name.name).write_bytes(archive.extractfile(member).read())


def read(path):
    """Bytes as text: newlines stay as they are."""
    return path.read_bytes().decode()


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--sdist", type=pathlib.Path, help="the source distribution, instead of fetching it")
    a = arguments.parse_args()
    peers, checks = Peers(a), Checks()
    folder = peers.work / "llama-vocabularies"
    folder.mkdir(exist_ok=True)
    sdist = a.sdist or fetch(folder)
    if sdist is None:
        print(f"{PACKAGE} {VERSION} cannot be had")
        sys.exit(SKIPPED)
    unpack(sdist, folder)
    for vocabulary in sorted(folder.glob("ggml-vocab-*.gguf")):
        vectors = [vocabulary.with_name(vocabulary.name + ending) for ending in (".inp", ".out")]
        if not all(v.exists() for v in vectors):
            continue
        texts = read(vectors[0]).split(SEPARATOR)
        wanted = [[int(i) for i in line.split()] for line in read(vectors[1]).split("\n")[:len(texts)]]
        given = "".join(json.dumps({"text": t}) + "\n" for t in texts)
        run = subprocess.run([a.smelt, "tokenize", vocabulary, "--jsonl", "--no-special"], input=given, capture_output=True, text=True, check=False)
        ours = [json.loads(line)["ids"] for line in run.stdout.split("\n") if line] if run.returncode == 0 else []
        same = sum(x == y for x, y in zip(ours, wanted))
        first = next((f"; {ascii(t)}: {x} instead of {y}" for t, x, y in zip(texts, ours, wanted) if x != y), "")
        checks.check(run.returncode == 0 and same == len(texts) == len(wanted),
                     f"{vocabulary.name}: {same} of {len(texts)} texts{first}{run.stderr.strip()}")
    sys.exit(checks.close())


if __name__ == "__main__":
    main()
