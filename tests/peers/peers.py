"""What the peer checks share: running smelt and llama.cpp, counting checks.

Peers are other people's programs that read our files, or whose files we read: gguf-py, llama.cpp (through llama_peer.py and the
packages xllamacpp or llama-cpp-python), Ollama.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

# The types of `smelt convert --type` that a model can be stored in.
TYPES = ("f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k").split()


class Checks:
    """Counts checks; prints the failed ones, and every one with its figure when `verbose`."""

    def __init__(self, verbose=True):
        self.passed = self.failed = 0
        self.verbose = verbose

    def check(self, ok, what):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        if self.verbose or not ok:
            print(("ok   " if ok else "FAIL ") + what, flush=True)
        return ok

    def within(self, value, expected, tolerance, what):
        """`value` is within `tolerance` (relative) of `expected`."""
        difference = value / expected - 1
        return self.check(abs(difference) <= tolerance,
                          f"{what}: {value:.5g}, expected {expected:.5g} ({100 * difference:+.3f}%, allowed {100 * tolerance:g}%)")

    def close(self):
        """The closing line; returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Failed(Exception):
    """A program ended with an unexpected status."""


def run(argv, accept=(0,), **options):
    """Runs a program and returns its standard output."""
    p = subprocess.run([os.fspath(a) for a in argv], capture_output=True, text=True, **options)
    if p.returncode not in accept:
        raise Failed(f"exit {p.returncode}: {' '.join(map(str, argv))}\n{p.stdout[-1500:]}{p.stderr[-1500:]}")
    return p.stdout


class Peers:
    """The programs of one run, from its arguments."""

    def __init__(self, arguments):
        self.program = arguments.smelt
        self.shared = pathlib.Path(arguments.shared)
        self.work = pathlib.Path(arguments.work)
        self.work.mkdir(parents=True, exist_ok=True)

    def smelt(self, *argv, accept=(0,)):
        """Standard output of `smelt ...`."""
        return run([self.program, *argv], accept)

    def smelt_json(self, *argv, accept=(0,)):
        return json.loads(self.smelt(*argv, "--json", accept=accept))

    def llama(self, *argv):
        """What `llama_peer.py ...` prints, as an object."""
        return json.loads(run([sys.executable, self.shared / "tools/llama_peer.py", *argv]).splitlines()[-1])

    def fixture(self, path):
        return self.shared / "fixtures" / path


def parser(doc):
    """Arguments that every peer check takes."""
    a = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--smelt", required=True, help="the program")
    a.add_argument("--shared", required=True, help="folder with fixtures/ and tools/")
    a.add_argument("--work", required=True, help="folder for outputs")
    return a
