#!/usr/bin/env python3
"""Archives as the installed PyTorch writes them, for testdata/torch and for versions that are not recorded there.

    torch_archives.py OUT              records OUT/torch-VERSION/CASE[.FORM].pt and what torch reads back from them
    SMELT_TORCH_ARCHIVES=OUT torch_test --gtest_filter='RealTorch*'    compares

OUT/expected/CASE.safetensors holds the tensors of a case, dense, as torch gives them back; the values are the same for
every version, and a version that gives others stops the script. OUT/refused.json says what the refusal of a case must
name. Needs torch and numpy, writes about 200 KB for a version.
"""
import argparse
import collections
import json
import os
import struct
import sys

import numpy
import torch

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
          "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "U64": "uint64", "U32": "uint32",
          "U16": "uint16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
          "C64": "complex64"}
NAMES = {getattr(torch, name): key for key, name in DTYPES.items() if hasattr(torch, name)}
FIRST = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "C64"]


def numbers(*shape, dtype=torch.float32, start=0.0):
    """Values that no two places share and that every element type holds."""
    count = 1
    for extent in shape:
        count *= extent
    return (torch.arange(count, dtype=torch.float32) * 0.25 + start).reshape(shape).to(dtype)


def bits(name):
    """A tensor of a type that arithmetic does not know, from its bytes."""
    dtype = getattr(torch, DTYPES[name])
    return torch.arange(16, 32, dtype=torch.uint8).view(dtype)


# ---------------------------------------------------------------- cases: name -> object to save
def dtypes():
    return {name: numbers(3, 4, dtype=getattr(torch, DTYPES[name])) for name in FIRST}


def dtypes_8_bit():
    return {name: bits(name) for name in ("F8_E4M3", "F8_E5M2") if hasattr(torch, DTYPES[name])}


def dtypes_scale():
    return {name: bits(name) for name in ("F8_E8M0",) if hasattr(torch, DTYPES[name])}


def dtypes_unsigned():
    return {name: bits(name) for name in ("U16", "U32", "U64") if hasattr(torch, DTYPES[name])}


def views():
    base = numbers(6, 8)
    deep = numbers(2, 3, 4, dtype=torch.float16)
    return {"transposed": base.t(), "rows": base[2:5], "columns": base[:, 3:6], "steps": base[1::2, ::3], "row": base[4],
            "expanded": base[:, :1].expand(6, 5), "expanded_rows": base[3].expand(4, 8), "scalar": base[5, 7],
            "permuted": deep.permute(2, 0, 1), "overlapping": base.as_strided((4, 3), (2, 1), 5),
            "empty": torch.empty(0, 4), "empty_inside": torch.empty(3, 0, 2), "no_dimensions": torch.tensor(7.5),
            "diagonal": base.diagonal(), "integers": torch.arange(12).reshape(3, 4).t()[1:]}


def shared():
    """Tied weights, and parts of one buffer."""
    flat = numbers(100)
    tied = numbers(5, 4, start=3)
    return {"embed.weight": tied, "head.weight": tied, "head_t.weight": tied.t(), "q": flat[:36].view(6, 6),
            "k": flat[36:72].view(6, 6), "v": flat[64:].view(6, 6), "all": flat}


def module():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.LayerNorm(4)
            self.project = torch.nn.Linear(4, 3, bias=False)
            self.register_buffer("positions", torch.arange(5).unsqueeze(0))
            self.running = torch.nn.BatchNorm1d(3)

    block = Block()
    with torch.no_grad():
        block.project.weight.copy_(numbers(3, 4))
        block.norm.weight.copy_(numbers(4, start=1))
    return block


def training():
    """What training scripts write: everything beside the weights is data that we read past."""
    block = module()
    optimizer = torch.optim.AdamW(block.parameters(), lr=1e-3)
    for parameter in block.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.no_grad():  # AdamW moved them
        block.project.weight.copy_(numbers(3, 4))
        block.norm.weight.copy_(numbers(4, start=1))
        block.norm.bias.copy_(numbers(4, start=2))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    schedule = {key: value for key, value in scheduler.state_dict().items() if isinstance(value, (int, float, list))}
    return {"epoch": 3, "global_step": 10 ** 12, "big": 10 ** 30, "negative": -(2 ** 70), "loss": numpy.float64(0.125), "best": numpy.float32(0.5),
            "count": numpy.int64(-7), "flag": numpy.bool_(True), "state_dict": block.state_dict(),
            "optimizer": optimizer.state_dict(), "lr_scheduler": schedule, "rng_state": torch.get_rng_state(),
            "shape": torch.Size([3, 4]), "device": torch.device("cpu"), "dtype": torch.float16, "none": None,
            "layout": torch.strided, "complex": 1 + 2j, "text": "grüße\n\u4e2d\U0001f600", "bytes": b"\x00\xff", "array": bytearray(b"ab"),
            "set": {1, 2}, "frozen": frozenset(["a"]), "tuple": (1, 2, 3, 4, 5), "counter": collections.Counter("aab"),
            "default": collections.defaultdict(list, a=[1]), "float": float("inf"), "args": {"lr": 1e-3, "betas": (0.9, 0.95)}}


def parallel():
    return collections.OrderedDict(("module." + key, value) for key, value in module().state_dict().items())


def nested():
    return {"model": {"module": {"encoder": {"layers": {"0": {"weight": numbers(2, 3)}}, "bias": numbers(3)}}}, "step": 1}


def parameters():
    return {"weight": torch.nn.Parameter(numbers(3, 2)), "frozen": torch.nn.Parameter(numbers(2, start=9), requires_grad=False),
            "list": torch.nn.ParameterList([torch.nn.Parameter(numbers(2))]).state_dict()}


