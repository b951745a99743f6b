#!/usr/bin/env python3
"""What llama.cpp's converter makes of a model folder at f32, written into it as expected_gguf.json.

    record_expected.py LLAMA_CPP_DIR FOLDER...

LLAMA_CPP_DIR: llama.cpp's source, with convert_hf_to_gguf.py. Not run by any test. Needs torch, transformers and what that script needs.
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

SHORT = 16  # elements of an array that are written out


def raw(values):
    """Elements as they lie in a file: strings with their length."""
    if isinstance(values[0], str):
        return b"".join(len(text := value.encode()).to_bytes(8, "little") + text for value in values)
    return np.asarray(values, np.float32 if isinstance(values[0], float) else np.int32).tobytes()


def entry(field):
    kind, values = field.types[0].name, field.contents()
    if kind != "ARRAY":
        return {"key": field.name, "type": kind, "value": values}
    kind = f"ARRAY[{field.types[-1].name}]"
    if len(values) <= SHORT:
        return {"key": field.name, "type": kind, "value": values}
    return {"key": field.name, "type": kind, "length": len(values), "sha256_raw": hashlib.sha256(raw(values)).hexdigest()}


def record(llama_cpp, folder):
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "f32.gguf"
        subprocess.run([sys.executable, llama_cpp / "convert_hf_to_gguf.py", folder, "--outtype", "f32", "--outfile", out], check=True)
        made = gguf.GGUFReader(out)
        keys = [entry(field) for field in made.fields.values() if not field.name.startswith("GGUF.")]
        tensors = [{"name": t.name, "shape": [int(n) for n in t.shape], "type": t.tensor_type.name,
                    "sha256": hashlib.sha256(t.data.tobytes()).hexdigest()} for t in made.tensors]
    rows = ["  " + json.dumps(one, ensure_ascii=False) for one in keys], ["  " + json.dumps(one) for one in tensors]
    software = "llama.cpp convert_hf_to_gguf.py --outtype f32, read back with gguf-py"
    (folder / "expected_gguf.json").write_text(
        "{\n" + f' "software": {json.dumps(software)},\n "kv": [\n' + ",\n".join(rows[0]) + '\n ],\n "tensors": [\n' +
        ",\n".join(rows[1]) + "\n ]\n}\n")


if __name__ == "__main__":
    for name in sys.argv[2:]:
        record(pathlib.Path(sys.argv[1]), pathlib.Path(name))
