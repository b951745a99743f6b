#!/usr/bin/env python3
"""Converting a PyTorch archive against converting the same weights from safetensors.

    torch_archive.py --smelt PROGRAM --model DIR [--form stored|deflated|legacy] [--type q4_k_m] [--rounds 3] [--work DIR]
    torch_archive.py --model DIR [--form ...] --write FOLDER

Writes DIR's safetensors weights as pytorch_model.bin in plain Python: a zip with stored or deflated members, or the
form of before PyTorch 1.6 (pickles, then the storages). Converts both in turn with the inputs cached, and prints the
times, the processor times and their ratios. WORK should be on tmpfs. With --write, only the archive is made: zeros
become holes, so that 20 GB of a sparse model take no disk.
"""
import argparse
import glob
import json
import os
import resource
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


def tensor(dtype, key, shape, view=b""):
    """A tensor over the whole of storage `key`; the old form's reference ends with the storage's `view`."""
    elements = 1
    strides = []
    for extent in reversed(shape):
        strides.insert(0, elements)
        elements *= extent
    storage = b"(" + text("storage") + name("torch", STORAGES[dtype][0]) + text(key) + text("cpu") + integer(elements) + view + b"tQ"
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


class Sparse:
    """A file that seeks over zeros in place of writing them."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        if len(data) >= 4096 and data.count(0) == len(data):
            self.file.seek(len(data), os.SEEK_CUR)
        else:
            self.file.write(data)
        return len(data)

    def __getattr__(self, attribute):
        return getattr(self.file, attribute)


def copy(entry, out):
    path, offset, size = entry[:3]
    with open(path, "rb") as source:
        source.seek(offset)
        while size > 0:
            chunk = source.read(min(size, 1 << 24))
            out.write(chunk)
            size -= len(chunk)


def state_dict(entries, view=b""):
    items = b"".join(text(key) + tensor(entry[3], str(i), entry[4], view)
                     for i, (key, entry) in enumerate(entries.items()))
    return b"\x80\x02" + name("collections", "OrderedDict") + b")R(" + items + b"u."


def write_zip(entries, out, method):
    with zipfile.ZipFile(out, "w", method, allowZip64=True, compresslevel=1) as archive:
        archive.writestr("pytorch_model/data.pkl", state_dict(entries))
        archive.writestr("pytorch_model/byteorder", "little")
        for i, entry in enumerate(entries.values()):
            info = zipfile.ZipInfo(f"pytorch_model/data/{i}")
            info.compress_type = method
            info.file_size = entry[2]
            with archive.open(info, "w") as member:
                copy(entry, member)
        archive.writestr("pytorch_model/version", "3\n")


def write_legacy(entries, out):
    magic = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    sizes = b"".join(text(key) + integer(4) for key in ("short", "int", "long"))
    system = text("protocol_version") + integer(1001) + text("little_endian") + b"\x88" + text("type_sizes") + b"}(" + sizes + b"u"
    keys = b"".join(text(str(i)) for i in range(len(entries)))
    out.write(b"\x80\x02\x8a\x0a" + magic + b"." + b"\x80\x02" + integer(1001) + b"." + b"\x80\x02}(" + system + b"u." +
              state_dict(entries, b"N") + b"\x80\x02](" + keys + b"e.")
    for entry in entries.values():
        out.write(struct.pack("<q", entry[2] // STORAGES[entry[3]][1]))
        copy(entry, out)


def write_archive(model, folder, form):
    """The folder of `model` with its weights as one archive, in the layout of torch.save."""
    os.makedirs(folder, exist_ok=True)
    for path in glob.glob(os.path.join(model, "*")):
        if ".safetensors" not in path:
            shutil.copy(path, folder)
    entries = {}
    for path in sorted(glob.glob(os.path.join(model, "model*.safetensors"))):
        entries.update(read_safetensors(path))
    with open(os.path.join(folder, "pytorch_model.bin"), "wb") as file:
        out = Sparse(file)
        if form == "legacy":
            write_legacy(entries, out)
        else:
            write_zip(entries, out, zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED)
        file.truncate(file.tell())


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def convert(smelt, source, out, quant):
    start, used = time.monotonic(), processor_seconds()
    subprocess.run([smelt, "convert", source, "-o", out, "--type", quant, "--validate", "off", "--force", "--quiet"], check=True)
    seconds, used = time.monotonic() - start, processor_seconds() - used
    with open(out, "rb") as file:
        digest = hash(file.read())
    os.remove(out)
    return (seconds, used), digest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smelt")
    parser.add_argument("--model", required=True)
    parser.add_argument("--form", choices=("stored", "deflated", "legacy"), default="stored")
    parser.add_argument("--write", help="make the archive in this folder and stop")
    parser.add_argument("--type", default="q4_k_m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default="/dev/shm")
    options = parser.parse_args()
    if options.write:
        write_archive(options.model, options.write, options.form)
        return 0
    if not options.smelt:
        parser.error("--smelt is needed to measure")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        # The same folder name: the GGUF's name comes from it, and the outputs are compared byte by byte.
        archive = os.path.join(work, os.path.basename(os.path.abspath(options.model)))
        write_archive(options.model, archive, options.form)
        for path in glob.glob(os.path.join(options.model, "model*.safetensors")):
            with open(path, "rb") as file:
                while file.read(1 << 24):
                    pass
        best = {}
        digests = set()
        for _ in range(options.rounds):
            for kind, source in (("safetensors", options.model), ("archive", archive)):
                measured, digest = convert(options.smelt, source, os.path.join(work, "out.gguf"), options.type)
                best[kind] = tuple(map(min, best.get(kind, measured), measured))
                digests.add(digest)
        for i, what in enumerate(("seconds", "processor seconds")):
            print(f"{options.form}: {what}: safetensors {best['safetensors'][i]:.2f}, archive {best['archive'][i]:.2f}, "
                  f"ratio {best['archive'][i] / best['safetensors'][i]:.3f} (best of {options.rounds})")
        print(f"outputs {'equal' if len(digests) == 1 else 'DIFFERENT'}")
        return len(digests) != 1


if __name__ == "__main__":
    raise SystemExit(main())