def with_gradients():
    leaf = numbers(3, 2).requires_grad_()
    named = numbers(2, 2)
    named.purpose = "an attribute of the tensor's own"
    return {"leaf": leaf, "named": named}


CASES = {f.__name__: f for f in (dtypes, dtypes_8_bit, dtypes_scale, dtypes_unsigned, views, shared, training, parallel, nested, parameters, with_gradients)}
CASES["module"] = lambda: module().state_dict()


def namespace():
    return {"state_dict": {"w": numbers(2)}, "args": argparse.Namespace(lr=0.1)}


def quantized():
    return {"w": torch.quantize_per_tensor(numbers(4), 0.25, 0, torch.qint8)}


REFUSED = {  # name: (object, what the refusal names)
    "namespace": (namespace, "argparse.Namespace"),
    "whole_module": (lambda: torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    "numpy_array": (lambda: {"w": numpy.zeros(3)}, "multiarray._reconstruct"),
    "complex128": (lambda: {"w": numbers(2, dtype=torch.complex128)}, "ComplexDoubleStorage"),
    "quantized": (quantized, "_rebuild_qtensor"),
    "sparse": (lambda: {"w": numbers(4).to_sparse()}, "_rebuild_sparse_tensor"),
    "meta": (lambda: {"w": torch.empty(2, device="meta")}, "_rebuild_meta_tensor_no_storage"),
    "bare_tensor": (lambda: numbers(3), "a state dict"),
    "list_of_tensors": (lambda: [numbers(3)], "a state dict"),
    "no_tensors": (lambda: {"epoch": 1}, "no tensors"),
}


# ---------------------------------------------------------------- recording
def weights(value):
    """Where a case keeps its tensors, by the names that a reader gives them."""
    for wrapper in ("state_dict", "model", "module"):
        if isinstance(value.get(wrapper), dict):
            return weights(value[wrapper])
    found = {}
    for key, item in value.items():
        if isinstance(item, dict):
            found.update({f"{key}.{inner}": tensor for inner, tensor in weights(item).items()})
        elif isinstance(item, torch.Tensor):
            found[key] = item
    if all(key.startswith("module.") for key in found):
        found = {key[len("module."):]: tensor for key, tensor in found.items()}
    return found


def raw(tensor):
    dense = tensor.detach().clone(memory_format=torch.contiguous_format)
    return bytes(dense.reshape(-1).view(torch.uint8).tolist()) if dense.numel() else b""


def safetensors(tensors):
    header, data = {}, b""
    for name in sorted(tensors):
        body = raw(tensors[name])
        header[name] = {"dtype": NAMES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def save(value, path, **options):
    torch.save(value, path, **options)
    try:
        return torch.load(path, weights_only=False)
    except TypeError:  # before the argument existed
        return torch.load(path)


def record(case, value, folder, expected, form, **options):
    back = save(value, os.path.join(folder, f"{case}{form}.pt"), **options)
    blob = safetensors(weights(back))
    path = os.path.join(expected, case + ".safetensors")
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() != blob:
                sys.exit(f"torch {torch.__version__} gives other values for {case}{form}")
        return
    with open(path, "wb") as file:
        file.write(blob)


def record_forms(folder, expected):
    for case, make in CASES.items():
        value = make()
        if not value:
            continue  # element types that this version lacks
        try:
            record(case, value, folder, expected, "")
        except KeyError:  # torch 2.3 has unsigned types, but cannot save them
            if case != "dtypes_unsigned":
                raise
            os.remove(os.path.join(folder, case + ".pt"))
        if not case.startswith("dtypes_"):  # torch itself cannot load these
            record(case, value, folder, expected, ".legacy", _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        for case in ("training", "parameters"):
            record(case, CASES[case](), folder, expected, f".protocol{protocol}", pickle_protocol=protocol)
    if hasattr(torch.serialization, "set_crc32_options"):
        torch.serialization.set_crc32_options(False)
        record("shared", shared(), folder, expected, ".unchecked")
        torch.serialization.set_crc32_options(True)
    config = getattr(getattr(torch.utils, "serialization", None), "config", None)
    if config is not None and hasattr(config.save, "storage_alignment"):
        with config.patch({"save.storage_alignment": 4096}):
            record("shared", shared(), folder, expected, ".aligned")


def record_shards(folder):
    """The two halves of `module` under an index."""
    tensors = module().state_dict()
    names = list(tensors)
    parts = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    os.makedirs(os.path.join(folder, "sharded"), exist_ok=True)
    for file, keys in parts.items():
        torch.save({key: tensors[key] for key in keys}, os.path.join(folder, "sharded", file))
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": {key: file for file, keys in parts.items() for key in keys}}
    with open(os.path.join(folder, "sharded", "pytorch_model.bin.index.json"), "w") as file:
        json.dump(index, file, indent=1)


def record_refused(folder, out):
    mentions = {"script": "TorchScript"}
    for case, (make, names) in REFUSED.items():
        mentions[case] = names
        torch.save(make(), os.path.join(folder, case + ".pt"))
    for case in ("namespace", "whole_module"):
        torch.save(REFUSED[case][0](), os.path.join(folder, case + ".legacy.pt"), _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), os.path.join(folder, "script.pt"))
    with open(os.path.join(out, "refused.json"), "w") as file:
        json.dump(mentions, file, indent=1, sort_keys=True)
        file.write("\n")


def main():
    torch.manual_seed(1)
    out = sys.argv[1]
    folder = os.path.join(out, "torch-" + torch.__version__.split("+")[0])
    expected = os.path.join(out, "expected")
    os.makedirs(folder, exist_ok=True)
    os.makedirs(expected, exist_ok=True)
    record_forms(folder, expected)
    record_shards(folder)
    record_refused(folder, out)


if __name__ == "__main__":
    main()
