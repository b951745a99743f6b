#!/usr/bin/env python3
"""Files that gguf-py writes, read by us: splits, other alignments, every value type, an architecture that nobody knows; our merged and
quantized files read by gguf-py. A model of ours that gguf-py splits: evaluated as it lies, merged with its validation.

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


def check_quantize(checks, p, tensors):
    """A GGUF of an unknown architecture to q8_0: keys kept, values within half a step of 1/127 of their block's largest."""
    out = p.work / "quantized.gguf"
    path = write(p.work / "container", "m", tensors)
    p.smelt("quantize", path, "--type", "q8_0", "-o", out, "--validate", "off", "--force", "--quiet")
    reader = gguf.GGUFReader(out)
    bad = []
    for t in reader.tensors:
        got = gguf.quants.dequantize(t.data, t.tensor_type).reshape(tensors[t.name].shape)
        want = tensors[t.name].astype(np.float32)
        if np.abs(got - want).max() > np.abs(want).max() / 250:
            bad.append((t.name, t.tensor_type.name))
    kinds = sorted({t.tensor_type.name for t in reader.tensors})
    checks.check(not bad and "Q8_0" in kinds and len(reader.tensors) == len(tensors), f"unknown architecture to q8_0 ({kinds}); wrong: {bad}")
    lost = [key for key in [*VALUES, *ARRAYS] if key not in reader.fields]
    checks.check(not lost, f"unknown architecture to q8_0: its keys are kept; lost: {lost}")
    out.unlink()


def split_with_gguf_py(source, folder):
    """The parts of a model's file, as gguf-py splits it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reader = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(folder / "model.gguf", "", split_max_tensors=7)
    w.kv_data[0].clear()
    for f in reader.fields.values():
        if not f.name.startswith("GGUF."):
            w.add_key_value(f.name, f.contents(), f.types[0], f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    for t in reader.tensors:
        w.add_tensor(t.name, t.data, raw_dtype=None if t.data.dtype == np.float32 else t.tensor_type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return sorted(folder.glob("*.gguf"))


def check_model_split(checks, p):
    """A model in parts is the model; `--type copy` puts it together again, with its validation and an edited key."""
    whole, merged = p.work / "whole.gguf", p.work / "merged.gguf"
    p.smelt("convert", p.fixture("models/llama"), "--type", "q4_k_m", "-o", whole, "--force", "--quiet")
    parts = split_with_gguf_py(whole, p.work / "split")

    def perplexity(path):
        return p.smelt_json("eval", path, "--text", p.fixture("models/eval.txt"), "--context", "128", "--chunks", "2")["perplexity"]

    checks.check(len(parts) > 2 and perplexity(parts[0]) == perplexity(whole), f"a model in {len(parts)} parts has the perplexity of the whole")
    r = p.smelt_json("convert", parts[0], "--type", "copy", "-o", merged, "--metadata", "general.name=Merged", "--force", "--quiet")
    checks.check(r["validation"]["passed"] and r["validation"]["reference"]["kl_mean"] == 0, "merged: passes its validation, KL 0")
    a, b = gguf.GGUFReader(whole), gguf.GGUFReader(merged)
    same = [t.name for t in a.tensors] == [t.name for t in b.tensors] and all(
        x.tensor_type == y.tensor_type and np.array_equal(x.data, y.data) for x, y in zip(a.tensors, b.tensors))
    checks.check(same, f"merged: {len(a.tensors)} tensors in their order, types and bytes as before")
    different = [k for k in {*a.fields, *b.fields} if not k.startswith("GGUF.") and
                 (k not in a.fields or k not in b.fields or a.fields[k].contents() != b.fields[k].contents())]
    checks.check(different == ["general.name"], f"merged: keys as before, but the edited one: {different}")
    said = p.smelt("convert", parts[1], "--type", "copy", "-o", merged, "--force", "--json", accept=(2,))
    checks.check(parts[0].name in said, "the second part alone is refused, the first one named")
    for path in (whole, merged, *parts):
        path.unlink()


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
    tensors = {f"t{i}.weight": rng.standard_normal((3 + i, 64 + 32 * i)).astype(np.float32) for i in range(4)}
    for case in (lambda: check_quantize(checks, p, tensors), lambda: check_model_split(checks, p)):
        try:
            case()
        except peers.Failed as e:
            checks.check(False, str(e))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
