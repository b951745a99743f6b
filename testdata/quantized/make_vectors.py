#!/usr/bin/env python3
"""Small matrices as the quantizers' own libraries store them, and the values that these libraries give back.

    pip install torch safetensors compressed-tensors==0.20.1 hqq==0.2.8.post1 bitsandbytes==0.50.2 mlx[cpu]==0.32.4
    make_vectors.py OUT [PART]...      # writes OUT/NAME.safetensors, one a case, and OUT/cases.json; of all parts, or of those named

A case's file holds the stored tensors of one weight "layer", and "expected": F32, what they mean. cases.json says for each what its
config.json would say (quantization_config, or quantization of MLX). Layouts whose library needs a GPU are written and read by the few
lines at the end, from their documentation (AutoAWQ's gemv, ModelOpt's NVFP4, DeepSeek's and Mistral's names for FP8), or from the packing
code of libraries that need one to be imported (auto-round 0.16.1: qlinear_torch.py, bit_packing.py; AMD Quark 0.13: utils/pack.py).
"""
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file

OUT = sys.argv[1]
CASES = {}
torch.manual_seed(20261129)


def case(name, config, tensors, expected, weight="layer.weight"):
    tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
    tensors["expected"] = expected.to(torch.float32).contiguous().clone()
    save_file(tensors, os.path.join(OUT, name + ".safetensors"))
    CASES[name] = {"config": config, "weight": weight}


def weights(rows=24, columns=128):
    w = torch.randn(rows, columns) * 0.1
    w[0, 3] = 0.9
    w[5] *= 4
    return w


