#!/usr/bin/env python3
"""Records the type that llama-quantize gives to every tensor of models at their published depth: testdata/quant/preset_plans.json.

    preset_plans.py --smelt PROGRAM --shared DIR --work DIR --quantize LLAMA_QUANTIZE -o preset_plans.json [--models NAME,...]
    preset_plans.py --smelt PROGRAM --shared DIR --work DIR --quantize LLAMA_QUANTIZE --compare

Each model is one of the small folders in fixtures/models or testdata/models, as `smelt convert` names and shapes its tensors, stretched: as
many layers, heads and experts as a published model of the family has, and rows that are multiples of 256, so that the rules decide and
not the shape. llama-quantize reads no weights in a dry run: the files have none (they are sparse). With --compare the small models
themselves are planned by both programs, with and without importance.
"""
import json
import pathlib
import re
import string
import subprocess
import sys

import gguf

import peers

PRESETS = ("Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4_MOE Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S IQ3_XS IQ3_XXS "
           "Q2_K Q2_K_S Q2_0 IQ2_M IQ2_S IQ2_XS IQ2_XXS TQ2_0 TQ1_0 IQ1_M IQ1_S Q1_0").split()

# Depth, heads, key-value heads and experts, as a published model of the family has them; the depth without a draft head's block.
MODELS = {
    "qwen3_5": (64, 24, 4, 0), "qwen3_5_moe": (40, 16, 2, 256), "qwen3_next": (48, 16, 2, 512),
    "gemma4": (60, 32, 16, 0), "gemma4_moe": (30, 16, 8, 128), "gemma4_e": (42, 8, 2, 0),
    "ministral3": (40, 32, 8, 0), "mistral3": (40, 32, 8, 0), "mistral4": (36, 32, 1, 128),
    "qwen2_5_vl": (80, 64, 8, 0), "qwen3_vl": (36, 32, 8, 0), "qwen3_vl_moe": (48, 32, 4, 128),
    "glm4_moe": (46, 96, 8, 128), "glm4_moe_lite": (47, 20, 1, 64), "minimax_m2": (62, 48, 8, 256),
    "ernie4_5": (32, 16, 2, 0), "ernie4_5_moe": (54, 64, 8, 64),
    "granite": (40, 32, 8, 0), "granitemoe": (32, 24, 8, 40), "granitemoehybrid": (40, 12, 4, 64), "bamba": (32, 32, 8, 0),
    "lfm2": (32, 32, 8, 0), "lfm2_moe": (40, 32, 8, 64),
    "nemotron_h": (56, 40, 8, 0), "nemotron_h_moe": (52, 32, 2, 128), "nemotron_h_super": (88, 32, 2, 512),
    "falcon_h1": (72, 20, 4, 0), "falcon_mamba": (64, 0, 0, 0),
    "deepseek_v2": (27, 16, 1, 64), "deepseek_v3": (61, 128, 1, 256),
    "smollm3": (36, 16, 4, 0), "olmo3": (64, 40, 8, 0), "olmoe": (32, 16, 16, 8), "cohere": (40, 64, 64, 0), "cohere2": (32, 32, 8, 0),
    "seed_oss": (64, 80, 8, 0), "exaone4": (64, 40, 8, 0), "hunyuan_v1_dense": (32, 32, 8, 0), "stablelm": (32, 32, 32, 0),
    "phi": (32, 32, 32, 0), "apertus": (80, 64, 8, 0), "arcee": (36, 20, 4, 0), "nemotron": (32, 24, 8, 0),
}
# Tensors whose rows are shorter than 256 in published models.
NARROW = {"attn_k_b.weight": 128, "ssm_dt.weight": 160, "per_layer_token_embd.weight": 256 * 42}


def layer_of(name):
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else None


def plan_of(quantize, preset, path, imatrix=None):
    """{name: type} of a dry run, or what it says where it ends with an error."""
    argv = [quantize, "--dry-run", *(["--imatrix", imatrix] if imatrix else []), path, preset]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, errors="replace")
    text = done.stdout + done.stderr
    if done.returncode:
        return {"error": re.search(r"failed to quantize: (.*)|$", text)[1]}
    types = {}
    # "[   1/ 291]  output.weight - [ 256, 512, 1, 1], type =    f32, size =  1.00 MiB -> 0.20 MiB (q6_K)"; warnings may stand between.
    line = r"\[ *\d+/ *\d+\] +(\S+) +- \[[\d, ]+\], type = +(\w+), size =[^\[]*?MiB(?: -> *[\d.]+ MiB \((\w+)\))?"
    for name, stays, becomes in re.findall(line, text):
        types[name] = (becomes or stays).upper()
    return types


