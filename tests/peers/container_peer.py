#!/usr/bin/env python3
"""Files that gguf-py writes, read by us: splits, other alignments, every value type; our merged file read by gguf-py.

    container_peer.py --smelt PROGRAM --shared DIR --work DIR

Needs gguf and numpy.
"""
import json
import shutil
import sys

import gguf
import numpy as np

import peers

VALUES = {  # every value type of the format, at the ends of its range
    "x.u8": (255, gguf.GGUFValueType.UINT8), "x.i8": (-128, gguf.GGUFValueType.INT8),
    "x.u16": (65535, gguf.GGUFValueType.UINT16), "x.i16": (-32768, gguf.GGUFValueType.INT16),
    "x.u32": (2**32 - 1, gguf.GGUFValueType.UINT32), "x.i32": (-2**31, gguf.GGUFValueType.INT32),
    "x.u64": (2**64 - 1, gguf.GGUFValueType.UINT64), "x.i64": (-2**63, gguf.GGUFValueType.INT64),
    "x.f32": (0.25, gguf.GGUFValueType.FLOAT32), "x.f64": (0.1, gguf.GGUFValueType.FLOAT64),
    "x.true": (True, gguf.GGUFValueType.BOOL), "x.text": ("caf\u00e9 \u0001\"\\", gguf.GGUFValueType.STRING),
}
ARRAYS = {"x.numbers": ([1, -2, 3], gguf.GGUFValueType.INT32), "x.words": (["a", "", "\u2028"], gguf.GGUFValueType.STRING),
          "x.bools": ([True, False], gguf.GGUFValueType.BOOL)}


def write(folder, name, tensors, alignment=None, **split):
    """A GGUF (or its parts) as gguf-py writes it; returns the first file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    w = gguf.GGUFWriter(folder / f"{name}.gguf", "test", **split)
    if alignment:
        w.add_custom_alignment(alignment)
    for key, (value, kind) in VALUES.items():
        w.add_key_value(key, value, kind)
    for key, (value, kind) in ARRAYS.items():
        w.add_key_value(key, value, gguf.GGUFValueType.ARRAY, kind)
    for tensor, data in tensors.items():
        w.add_tensor(tensor, data)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return sorted(folder.glob("*.gguf"))[0]


def check_inspect(checks, p, label, path, tensors):
    """`inspect` lists the tensors and the keys."""
    seen = p.smelt_json("inspect", path)
    names = sorted(t["name"] for t in seen["tensors"])
    checks.check(names == sorted(tensors), f"{label}: {len(tensors)} tensors by name")
    text = json.dumps(seen["metadata"])
    wrong = [key for key in [*VALUES, *ARRAYS] if key not in text]
    checks.check(not wrong, f"{label}: {len(VALUES) + len(ARRAYS)} keys; missing: {wrong}")


def check_copy(checks, p, label, path, tensors):
    """`--type copy` gives one file with the same keys, values and bytes."""
    out = p.work / "merged.gguf"
    p.smelt("convert", path, "--type", "copy", "-o", out, "--validate", "off", "--force", "--quiet")
    reader = gguf.GGUFReader(out)
    ours = {t.name: np.array(t.data) for t in reader.tensors}
    checks.check(sorted(ours) == sorted(tensors) and all(np.array_equal(ours[n], tensors[n]) for n in tensors),
                 f"{label}: copied tensors are equal")
    wrong = []
    for key, (value, kind) in [*VALUES.items(), *ARRAYS.items()]:
        field = reader.fields.get(key)
        got = field.contents() if field else None
        if got is None or field.types[-1] != kind or list(np.atleast_1d(got)) != list(np.atleast_1d(value)):
            wrong.append((key, got))
    checks.check(not wrong, f"{label}: copied values are equal; different: {wrong}")
    checks.check(not any(k.startswith("split.") for k in reader.fields), f"{label}: no split keys are left")
    out.unlink()


def main():
    a = peers.parser(__doc__).parse_args()
    p, checks = peers.Peers(a), peers.Checks()
    rng = np.random.default_rng(1)
    tensors = {f"t{i}.weight": rng.standard_normal((3 + i, 5 + i)).astype(np.float32) for i in range(7)}
    tensors["bias"] = rng.standard_normal(33).astype(np.float16)
    cases = {"one file": {}, "alignment 64": {"alignment": 64}, "alignment 8": {"alignment": 8},
             "split by tensors": {"split_max_tensors": 3}, "split, first without tensors": {"split_max_tensors": 3, "small_first_shard": True}}
    for label, options in cases.items():
        try:
            path = write(p.work / "container", "m", tensors, **options)
            check_inspect(checks, p, label, path, tensors)
            check_copy(checks, p, label, path, tensors)
        except peers.Failed as e:
            checks.check(False, f"{label}: {e}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