# ---------------------------------------------------------------- compressed-tensors
def compressed():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    for name, bits, group, symmetric, act_order in (("ct-int4-asym", 4, 32, False, False), ("ct-int3", 3, 64, True, False), ("ct-int8-channel", 8, None, True, False),
                                                    ("ct-int5-asym-actorder", 5, 32, False, True), ("ct-int2", 2, 16, True, False)):
        w = weights()
        rows, columns = w.shape
        size = group or columns
        groups = columns // size
        order = torch.randperm(columns) if act_order else torch.arange(columns)
        g_idx = torch.empty(columns, dtype=torch.int32)
        g_idx[order] = torch.arange(columns, dtype=torch.int32) // size
        low = torch.stack([w[:, g_idx == g].amin(1) for g in range(groups)], 1)
        high = torch.stack([w[:, g_idx == g].amax(1) for g in range(groups)], 1)
        args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group" if group else "channel", group_size=group)
        scale, zero = calculate_qparams(low, high, args)
        scale = scale.to(torch.bfloat16).float()
        sorted_by_group, back = torch.argsort(g_idx, stable=True), torch.empty(columns, dtype=torch.long)
        back[sorted_by_group] = torch.arange(columns)
        q = quantize(w[:, sorted_by_group], scale, zero, args, dtype=torch.int8)
        expected = dequantize(q, scale, zero, args=args, dtype=torch.float32)[:, back]
        q = q[:, back]
        tensors = {"layer.weight_packed": pack_to_int32(q, bits), "layer.weight_scale": scale.to(torch.bfloat16), "layer.weight_shape": torch.tensor([rows, columns])}
        if not symmetric:
            tensors["layer.weight_zero_point"] = pack_to_int32(zero.to(torch.int8), bits, packed_dim=0)
        if act_order:
            tensors["layer.weight_g_idx"] = g_idx
        scheme = {"targets": ["Linear"], "weights": {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group" if group else "channel", "group_size": group}}
        case(name, {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": scheme}}, tensors, expected)

    w = weights()
    args = QuantizationArgs(num_bits=8, symmetric=False, strategy="channel")
    scale, zero = calculate_qparams(w.amin(1, keepdim=True), w.amax(1, keepdim=True), args)
    q = quantize(w, scale, zero, args, dtype=torch.int8)
    case("ct-int-naive", {"quant_method": "compressed-tensors", "format": "int-quantized"},
         {"layer.weight": q, "layer.weight_scale": scale, "layer.weight_zero_point": zero.to(torch.int8)}, dequantize(q, scale, zero, args=args, dtype=torch.float32))
    args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="channel")
    scale, zero = calculate_qparams(w.amin(1, keepdim=True), w.amax(1, keepdim=True), args)
    q = quantize(w, scale, zero, args, dtype=torch.float8_e4m3fn)
    case("ct-float-channel", {"quant_method": "compressed-tensors", "format": "float-quantized"}, {"layer.weight": q, "layer.weight_scale": scale},
         dequantize(q, scale, zero, args=args, dtype=torch.float32))

    from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8, unpack_fp4_from_uint8
    w = weights()
    rows, columns = w.shape
    global_scale = torch.tensor([448.0 * 6 / w.abs().max().item()])
    scale = (w.view(rows, -1, 16).abs().amax(2) / 6 * global_scale).to(torch.float8_e4m3fn)
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    ratio = w / (scale.float() / global_scale).repeat_interleave(16, 1)
    packed = pack_fp4_to_uint8(values[(ratio[..., None] - values).abs().argmin(-1)])
    expected = unpack_fp4_from_uint8(packed, rows, columns, dtype=torch.float32) * (scale.float() / global_scale).repeat_interleave(16, 1)
    case("ct-nvfp4", {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
         {"layer.weight_packed": packed, "layer.weight_scale": scale, "layer.weight_global_scale": global_scale, "layer.input_global_scale": torch.tensor([3.0])}, expected)
    case("modelopt-nvfp4", {"quant_method": "modelopt", "quant_algo": "NVFP4"},
         {"layer.weight": packed, "layer.weight_scale": scale, "layer.weight_scale_2": torch.tensor(0.0123), "layer.input_scale": torch.tensor(0.5)},
         unpack_fp4_from_uint8(packed, rows, columns, dtype=torch.float32) * (scale.float() * torch.tensor(0.0123)).repeat_interleave(16, 1))


# ---------------------------------------------------------------- HQQ
def hqq():
    from hqq.core.quantize import HQQLinear, BaseQuantizeConfig, Quantizer
    for bits, axis, group in ((4, 1, 64), (4, 0, 64), (8, 1, 32), (3, 1, 64), (3, 0, 32), (2, 1, 16), (1, 0, 32)):
        linear = torch.nn.Linear(128, 32, bias=False)
        with torch.no_grad():
            linear.weight.copy_(weights(32))
        layer = HQQLinear(linear, BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis), compute_dtype=torch.float32, device="cpu", del_orig=False)
        state = {k: v for k, v in layer.state_dict().items() if v is not None}
        expected = layer.dequantize()
        tensors = {"layer." + k: (v.detach() if isinstance(v, torch.Tensor) else torch.tensor(v)) for k, v in state.items()}
        case(f"hqq-{bits}-axis{axis}", {"quant_method": "hqq"}, tensors, expected.detach())


# ---------------------------------------------------------------- bitsandbytes
def bitsandbytes():
    import bitsandbytes.functional as F
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            w = weights(24, 192) if nested else weights()
            q, state = F.quantize_4bit(w, blocksize=64, quant_type=kind, compress_statistics=nested)
            tensors = {"layer.weight": q}
            for k, v in state.as_dict(packed=True).items():
                tensors["layer.weight." + k] = v
            absmax = state.absmax
            if nested:
                absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
            flat = q.view(-1).to(torch.int64)
            codes = torch.stack([flat >> 4, flat & 15], 1).view(-1)
            expected = (state.code[codes] * absmax.float().repeat_interleave(64)[: w.numel()]).view(w.shape)
            close = F.dequantize_4bit(q, state).float()
            assert torch.allclose(expected, close, rtol=1e-6, atol=1e-7), (expected - close).abs().max()
            case(f"bnb-{kind}{'-nested' if nested else ''}", {"quant_method": "bitsandbytes", "load_in_4bit": True}, tensors, expected)


# ---------------------------------------------------------------- MLX
def mlx():
    import mlx.core as mx
    for bits, group in ((2, 32), (3, 64), (4, 64), (5, 32), (6, 128), (8, 64)):
        w = weights(24, 256)
        q, scales, biases = mx.quantize(mx.array(w.numpy()), group_size=group, bits=bits)
        expected = mx.dequantize(q, scales, biases, group_size=group, bits=bits)
        case(f"mlx-{bits}", {"group_size": group, "bits": bits},
             {"layer.weight": torch.from_numpy(np.array(q).view(np.uint32)), "layer.scales": torch.from_numpy(np.array(scales)), "layer.biases": torch.from_numpy(np.array(biases))},
             torch.from_numpy(np.array(expected)))
    for mode, bits, group in (("mxfp4", 4, 32), ("nvfp4", 4, 16), ("mxfp8", 8, 32)):
        w = weights(24, 128)
        q, scales = mx.quantize(mx.array(w.numpy()), group_size=group, bits=bits, mode=mode)
        expected = mx.dequantize(q, scales, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
        case(f"mlx-{mode}", {"group_size": 64, "bits": 8, "mode": "affine", "layer": {"group_size": group, "bits": bits, "mode": mode}},
             {"layer.weight": torch.from_numpy(np.array(q).view(np.uint32)), "layer.scales": torch.from_numpy(np.array(scales))}, torch.from_numpy(np.array(expected)))


# ---------------------------------------------------------------- by their documentation
def plain():
    # AutoAWQ's gemv: qweight [out, in / 8], eight codes in order; scales and zeros padded.
    rows, columns, group = 16, 256, 64
    codes, zeros = torch.randint(0, 16, (rows, columns)), torch.randint(0, 16, (rows, columns // group))
    scales = torch.zeros(rows, 16, dtype=torch.float16)
    scales[:, : columns // group] = torch.rand(rows, columns // group).half() * 0.1
    shifts = torch.arange(8) * 4
    pack = lambda x: (x.view(rows, -1, 8) << shifts).sum(2).to(torch.int64).numpy().astype(np.uint32).view(np.int32)
    padded = torch.zeros(rows, 16, dtype=torch.int64)
    padded[:, : columns // group] = zeros
    expected = (codes - zeros.repeat_interleave(group, 1)).float() * scales[:, : columns // group].float().repeat_interleave(group, 1)
    case("awq-gemv", {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemv", "zero_point": True},
         {"layer.qweight": torch.from_numpy(pack(codes)), "layer.qzeros": torch.from_numpy(pack(padded)), "layer.scales": scales}, expected)
    # GPTQ's second format stores zero points as they are; 2 and 8 bits.
    for bits in (2, 8):
        rows, columns, group = 32, 128, 32
        codes, zeros = torch.randint(0, 1 << bits, (columns, rows)), torch.randint(0, 1 << bits, (columns // group, rows))
        scales = torch.rand(columns // group, rows).half() * 0.1
        per = 32 // bits
        shifts = torch.arange(per) * bits
        down = (codes.view(-1, per, rows).transpose(1, 2) << shifts).sum(2)
        along = (zeros.view(columns // group, -1, per) << shifts).sum(2)
        word = lambda x: torch.from_numpy(x.numpy().astype(np.uint32).view(np.int32))
        order = torch.randperm(columns)
        g_idx = (torch.arange(columns) // group)[order].to(torch.int32)
        expected = ((codes - zeros[g_idx.long()]).float() * scales[g_idx.long()].float()).T
        case(f"gptq-v2-{bits}", {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": True, "checkpoint_format": "gptq_v2"},
             {"layer.qweight": word(down), "layer.qzeros": word(along), "layer.scales": scales, "layer.g_idx": g_idx}, expected)
    w = weights(160, 192)
    q = w.to(torch.float8_e5m2)
    case("fp8-e5m2-tensor", {"quant_method": "fp8"}, {"layer.weight": q, "layer.weight_scale": torch.tensor([0.37])}, q.float() * torch.tensor(0.37))
    q, scale = (w * 20).to(torch.float8_e4m3fn), torch.rand(2, 2) * 0.1
    blocks = scale.repeat_interleave(128, 0)[:160].repeat_interleave(128, 1)[:, :192]
    case("fp8-deepseek", {"quant_method": "fp8", "weight_block_size": [128, 128]}, {"layer.weight": q, "layer.scale": scale}, q.float() * blocks)
    case("fp8-mistral", {}, {"layer.weight": q, "layer.qscale_weight": torch.tensor(0.02), "layer.qscale_act": torch.tensor(2.0)}, q.float() * torch.tensor(0.02))
    fixed = torch.rand(160, 1)
    case("fbgemm-fp8", {"quant_method": "fbgemm_fp8"}, {"layer.weight": q, "layer.weight_scale": fixed, "layer.input_scale_ub": torch.tensor(1200.0)}, q.float() * fixed)
    experts, scale = (torch.randn(3, 130, 64) * 10).to(torch.float8_e4m3fn), torch.rand(3, 2, 1)
    case("fp8-fused-experts", {"quant_method": "fp8", "weight_block_size": [128, 128]}, {"layer.gate_up_proj": experts, "layer.gate_up_proj_scale_inv": scale},
         experts.float() * scale.repeat_interleave(128, 1)[:, :130], weight="layer.gate_up_proj")
    case("fp8-cast", {}, {"layer.weight": q}, q.float())


def words(x):
    return torch.from_numpy(x.numpy().astype(np.uint32).view(np.int32))


def stream(x, bits):
    """Integers of `bits` bits along the last axis, one behind the other from the lowest bit on, as words of 32 bits."""
    flat = ((x[..., None] >> torch.arange(bits)) & 1).flatten(-2)
    return words((flat.view(*flat.shape[:-1], -1, 32) << torch.arange(32)).sum(-1))


AWQ_PLACES = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])  # which of eight values lies in each nibble of a word


def nibbles(x, reorder):
    """Eight values of 4 bits along the last axis a word; AWQ's order or the plain one."""
    x = (x & 15).view(*x.shape[:-1], -1, 8)
    return words(((x[..., AWQ_PLACES] if reorder else x) << (torch.arange(8) * 4)).sum(-1))


def auto_round():
    """qweight [inputs bits / 32, outputs], qzeros [groups, outputs bits / 32], scales [groups, outputs]; no g_idx."""
    rows, columns, group = 32, 128, 32
    generator = torch.Generator().manual_seed(20261130)
    for name, bits, packing, less, extra in (("auto-round-4", 4, "auto_round:exllamav2", 0, {}), ("auto-round-gptq-4", 4, "auto_round:auto_gptq", 1, {}),
                                             ("auto-round-gptqmodel-3", 3, "auto_round:gptqmodel", 0, {}), ("auto-round-5", 5, "auto_round", 0, {}),
                                             ("auto-round-extra-8", 8, "auto_round:auto_gptq", 1, {"layer": {"bits": 8, "group_size": 64}}),
                                             ("auto-round-regex-2", 2, "auto_round:auto_gptq", 1, {"layer.*down_proj": {"bits": 8}, ".*": {"bits": 2}})):
        size = extra.get("layer", {}).get("group_size", group)
        codes = torch.randint(0, 1 << bits, (rows, columns), generator=generator)
        zeros = torch.randint(less, 1 << bits, (columns // size, rows), generator=generator)
        scales = torch.rand(columns // size, rows, generator=generator).half() * 0.1
        expected = (codes - zeros.T.repeat_interleave(size, 1)).float() * scales.T.float().repeat_interleave(size, 1)
        config = {"quant_method": "auto-round", "bits": 4 if extra else bits, "group_size": group, "sym": False, "packing_format": packing}
        if extra:
            config["extra_config"] = extra
        case(name, config, {"layer.qweight": stream(codes, bits).T, "layer.qzeros": stream(zeros - less, bits), "layer.scales": scales}, expected)
    codes, zeros = torch.randint(0, 16, (columns, rows), generator=generator), torch.randint(0, 16, (columns // group, rows), generator=generator)
    scales = torch.rand(columns // group, rows, generator=generator).half() * 0.1
    case("auto-round-awq", {"quant_method": "auto-round", "bits": 4, "group_size": group, "sym": False, "packing_format": "auto_round:auto_awq"},
         {"layer.qweight": nibbles(codes, True), "layer.qzeros": nibbles(zeros, True), "layer.scales": scales},
         ((codes - zeros.repeat_interleave(group, 0)).float() * scales.float().repeat_interleave(group, 0)).T)
    w = (torch.randn(24, 128, generator=generator) * 20).to(torch.float8_e4m3fn)  # MXFP8: exponents for 32 values
    exponents = torch.randint(115, 125, (24, 4), generator=generator).to(torch.uint8)
    case("auto-round-mxfp8", {"quant_method": "auto-round", "bits": 8, "group_size": 32, "data_type": "mx_fp", "packing_format": "auto_round:llm_compressor"},
         {"layer.weight": w, "layer.weight_scale": exponents}, w.float() * torch.exp2(exponents.float() - 127).repeat_interleave(32, 1))


def quark():
    generator = torch.Generator().manual_seed(20261201)

    def config(dtype, qscheme, method="reorder", layers=None, **more):
        settings = {"dtype": dtype, "qscheme": qscheme, **more}
        if layers:  # of this layer alone
            return {"quant_method": "quark", "export": {"pack_method": method}, "global_quant_config": {"weight": {"dtype": "int8", "qscheme": "per_tensor"}},
                    "layer_quant_config": {layers: {"weight": settings}}}
        return {"quant_method": "quark", "export": {"pack_method": method}, "global_quant_config": {"weight": settings}, "layer_quant_config": {}}

    rows, columns, group = 24, 128, 32
    for name, low, method, layers in (("quark-uint4-group", 0, "reorder", None), ("quark-int4-group", -8, "reorder", "*lay*"), ("quark-int4-group-order", -8, "order", None)):
        codes = torch.randint(low, low + 16, (rows, columns), generator=generator)
        zeros = torch.randint(low, low + 16, (rows, columns // group), generator=generator)
        scales = torch.rand(rows, columns // group, generator=generator).to(torch.bfloat16) * 0.1
        expected = (codes - zeros.repeat_interleave(group, 1)).float() * scales.float().repeat_interleave(group, 1)
        case(name, config("int4" if low else "uint4", "per_group", method, layers, group_size=group, ch_axis=1),
             {"layer.weight": nibbles(codes.T.contiguous(), method == "reorder"), "layer.weight_scale": scales.T,
              "layer.weight_zero_point": nibbles(zeros.T.contiguous(), method == "reorder")}, expected)
    codes, zeros = torch.randint(-8, 8, (rows, columns), generator=generator), torch.randint(-8, 8, (rows,), generator=generator)
    scales = torch.rand(rows, generator=generator) * 0.1
    case("quark-int4-channel", config("int4", "per_channel", ch_axis=0),
         {"layer.weight": nibbles(codes, True), "layer.weight_scale": scales, "layer.weight_zero_point": nibbles(zeros, True)},
         (codes - zeros[:, None]).float() * scales[:, None])
    codes, zeros = torch.randint(-128, 128, (rows, columns), generator=generator), torch.randint(-9, 9, (rows,), generator=generator)
    case("quark-int8-channel", config("int8", "per_channel", ch_axis=0),
         {"layer.weight": codes.to(torch.int8), "layer.weight_scale": scales, "layer.weight_zero_point": zeros.to(torch.int8)},
         (codes - zeros[:, None]).float() * scales[:, None])
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    codes, exponents = torch.randint(0, 16, (rows, columns), generator=generator), torch.randint(115, 125, (rows, columns // 32), generator=generator)
    case("quark-mxfp4", config("fp4", "per_group", group_size=32, scale_format="e8m0"),
         {"layer.weight": (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8), "layer.weight_scale": exponents.to(torch.uint8)},
         values[codes] * torch.exp2(exponents.float() - 127).repeat_interleave(32, 1))


def gptqmodel():
    """The first format as GPTQModel (7.0: utils/model.py, utils/model_dequant.py) writes it: one less in each code, of 2, 4 and 8 bits by taking
    it from whole words, so that a zero point of 0 borrows from the next, of 3 bits modulo 8."""
    generator = torch.Generator().manual_seed(20261202)
    rows, columns, group = 64, 128, 32
    for bits in (2, 3, 4, 8):
        codes = torch.randint(0, 1 << bits, (rows, columns), generator=generator)
        zeros = torch.randint(0, 1 << bits, (columns // group, rows), generator=generator)
        zeros[:, ::5] = 0
        scales = torch.rand(columns // group, rows, generator=generator).half() * 0.1
        expected = (codes - zeros.T.repeat_interleave(group, 1)).float() * scales.T.float().repeat_interleave(group, 1)
        if bits == 3:
            stored = stream((zeros - 1) & 7, 3)
        else:
            stored = stream(zeros, bits) - torch.tensor(int("1".zfill(bits) * (32 // bits), 2), dtype=torch.int32)
        case(f"gptqmodel-{bits}", {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False, "sym": False, "format": "gptq",
                                   "meta": {"quantizer": ["gptqmodel:7.0.0"]}},
             {"layer.qweight": stream(codes, bits).T, "layer.qzeros": stored, "layer.scales": scales,
              "layer.g_idx": (torch.arange(columns) // group).to(torch.int32)}, expected)


def groups_and_blocks():
    """compressed-tensors' 8 bits where a group or a block is another part of the matrix than 128 columns; 4 bits with one scale for all."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams
    generator = torch.Generator().manual_seed(20261203)
    for name, kind, strategy, more in (("ct-float-block-96", "float", "block", {"block_structure": [96, 96]}), ("ct-float-group-96", "float", "group", {"group_size": 96}),
                                       ("ct-int8-group-96", "int", "group", {"group_size": 96})):
        w = torch.randn(192, 192, generator=generator) * 0.1
        args = QuantizationArgs(num_bits=8, type=kind, symmetric=True, strategy=strategy, **more)
        parts = w.view(2, 96, 2, 96).transpose(1, 2).flatten(2) if strategy == "block" else w.view(192, 2, 96)
        scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), args)
        q = quantize(w, scale, zero, args, dtype=torch.float8_e4m3fn if kind == "float" else torch.int8)
        scheme = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": kind, "symmetric": True, "strategy": strategy, "group_size": None, "block_structure": None, **more}}
        case(name, {"quant_method": "compressed-tensors", "format": kind + "-quantized", "config_groups": {"group_0": scheme}},
             {"layer.weight": q, "layer.weight_scale": scale}, dequantize(q, scale, zero, args=args, dtype=torch.float32))
    w = torch.randn(24, 64, generator=generator) * 0.1 + 0.02
    args = QuantizationArgs(num_bits=4, type="int", symmetric=False, strategy="tensor")
    scale, zero = calculate_qparams(w.amin().view(1), w.amax().view(1), args)
    q = quantize(w, scale, zero, args, dtype=torch.int8)
    case("ct-int4-tensor", {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {
        "targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "tensor", "group_size": None}}}},
         {"layer.weight_packed": pack_to_int32(q, 4), "layer.weight_scale": scale, "layer.weight_zero_point": zero.to(torch.int8),
          "layer.weight_shape": torch.tensor(w.shape)}, dequantize(q, scale, zero, args=args, dtype=torch.float32))


PARTS = {part.__name__: part for part in (compressed, hqq, bitsandbytes, mlx, plain, auto_round, quark, gptqmodel, groups_and_blocks)}
os.makedirs(OUT, exist_ok=True)
listed = os.path.join(OUT, "cases.json")
if sys.argv[2:] and os.path.exists(listed):
    with open(listed) as f:
        CASES.update(json.load(f))
for part in sys.argv[2:] or PARTS:
    PARTS[part]()
with open(listed, "w") as f:
    json.dump(CASES, f, indent=1)
    f.write("\n")
print(len(CASES), "cases")