class Model:
    """Keys, and names, shapes and types of tensors."""

    def __init__(self, architecture, fields, tensors):
        self.architecture, self.fields, self.tensors = architecture, fields, tensors

    @staticmethod
    def read(path):
        reader = gguf.GGUFReader(path)
        fields = {f.name: (f.contents(), f.types) for f in reader.fields.values() if not f.name.startswith("GGUF.")}
        return Model(fields["general.architecture"][0], fields, [(t.name, [int(n) for n in t.shape], t.tensor_type) for t in reader.tensors])

    def key(self, name, default=None):
        return self.fields.get(f"{self.architecture}.{name}", (default,))[0]

    def set(self, name, value, kind=gguf.GGUFValueType.UINT32):
        name = f"{self.architecture}.{name}"
        self.fields[name] = (value, self.fields[name][1] if name in self.fields else [kind])

    def stretch(self, depth, heads, kv_heads, experts):
        blocks, draft = self.key("block_count"), self.key("nextn_predict_layers", 0)
        main, dense = blocks - draft, self.key("leading_dense_block_count", 0)
        # Where each block comes from: those at the front once, the others in turn, a draft head's block last.
        source = [i if i < main else dense + (i - dense) % (main - dense) for i in range(depth)] + list(range(main, blocks))
        for name, (value, types) in list(self.fields.items()):
            if isinstance(value, list) and len(value) == blocks and not name.startswith("tokenizer."):
                self.fields[name] = ([value[i] for i in source], types)
        self.set("block_count", depth + draft)
        if heads:
            size = self.key("embedding_length") // self.largest("attention.head_count")
            for key in ("attention.key_length", "attention.value_length"):
                if self.key(key) is None:
                    self.set(key, size)
            self.replace("attention.head_count", heads)
            self.replace("attention.head_count_kv", kv_heads)
        few = self.key("expert_count", 0)
        if experts:
            self.set("expert_count", experts)
        tensors = []
        for name, shape, kind in self.tensors:
            if len(shape) == 3 and shape[2] == few and "_exps" in name:
                shape = [*shape[:2], experts]
            if len(shape) > 1:
                narrow = next((n for part, n in NARROW.items() if name.endswith(part)), None)
                shape = [narrow or 256 * -(-shape[0] // 64), *shape[1:]]
            if (layer := layer_of(name)) is None:
                tensors.append((name, shape, kind))
                continue
            for i, origin in enumerate(source):
                if origin == layer:
                    tensors.append((name.replace(f"blk.{layer}.", f"blk.{i}.", 1), shape, kind))
        self.tensors = tensors
        return self

    def largest(self, key):
        value = self.key(key, 1)
        return max(value) if isinstance(value, list) else value

    def replace(self, key, number):
        """A number for all layers, or the numbers of those that have one."""
        value = self.key(key)
        if isinstance(value, list):
            self.set(key, [number if n else 0 for n in value])
        elif value is not None:
            self.set(key, number)

    def write(self, path):
        """Without weights: the file is as long as it has to be, and empty there."""
        writer = gguf.GGUFWriter(path, self.architecture)
        for name, (value, types) in self.fields.items():
            if name != "general.architecture" and value != []:  # which the writer refuses
                writer.add_key_value(name, value, types[0], types[1] if len(types) > 1 else None)
        for name, shape, kind in self.tensors:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            count = 1
            for n in shape:
                count *= n
            writer.add_tensor_info(name, list(reversed(shape)), gguf.np.dtype("float32"), count // block * size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        total = sum(-(-info.nbytes // 32) * 32 for infos in writer.tensors for info in infos.values())
        writer.close()
        with open(path, "r+b") as file:
            end = file.seek(0, 2)
            file.truncate(-(-end // 32) * 32 + total)


def kimi_delta(architecture):
    """A hybrid of Kimi delta attention and MLA. Its classes are not read from folders; llama-quantize has rules for them alone."""
    kinds, blocks = gguf.GGUFValueType, 33
    model = Model(architecture, {}, [])
    for key, value in {
            "block_count": blocks, "nextn_predict_layers": 1, "context_length": 4096, "embedding_length": 2048, "feed_forward_length": 4096,
            "vocab_size": 512, "attention.head_count": 32, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
            "attention.q_lora_rank": 512, "attention.kv_lora_rank": 512, "ssm.conv_kernel": 4, "kda.head_dim": 128, "expert_count": 64,
            "expert_used_count": 8, "expert_feed_forward_length": 512, "expert_shared_count": 1, "leading_dense_block_count": 1,
            "expert_gating_func": 2, "rope.dimension_count": 64, "attention.indexer.head_count": 8, "attention.indexer.key_length": 128,
            "attention.indexer.top_k": 512, "attention.indexer.kpool": 4, "hyper_connection.count": 4,
            "hyper_connection.sinkhorn_iterations": 8}.items():
        model.set(key, value)
    for key, value in {"attention.layer_norm_rms_epsilon": 1e-6, "kda.gate_lower_bound": -5.0, "hyper_connection.epsilon": 1e-6}.items():
        model.set(key, value, kinds.FLOAT32)
    model.set("kda.safe_gate", True, kinds.BOOL)
    model.fields[f"{architecture}.attention.head_count_kv"] = ([int(i % 4 == 3) for i in range(blocks)], [kinds.ARRAY, kinds.UINT32])
    f32 = gguf.GGMLQuantizationType.F32
    for name, shape in {"token_embd": [2048, 512], "output": [2048, 512], "output_norm": [2048]}.items():
        model.tensors.append((name + ".weight", shape, f32))
    delta = {"attn_q": [2048, 4096], "attn_k": [2048, 4096], "attn_v": [2048, 4096], "attn_output": [4096, 2048], "ssm_conv1d_q": [4, 1, 4096],
             "ssm_f_a": [2048, 256], "ssm_f_b": [256, 4096], "ssm_g_a": [2048, 256], "ssm_g_b": [256, 4096], "ssm_beta": [2048, 32]}
    latent = {"attn_q_a": [2048, 512], "attn_q_b": [512, 6144], "attn_kv_a_mqa": [2048, 576], "attn_k_b": [128, 512, 32],
              "attn_v_b": [512, 128, 32], "attn_output": [4096, 2048], "attn_gate": [2048, 32], "indexer.proj": [2048, 8],
              "indexer.attn_k": [2048, 128], "indexer.attn_q_b": [512, 1024], "indexer_compressor_gate": [2048, 128],
              "indexer_compressor_ape": [256, 4]}
    dense = {"ffn_gate": [2048, 4096], "ffn_up": [2048, 4096], "ffn_down": [4096, 2048]}
    sparse = {"ffn_gate_inp": [2048, 64], "ffn_gate_exps": [2048, 512, 64], "ffn_up_exps": [2048, 512, 64], "ffn_down_exps": [512, 2048, 64],
              "ffn_gate_shexp": [2048, 512], "ffn_up_shexp": [2048, 512], "ffn_down_shexp": [512, 2048]}
    for i in range(blocks):
        parts = {"attn_norm": [2048], "hc_attn_fn": [8192, 24], **(delta if i % 4 != 3 else latent), **(dense if i == 0 else sparse)}
        if i == blocks - 1:
            parts["nextn.eh_proj"] = [4096, 2048]
        model.tensors += [(f"blk.{i}.{name}.weight", shape, f32) for name, shape in parts.items()]
    return model


MADE = ("glm5-next", "bailingmoe3")


def runs(text):
    """AAAB -> A3B."""
    return re.sub(r"(.)\1+", lambda m: m[1] + str(len(m[0])), text)


def spans(numbers):
    """[0, 1, 2, 5] -> "0-2,5"."""
    out = []
    for n in numbers:
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def write_importance(path, tensors):
    """Ones for every column: the rules ask whether there is a file, not what it holds."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["any"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, shape, _ in tensors:
        if len(shape) > 1 and name.endswith(".weight"):
            for suffix, width in (("in_sum2", shape[0]), ("counts", 1)):
                writer.add_tensor(f"{name}.{suffix}", gguf.np.ones((shape[2] if len(shape) > 2 else 1, width), dtype=gguf.np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert(p, name):
    """The small model as a GGUF."""
    folder, path = p.fixture(f"models/{name}"), p.work / f"{name}.gguf"
    if not folder.exists():
        folder = pathlib.Path(__file__).parents[2] / "testdata/models" / name
    p.smelt("convert", folder, "--type", "f32", "--validate", "off", "--force", "--quiet", "-o", path)
    return path


def record(a, p, name, letters):
    model = kimi_delta(name) if name in MADE else Model.read(convert(p, name)).stretch(*MODELS[name])
    path = p.work / f"{name}-plan.gguf"
    model.write(path)
    kinds = {}  # (name of the tensor in its block, shape, type) -> blocks
    for tensor, shape, kind in model.tensors:
        layer = layer_of(tensor)
        kinds.setdefault((tensor if layer is None else tensor.split(".", 2)[2], tuple(shape), kind.name), []).append(layer)
    rows = [(n, list(shape), kind, "" if layers == [None] else spans(sorted(layers)), sorted(layers) if layers != [None] else [None])
            for (n, shape, kind), layers in kinds.items()]
    plans = {}
    for preset in PRESETS:
        for with_importance in (False, True):
            types = plan_of(a.quantize, preset, path, p.work / "any.imatrix.gguf" if with_importance else None)
            if "error" in types:
                plan = types
            else:
                assert len(types) == len(model.tensors), (name, preset, len(types), len(model.tensors))
                plan = " ".join(runs("".join(letters.setdefault(types[n if i is None else f"blk.{i}.{n}"], string.ascii_letters[len(letters)])
                                             for i in layers)) for n, _, _, _, layers in rows)
            if not with_importance:
                plans[preset] = plan
            elif plan != plans[preset]:
                plans[preset + " imatrix"] = plan
    path.unlink()
    keys = ("block_count", "expert_count", "attention.head_count", "attention.head_count_kv")
    return {"description": f"{name}, {model.key('block_count')} blocks", "architecture": model.architecture,
            "metadata": {f"{model.architecture}.{k}": model.key(k) for k in keys if model.key(k) is not None},
            "tensors": [[n, shape, kind, layers] for n, shape, kind, layers, _ in rows], "plans": plans}


def compare(a, p, checks, name):
    """The small model itself."""
    path, importance = convert(p, name), p.work / f"{name}.imatrix.gguf"
    write_importance(importance, Model.read(path).tensors)
    for preset, with_importance in ((preset, w) for preset in PRESETS for w in (False, True)):
        theirs = plan_of(a.quantize, preset, path, importance if with_importance else None)
        try:
            plan = p.smelt_json("convert", path, "--type", preset, "--dry-run", *(["--imatrix", importance] if with_importance else []))
        except peers.Failed as e:
            if with_importance or "importance" not in str(e):
                checks.check(False, f"{name} {preset}: {str(e).strip().splitlines()[-1]}")
            continue
        ours = {t["name"]: t["type"].upper() for t in plan["tensors"]}
        if "no tensor type fallback" in theirs.get("error", ""):  # ours has one
            checks.check(plan["fallbacks"], f"{name} {preset}: no stand-in")
            continue
        different = [(n, ours.get(n), t) for n, t in theirs.items() if ours.get(n) != t]
        checks.check(not different, f"{name} {preset}: (name, ours, theirs) different: {different[:4]}")


def main():
    parser = peers.parser(__doc__)
    parser.add_argument("--quantize", required=True, type=pathlib.Path, help="llama-quantize")
    parser.add_argument("--models", default=",".join([*MODELS, *MADE]))
    parser.add_argument("--compare", action="store_true", help="compare plans of the small models instead of recording")
    parser.add_argument("-o", dest="out", type=pathlib.Path)
    a = parser.parse_args()
    p, checks = peers.Peers(a), peers.Checks(verbose=False)
    names = a.models.split(",")
    if a.compare:
        for name in (n for n in names if n not in MADE):
            compare(a, p, checks, name)
        return checks.close()
    write_importance(p.work / "any.imatrix.gguf", [("blk.0.any.weight", [256, 1], None)])
    letters, models = {}, []
    for name in names:
        models.append(record(a, p, name, letters))
        print(name, flush=True)
    lines = ",\n  ".join(json.dumps(m) for m in models)
    types = json.dumps({letter: kind for kind, letter in letters.items()})
    a.out.write_text(f'{{"types": {types},\n "models": [\n  {lines}\n ]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
