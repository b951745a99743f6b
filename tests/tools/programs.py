"""What the tests of the program share: running it, temporary folders, made-up weights."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77  # ctest shows these as skipped


def skip(why):
    print("******** SKIPPED: " + why)
    sys.exit(SKIPPED)


class Program:
    """One run's result."""

    def __init__(self, argv, **options):
        env = dict(os.environ, LC_ALL="C.UTF-8")
        p = subprocess.run([os.fspath(a) for a in argv], capture_output=True, text=True, env=env, **options)
        self.status, self.out, self.err = p.returncode, p.stdout, p.stderr

    def error_lines(self):
        """Lines on stderr besides notes and warnings."""
        return [x for x in self.err.splitlines() if not x.startswith(("smelt: note: ", "smelt: warning: "))]

    def json(self):
        return json.loads(self.out)


def temporary():
    """A folder that goes with the process."""
    import atexit
    path = tempfile.mkdtemp(prefix="smelt-test-")
    atexit.register(shutil.rmtree, path, True)
    return path


def write_matrices(path, shapes):
    """A safetensors file of BF16 matrices, values of one magnitude with random low bits: made in a moment, not compressible."""
    header, position = {}, 0
    for name, (rows, columns) in shapes.items():
        size = rows * columns * 2
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for rows, columns in shapes.values():
            n = rows * columns
            data = bytearray(os.urandom(n * 2))
            signs = bytes(0x3C | (b & 0x80) for b in os.urandom(4096))
            data[1::2] = (signs * (n // len(signs) + 1))[:n]
            f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()
