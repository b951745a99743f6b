#!/usr/bin/env python3
"""Converting a PyTorch archive against converting the same weights from safetensors.

    torch_archive.py --smelt PROGRAM --model DIR [--type q4_k_m] [--rounds 3] [--work DIR]

Writes DIR's safetensors weights as pytorch_model.bin (zip, stored members, plain Python), converts both in turn
with the inputs cached, and prints the times and their ratio. WORK should be on tmpfs.
"""
import argparse
import glob
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
import zipfile

STORAGES = {"F64": ("DoubleStorage", 8), "F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2),
            "BF16": ("BFloat16Storage", 2)}


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value):
    return b"J" + struct.pack("<i", value) if value < 2**31 else b"\x8a\x08" + struct.pack("<q", value)


def name(module, attribute):
    return b"c%s\n%s\n" % (module.encode(), attribute.encode())


def numbers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(dtype, key, shape):
    elements = 1
    strides = []
    for extent in reversed(shape):
        strides.insert(0, elements)
        elements *= extent
    storage = b"(" + text("storage") + name("torch", STORAGES[dtype][0]) + text(key) + text("cpu") + integer(elements) + b"tQ"
    hooks = name("collections", "OrderedDict") + b")R"
    return (name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + integer(0) + numbers(shape) + numbers(strides) +
            b"\x89" + hooks + b"tR")


def read_safetensors(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {key: (path, 8 + length + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0],
                  entry["dtype"], entry["shape"]) for key, entry in header.items()}


def write_archive(model, out):
    """The weights of `model` as one archive, in the layout of torch.save."""
    entries = {}
    for path in sorted(glob.glob(os.path.join(model, "model*.safetensors"))):
        entries.update(read_safetensors(path))
    items = b"".join(text(key) + tensor(entry[3], str(i), entry[4]) for i, (key, entry) in enumerate(entries.items()))
    pickle = b"\x80\x02" + name("collections", "OrderedDict") + b")R(" + items + b"u."
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("pytorch_model/data.pkl", pickle)
        archive.writestr("pytorch_model/byteorder", "little")
        for i, (path, offset, size, _, _) in enumerate(entries.values()):
            info = zipfile.ZipInfo(f"pytorch_model/data/{i}")
            info.file_size = size
            with archive.open(info, "w") as member, open(path, "rb") as source:
                source.seek(offset)
                while size > 0:
                    chunk = source.read(min(size, 1 << 24))
                    member.write(chunk)
                    size -= len(chunk)
        archive.writestr("pytorch_model/version", "3\n")


def convert(smelt, source, out, quant):
    start = time.monotonic()
    subprocess.run([smelt, "convert", source, "-o", out, "--type", quant, "--validate", "off", "--force", "--quiet"], check=True)
    seconds = time.monotonic() - start
    with open(out, "rb") as file:
        digest = hash(file.read())
    os.remove(out)
    return seconds, digest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smelt", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--type", default="q4_k_m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default="/dev/shm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        # The same folder name: the GGUF's name comes from it, and the outputs are compared byte by byte.
        archive = os.path.join(work, os.path.basename(os.path.abspath(options.model)))
        os.mkdir(archive)
        for path in glob.glob(os.path.join(options.model, "*")):
            if ".safetensors" not in path:
                shutil.copy(path, archive)
        write_archive(options.model, os.path.join(archive, "pytorch_model.bin"))
        for path in glob.glob(os.path.join(options.model, "model*.safetensors")):
            with open(path, "rb") as file:
                while file.read(1 << 24):
                    pass
        best = {}
        digests = set()
        for _ in range(options.rounds):
            for kind, source in (("safetensors", options.model), ("archive", archive)):
                seconds, digest = convert(options.smelt, source, os.path.join(work, "out.gguf"), options.type)
                best[kind] = min(best.get(kind, seconds), seconds)
                digests.add(digest)
        print(f"safetensors {best['safetensors']:.2f} s, archive {best['archive']:.2f} s, "
              f"ratio {best['archive'] / best['safetensors']:.3f} (best of {options.rounds}), "
              f"outputs {'equal' if len(digests) == 1 else 'DIFFERENT'}")
        return len(digests) != 1


if __name__ == "__main__":
    raise SystemExit(main())
