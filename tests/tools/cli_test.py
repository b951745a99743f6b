#!/usr/bin/env python3
"""What the program says and how it ends: messages, exit statuses, JSON.

cli_test.py PROGRAM MODELS_DIR      (MODELS_DIR has llama/, llama-spm/ and eval.txt)
"""
import glob
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import unittest

import programs

PROGRAM, MODELS = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))
LLAMA = os.path.join(MODELS, "llama")
TEXT = os.path.join(MODELS, "eval.txt")
EVAL_KEYS = ["model", "device", "context", "chunks", "tokens_scored", "bytes_scored", "perplexity", "perplexity_error", "mean_nll", "bits_per_byte",
             "seconds", "tokens_per_second", "texts", "reference", "passed", "gates"]
REFERENCE_KEYS = ["model", "perplexity", "kl_mean", "kl_median", "kl_p99", "kl_p999", "kl_max", "top1_agreement", "ln_ratio",
                  "ln_ratio_error"]


def smelt(*argv, **options):
    return programs.Program([PROGRAM, *argv], **options)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = programs.temporary()

    def path(self, name):
        return os.path.join(self.dir, name)

    def refused(self, p, status, *words):
        self.assertEqual(p.status, status, p.err)
        lines = p.error_lines()
        self.assertEqual(len(lines), 1, p.err)
        self.assertTrue(lines[0].startswith("smelt: ") and len(lines[0]) < 400, lines)
        for word in words:
            self.assertIn(word, lines[0])

    def converted(self, name, kind="q8_0", *options):
        p = smelt("convert", LLAMA, "-o", self.path(name), "--type", kind, "--validate", "off", *options)
        self.assertEqual(p.status, 0, p.err)
        return self.path(name)


class Usage(Case):
    def test_help_teaches(self):
        for argv in ([], ["convert"], ["quantize"], ["eval"], ["run"], ["import"], ["imatrix"], ["inspect"], ["diff"], ["verify"], ["tokenize"], ["families"], ["devices"], ["template"], ["store"], ["set"]):
            p = smelt(*argv, "--help")
            self.assertEqual(p.status, 0)
            self.assertIn("Examples:", p.out)
        types = re.search(r"Types: ([^.]*)\.", smelt("convert", "--help").out)[1].split()
        self.assertEqual(len(types), 38)
        for kind in types:  # presets of few bits are refused without importance
            p = smelt("convert", LLAMA, "--type", kind, "--dry-run")
            self.assertTrue(p.status == 0 or "importance" in p.err, p.err)
        self.refused(smelt("convert", LLAMA, "--type", "q9_k", "--dry-run"), 2, "q9_k", "--help")
        self.assertRegex(smelt("--version").out, r"^smelt \d+\.\d+\.\d+\n$")

    def test_devices_are_listed_and_chosen(self):
        p = smelt("devices")
        self.assertTrue(p.out.startswith("cpu "), p.out)
        listed = smelt("devices", "--json").json()
        self.assertEqual(listed["devices"][0]["id"], "cpu")
        self.assertTrue(len(listed["devices"]) > 1 or listed["problem"], listed)
        self.assertFalse(any(d["checked"] for d in listed["devices"]))
        for d in smelt("devices", "--check", "--json").json()["devices"][1:]:
            self.assertEqual((d["checked"], d["problem"]), (True, ""))
            self.assertIn("(passes its self-check)", smelt("devices", "--check").out)
        cards = [d for d in listed["devices"][1:] if not d["software"]]
        for options in (("--device", "cpu"), ("--device", "auto"), ()):  # software devices are not chosen by themselves
            p = smelt("run", LLAMA, "Once", "-n", "2", *options, "--json")
            self.assertEqual(p.json()["device"], "cpu" if "cpu" in options or not cards else cards[0]["id"])
            if not cards:
                self.assertEqual(p.err, "")
        self.refused(smelt("run", LLAMA, "Once", "--device", "cuda"), 2, "cuda", "vulkan:NUMBER")
        self.refused(smelt("run", LLAMA, "Once", "--device-memory", "much"), 2, "much", "8G")
        self.refused(smelt("run", LLAMA, "Once", "--device", "vulkan:no such card"), 1, "--device cpu" if listed["problem"] else "no such card")
        if len(listed["devices"]) > 1:
            here = smelt("run", LLAMA, "Once upon", "-n", "8", "--temp", "0", "--activations", "f32", "--json").json()
            there = smelt("run", LLAMA, "Once upon", "-n", "8", "--temp", "0", "--device", "vulkan", "--json").json()
            self.assertEqual(here["ids"], there["ids"])
            self.assertEqual(there["device"][:7], "vulkan:")
            for command in ("run", "eval", "bench"):  # what is named is what computes
                self.assertIn("auto (default", smelt(command, "--help").out)
            for command in ("convert", "quantize", "import", "imatrix"):
                self.assertIn("cpu (default)", smelt(command, "--help").out)
            unchecked = smelt("run", LLAMA, "Once upon", "-n", "8", "--temp", "0", "--device", "vulkan", "--no-device-check", "--json").json()
            self.assertEqual(unchecked["ids"], there["ids"])

    def test_a_free_choice_loads_nothing_of_vulkan_where_there_is_no_card(self):
        def loaded(*argv):
            return "libvulkan" in programs.Program(["env", "LD_DEBUG=files", PROGRAM, *argv]).err
        if any(glob.glob("/dev/" + card) for card in ("dri/renderD*", "nvidia*", "nvgpu*", "dxg", "kgsl*", "mali*")):
            self.skipTest("there may be a card")
        if len(smelt("devices", "--json").json()["devices"]) > 1:
            self.assertTrue(loaded("devices"))
        for options in (("--device", "auto"), ()):
            self.assertFalse(loaded("run", LLAMA, "Once", "-n", "1", *options))

    def test_families_are_listed(self):
        p = smelt("families")
        self.assertEqual(p.status, 0)
        self.assertRegex(p.out, r"(?m)^MixtralForCausalLM +llama +recorded")
        listed = smelt("families", "--json").json()["families"]
        jamba = next(f for f in listed if f["model_type"] == "jamba")
        self.assertEqual((jamba["classes"], jamba["architecture"]), (["JambaForCausalLM", "JambaModel"], "jamba"))
        self.assertIn("recorded", jamba["checked"])
        self.assertEqual(len(p.out.splitlines()), sum(len(f["classes"]) for f in listed))

    def test_wrong_usage_is_one_line_and_status_2(self):
        self.refused(smelt("convert"), 2, "convert --help")
        self.refused(smelt("convert", LLAMA, "--tpye", "q8_0"), 2, "--tpye")
        self.refused(smelt("fly", LLAMA), 2, "fly", "smelt --help")
        self.refused(smelt("convert", LLAMA, "--type", "q9"), 2, "q9", "q4_k_m")
        self.refused(smelt("convert", LLAMA, "--metadata", "novalue"), 2, "KEY=VALUE")
        self.refused(smelt("convert", LLAMA, "--max-ppl-increase", "2"), 2, "2%")
        self.refused(smelt("eval", LLAMA), 2, "--text")
        self.refused(smelt("eval", LLAMA, "--text", TEXT, "--max-kl", "1"), 2, "--reference")
        self.refused(smelt("run", LLAMA, input=""), 2, "PROMPT")

    def test_the_program_alone_prints_its_help(self):
        p, asked = smelt(), smelt("--help")
        self.assertEqual((p.status, p.err, p.out), (0, "", asked.out))
        self.assertEqual(smelt("help").out, asked.out)
        self.assertEqual(smelt("help", "run").out, smelt("run", "--help").out)
        self.refused(smelt("help", "rnu"), 2, "rnu", "nearest is run;")

    def test_mistaken_words_are_named_with_the_nearest_known_ones(self):
        for typed, meant in (("rnu", "run"), ("conver", "convert"), ("quantise", "quantize"), ("tokenise", "tokenize")):
            self.refused(smelt(typed, LLAMA), 2, f'"{typed}"', f"nearest is {meant};")
        self.refused(smelt("xylophone"), 2, '"xylophone"', "smelt --help")
        self.assertNotIn("nearest", smelt("xylophone").err)
        self.refused(smelt("convert", LLAMA, "--tpye", "q8_0", "--outptu"), 2, '"--tpye"', "nearest is --type;")
        self.refused(smelt("eval", LLAMA, "--contxt=64"), 2, '"--contxt=64"', "nearest is --context;")
        for argv in (["--text"], ["--text="], ["--text", ""]):
            self.refused(smelt("eval", LLAMA, *argv), 2, argv[0] + " needs a value")
        self.refused(smelt("--jsn", "run"), 2, '"--jsn"')
        self.refused(smelt("convert", LLAMA, "-o", "a.gguf", "-o", "b.gguf"), 2, "--output is given more than once")
        self.refused(smelt("run", "https://example.org/m.gguf", "hi"), 1, "is an address", "download")
        self.refused(smelt("inspect", LLAMA, "bb", "--json", "cc", "dd"), 2, "bb cc dd", "PATH")

    def test_standard_output_takes_no_gguf(self):
        for argv in (["convert", LLAMA, "-o", "-"], ["quantize", LLAMA, "-o", "-"], ["convert", LLAMA, "--vocab-only", "-o", "-"],
                     ["convert", LLAMA, "--plan", "-"]):
            self.refused(smelt(*argv, cwd=self.dir), 2, argv[-2])
            self.assertEqual(os.listdir(self.dir), [])

    def test_failures_as_json_too(self):
        p = smelt("convert", self.path("absent"), "--json")
        self.refused(p, 1, "absent")
        self.assertEqual(p.json()["error"]["code"], "not_found")
        self.assertIn("absent", p.json()["error"]["message"])
        p = smelt("convert", LLAMA, "--tpye", "--json")
        self.assertEqual((p.status, p.json()["error"]["code"]), (2, "usage"))

    def test_columns_stay_aligned_whatever_the_script(self):
        source = self.path("in.safetensors")
        programs.write_matrices(source, {"\u6a21\u578b.weight": (2, 32), "e\u0301.weight": (2, 32), "\U0001f600.weight": (2, 32), "a.weight": (2, 32)})
        begins = [x[:x.index(" BF16 ")] for x in smelt("inspect", source).out.splitlines() if " BF16 " in x and ".weight" in x]
        widths = {sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in x) for x in begins}
        self.assertEqual((len(begins), len(widths)), (4, 1), begins)

    def test_names_are_escaped(self):
        p = smelt("inspect", self.path("a\x1b[31m\nb"))
        self.refused(p, 1)
        self.assertNotIn("\x1b", p.err)


class Bench(Case):
    def test_rows(self):
        p = smelt("bench", LLAMA, "-p", "8", "-n", "4", "--repeat", "2", "--context", "0,16", "--threads", "2,1", "--json")
        self.assertEqual(p.status, 0, p.err)
        rows = p.json()["rows"]
        self.assertEqual([(r["threads"], r["context"]) for r in rows], [(2, 0), (2, 16), (1, 0), (1, 16)])
        self.assertEqual(list(rows[0]), ["threads", "context", "prompt_tokens_per_second", "tokens_per_second", "bytes_per_token",
                                         "operations_per_token", "commands_per_token", "read_bytes_per_second", "bandwidth_share"])
        self.assertIsNone(rows[0]["commands_per_token"])
        self.assertEqual(p.json()["activations"], "q8")
        self.assertIn("repacked_bytes", p.json())
        self.assertGreater(rows[1]["bytes_per_token"], rows[0]["bytes_per_token"])
        table = smelt("bench", LLAMA, "-p", "8", "-n", "0", "--repeat", "1").out.splitlines()
        self.assertEqual(len(table), 4)
        self.assertIn("BF16", table[0])
        self.assertIn("q8", table[1])

    def test_lists(self):
        for value in ("", ",", "1,", "1,,2", "0", "1 2", "x"):
            self.refused(smelt("bench", LLAMA, "--threads", value), 2, "--threads")


class Convert(Case):
    def test_json(self):
        p = smelt("convert", LLAMA, "-o", self.path("x.gguf"), "--type", "q4_k_m", "--json")
        self.assertEqual(p.status, 0, p.err)
        r = p.json()
        self.assertEqual(list(r), ["output", "parts", "type", "bytes", "bits_per_weight", "tensors", "fallbacks", "warnings", "seconds", "peak_anonymous_bytes",
                                   "validation"])
        self.assertEqual(r["bytes"], os.path.getsize(self.path("x.gguf")))
        self.assertEqual(list(r["validation"]), EVAL_KEYS)
        self.assertEqual(list(r["validation"]["reference"]), REFERENCE_KEYS)
        self.assertTrue(r["validation"]["passed"])
        self.assertLess(r["validation"]["reference"]["kl_mean"], 0.1)
        self.assertGreater(r["validation"]["reference"]["kl_mean"], 0)
        self.assertEqual(os.listdir(self.dir), ["x.gguf"])

    def test_the_table_and_quiet(self):
        p = smelt("convert", LLAMA, "-o", self.path("x.gguf"), "--type", "q8_0")
        for word in ("reading", "writing", "checking", "done", "bits/weight", "perplexity", "KL mean", "same top-1", "peak"):
            self.assertIn(word, p.out)
        p = smelt("convert", LLAMA, "-o", self.path("y.gguf"), "--type", "q8_0", "--quiet")
        self.assertEqual((p.status, p.out), (0, ""))

    def test_a_device_has_nothing_to_do_without_a_check(self):
        p = smelt("convert", LLAMA, "-o", self.path("x.gguf"), "--type", "q8_0", "--validate", "off", "--device", "vulkan")
        self.assertEqual(p.status, 0, p.err)
        self.assertIn("warning: --device has no effect without a check", p.err)

    def test_the_same_bytes_for_any_number_of_threads(self):
        one = programs.read(self.converted("1.gguf", "q4_k_m", "--threads", "1"))
        self.assertEqual(one, programs.read(self.converted("4.gguf", "q4_k_m", "--threads", "4")))

    def test_quantize_of_the_f32_gguf_gives_the_bytes_of_the_direct_way(self):
        f32 = self.converted("f32.gguf", "f32")
        for kind in ("q8_0", "q4_k_m", "f16"):
            p = smelt("quantize", f32, "--type", kind, "-o", self.path("via.gguf"), "--validate", "off", "--force")
            self.assertEqual(p.status, 0, p.err)
            self.assertEqual(programs.read(self.path("via.gguf")), programs.read(self.converted(kind + ".gguf", kind)), kind)

    def test_an_existing_output(self):
        out = self.path("x.gguf")
        with open(out, "w") as f:
            f.write("precious")
        self.refused(smelt("convert", LLAMA, "-o", out), 1, "--force")
        self.assertEqual(programs.read(out), b"precious")
        self.assertEqual(smelt("convert", LLAMA, "-o", out, "--force", "--validate", "off").status, 0)
        self.assertGreater(os.path.getsize(out), 1000)

    def test_input_is_output(self):
        out = self.converted("x.gguf", "f16")
        before = programs.read(out)
        self.refused(smelt("quantize", out, "--type", "q8_0", "-o", out, "--force"), 2, "input")
        os.symlink("x.gguf", self.path("link.gguf"))
        self.refused(smelt("quantize", out, "--type", "q8_0", "-o", self.path("link.gguf"), "--force"), 2, "input")
        self.assertEqual(programs.read(out), before)

    def test_odd_outputs(self):
        self.refused(smelt("convert", LLAMA, "-o", "/dev/null", "--force"), 2, "/dev/null")
        self.refused(smelt("convert", LLAMA, "-o", self.path("no/such/folder.gguf")), 1, "folder")
        p = smelt("convert", LLAMA, "-o", self.dir, "--validate", "off")
        self.assertEqual(p.status, 0, p.err)
        self.assertEqual([x[-5:] for x in os.listdir(self.dir)], [".gguf"])

    def test_requantizing_needs_a_word(self):
        q8 = self.converted("q8.gguf")
        self.refused(smelt("quantize", q8, "--type", "q4_0", "-o", self.path("q4.gguf")), 1, "--allow-requantize")
        self.assertEqual(smelt("quantize", q8, "--type", "q4_0", "-o", self.path("q4.gguf"), "--allow-requantize").status, 0)

    def test_parts(self):
        whole = self.converted("whole.gguf")
        p = smelt("convert", LLAMA, "-o", self.path("p.gguf"), "--type", "q8_0", "--split-tensors", "8", "--json")
        self.assertEqual(p.status, 0, p.err)
        parts = p.json()["parts"]
        names = [self.path(f"p-{i + 1:05}-of-{len(parts):05}.gguf") for i in range(len(parts))]
        self.assertEqual([x["path"] for x in parts], names)
        self.assertEqual([x["bytes"] for x in parts], [os.path.getsize(x) for x in names])
        self.assertTrue(all(x["tensors"] == 8 for x in parts[:-1]))
        self.assertEqual(p.json()["output"], names[0])
        self.assertFalse(os.path.exists(self.path("p.gguf")))
        # Merged again, and split in another way: the same tensors, the same file in the end.
        size = os.path.getsize(whole) * 2 // 5
        p = smelt("convert", names[0], "--type", "copy", "--split-size", str(size), "-o", self.path("q.gguf"), "--json")
        self.assertEqual(p.status, 0, p.err)
        self.assertGreater(len(p.json()["parts"]), 2)
        self.assertTrue(all(x["bytes"] <= size or x["tensors"] == 1 for x in p.json()["parts"]))
        for first in (names[0], p.json()["output"]):
            merged = self.path("merged.gguf")
            self.assertEqual(smelt("convert", first, "--type", "copy", "-o", merged, "--force").status, 0)
            self.assertEqual(programs.read(merged), programs.read(whole))
        self.assertEqual(smelt("eval", names[0], "--text", TEXT, "--chunks", "1", "--context", "64", "--json").json()["perplexity"],
                         smelt("eval", whole, "--text", TEXT, "--chunks", "1", "--context", "64", "--json").json()["perplexity"])

    def test_parts_that_are_there_and_odd_sizes(self):
        argv = ["convert", LLAMA, "-o", self.path("p.gguf"), "--type", "f16", "--split-size", "30K", "--validate", "off"]
        plan = smelt(*argv, "--dry-run", "--json").json()
        second = plan["parts"][1]["path"]
        self.assertEqual(sorted({t["part"] for t in plan["tensors"]}), list(range(len(plan["parts"]))))
        with open(second, "w") as f:
            f.write("precious")
        self.refused(smelt(*argv), 1, "already exists", "--force")
        self.assertEqual(programs.read(second), b"precious")
        self.assertEqual(os.listdir(self.dir), [os.path.basename(second)])
        written = smelt(*argv, "--force")
        self.assertEqual(written.status, 0)
        large = [part for part in plan["parts"] if part["bytes"] > 30000]
        self.assertTrue(0 < len(large) < len(plan["parts"]))
        self.assertIn(f"{len(large)} of {len(plan['parts'])} parts take more than the 30000 bytes of --split-size", written.err)
        self.assertEqual(len(os.listdir(self.dir)), len(plan["parts"]))
        self.refused(smelt("convert", plan["parts"][0]["path"], "--type", "copy", "-o", self.path("p.gguf"), "--force", *argv[6:8]), 2,
                     "is the input itself")
        for size in ("0", "4X", "G", "-1", "1.5", "1.5.5G", "-1.5G", "0.0000000001G", "99999999999999G", ""):
            self.refused(smelt(*argv[:6], "--split-size", size), 2, "--split-size")
        self.refused(smelt(*argv, "--split-tensors", "3"), 2, "--split-tensors")
        self.refused(smelt(*argv[:6], "--split-tensors", "0"), 2, "--split-tensors")
        fits = smelt(*argv[:6], "--validate", "off", "--split-size", "1G", "--json")
        self.assertEqual([x["path"] for x in fits.json()["parts"]], [self.path("p.gguf")])
        self.assertIn("not split", fits.err)

    def test_parts_that_miss_the_gate(self):
        argv = ["convert", LLAMA, "-o", self.path("p.gguf"), "--type", "q2_k", "--split-tensors", "9", "--max-kl", "0"]
        self.refused(smelt(*argv), 1, "was not written")
        self.assertEqual(os.listdir(self.dir), [])
        self.refused(smelt(*argv, "--keep-rejected"), 1, "it is kept as")
        first = sorted(os.listdir(self.dir))[0]
        self.assertRegex(first, r"^p\.gguf\.rejected-00001-of-0000\d\.gguf$")
        self.assertEqual(smelt("inspect", self.path(first)).status, 0)

    def test_copy_and_metadata(self):
        q8 = self.converted("q8.gguf")
        p = smelt("convert", q8, "--type", "copy", "-o", self.path("c.gguf"), "--metadata", "general.name=Other", "--metadata",
                  "my.key=u8:7", "--metadata", "general.description=string:u8:7", "--validate", "off")
        self.assertEqual(p.status, 0, p.err)
        keys = {k["key"]: k for k in smelt("inspect", self.path("c.gguf"), "--json").json()["metadata"]}
        self.assertEqual(keys["general.name"]["value"], "Other")
        self.assertEqual(keys["general.description"]["value"], "u8:7")
        self.assertEqual((keys["my.key"]["type"], keys["my.key"]["value"]), ("u8", 7))
        self.refused(smelt("convert", q8, "--type", "copy", "-o", self.path("d.gguf"), "--metadata", "llama.block_count=many"), 2,
                     "llama.block_count", "u32")

    def test_a_snapshot_of_a_hub_cache(self):
        top = self.path("models--Some-Org--Tiny-Model")
        commit = "0123456789abcdef0123456789abcdef01234567"
        snapshot = os.path.join(top, "snapshots", commit)
        os.makedirs(os.path.join(top, "blobs"))
        os.makedirs(snapshot)
        for i, name in enumerate(sorted(x for x in os.listdir(LLAMA) if os.path.isfile(os.path.join(LLAMA, x)))):
            shutil.copyfile(os.path.join(LLAMA, name), os.path.join(top, "blobs", str(i)))
            os.symlink(os.path.join("..", "..", "blobs", str(i)), os.path.join(snapshot, name))
        for source, options in ((snapshot, {}), (".", {"cwd": snapshot})):
            out = self.path("out.gguf")
            p = smelt("convert", source, "-o", out, "--type", "f16", "--validate", "off", "--force", **options)
            self.assertEqual(p.status, 0, p.err)
            keys = {k["key"]: k["value"] for k in smelt("inspect", out, "--json").json()["metadata"]}
            self.assertEqual((keys["general.name"], keys["general.organization"]), ("Tiny Model", "Some Org"))
            self.assertNotIn(commit, json.dumps(keys))
            tensors = [smelt("inspect", f, "--json").json()["tensors"] for f in (out, self.converted("direct.gguf", "f16", "--force"))]
            self.assertEqual(*([(t["name"], t["type"], t["shape"]) for t in ts] for ts in tensors))
        # Without -o the output is named after the model and lies where the program runs.
        p = smelt("convert", snapshot, "--type", "q8_0", "--validate", "off", cwd=self.dir)
        self.assertEqual(p.status, 0, p.err)
        self.assertEqual([f for f in os.listdir(self.dir) if f.startswith("Tiny-Model")][0][-10:], "-Q8_0.gguf", p.out)

    def test_dry_run_and_plan(self):
        plan_file, out = self.path("plan.json"), self.path("x.gguf")
        p = smelt("convert", LLAMA, "-o", out, "--type", "q4_k_m", "--dry-run", "--json", "--plan", plan_file)
        self.assertEqual(p.status, 0, p.err)
        plan = p.json()
        self.assertFalse(os.path.exists(out))
        self.assertTrue(all(t["why"] and t["type"] and t["bytes"] for t in plan["tensors"]))
        self.assertIn("token_embd.weight", smelt("convert", LLAMA, "-o", out, "--type", "q4_k_m", "--dry-run").out)
        self.assertEqual(smelt("convert", LLAMA, "-o", out, "--plan", plan_file, "--validate", "off").status, 0)
        self.assertEqual(os.path.getsize(out), plan["bytes"])
        self.assertEqual(programs.read(out), programs.read(self.converted("direct.gguf", "q4_k_m")))
        self.refused(smelt("convert", LLAMA, "-o", self.path("y.gguf"), "--plan", plan_file, "--type", "q8_0"), 2, "plan")
        self.refused(smelt("convert", os.path.join(MODELS, "llama-spm"), "-o", self.path("y.gguf"), "--plan", plan_file), 1, "plan")

    def test_a_plan_keeps_the_accepted_tokenizer(self):
        plan_file, out = self.path("plan.json"), self.path("x.gguf")
        argv = ("convert", LLAMA, "-o", out, "--validate", "off", "--force")
        self.refused(smelt(*argv, "--pre", "gpt-2"), 1, "--allow-tokenizer-mismatch")
        accepted = ("--pre", "gpt-2", "--allow-tokenizer-mismatch")
        self.assertEqual(smelt(*argv, *accepted).status, 0)
        direct = programs.read(out)
        self.assertEqual(smelt(*argv, *accepted, "--dry-run", "--plan", plan_file).status, 0)
        self.assertEqual(smelt(*argv, "--plan", plan_file).status, 0)
        self.assertEqual(programs.read(out), direct)

    def test_several_outputs(self):
        out = self.path("out")
        argv = ["convert", LLAMA, "-o", out + "/", "--type", "q4_0,q8_0,f16"]
        plans = smelt(*argv, "--dry-run", "--json").json()["outputs"]
        self.assertEqual([p["type"] for p in plans], ["Q4_0", "Q8_0", "F16"])
        self.assertFalse(os.path.exists(out))
        p = smelt(*argv)
        self.assertEqual(p.status, 0, p.err)
        self.assertEqual(sorted(os.listdir(out)), sorted(os.path.basename(x["output"]) for x in plans))
        for row in ("source", "q4_0", "q8_0", "f16"):
            self.assertEqual(len(re.findall(rf"^  {row} ", p.out, re.M)), 1, p.out)
        self.refused(smelt(*argv), 1, "exists")
        r = smelt(*argv, "--force", "--json").json()["outputs"]
        self.assertEqual([(x["type"], x["bytes"]) for x in r], [(x["type"], x["bytes"]) for x in plans])
        # Between the loss of the first and the second.
        limit = (r[0]["validation"]["reference"]["kl_mean"] + r[1]["validation"]["reference"]["kl_mean"]) / 2
        p = smelt(*argv, "--force", "--json", "--max-kl", str(limit))
        self.refused(p, 1, "Q4_0", "KL")
        self.assertEqual(p.json()["error"]["code"], "gate_missed")
        self.assertEqual([x.get("error", {}).get("code") for x in p.json()["outputs"]], ["gate_missed", None, None])
        self.assertFalse(p.json()["outputs"][0]["validation"]["passed"])
        shutil.rmtree(out)
        self.refused(smelt(*argv, "--max-kl", str(limit)), 1, "Q4_0", "KL")
        self.assertEqual(sorted(os.listdir(out)), sorted(os.path.basename(x["output"]) for x in plans[1:]))
        self.refused(smelt(*argv[:4], "--type", "q4_0,,f16"), 2, "type")
        self.refused(smelt("convert", LLAMA, "-o", self.path("x.gguf"), "--type", "q4_0,f16"), 2, "folder")

    def test_sizes_to_order(self):
        out, types = self.path("x.gguf"), self.path("types.txt")
        argv = ["convert", LLAMA, "-o", out, "--max-kl", "9", "--max-ppl-increase", "90%"]
        p = smelt(*argv, "--target-size", "0.9M", "--tensor-type-file", types, "--json")
        self.assertEqual(p.status, 0, p.err)
        self.assertLessEqual(os.path.getsize(out), 900_000)
        self.assertGreater(os.path.getsize(out), 870_000)
        self.assertIn("5 % more", p.err)
        first = programs.read(out)
        os.remove(out)
        self.assertEqual(smelt(*argv, "--target-size", "0.9M", "--tensor-type-file", types).status, 0)
        self.assertEqual(programs.read(out), first)
        self.refused(smelt(*argv, "--force", "--target-size", "0.5M", "--tensor-type-file", types), 2, "asked for")
        self.refused(smelt(*argv, "--force", "--target-bpw", "1"), 2, "smallest types")
        self.refused(smelt(*argv, "--force", "--target-bpw", "5", "--target-size", "1M"), 2, "--target-size")

    def test_a_missed_gate_leaves_nothing(self):
        out = self.path("x.gguf")
        self.refused(smelt("convert", LLAMA, "-o", out, "--type", "q2_k", "--max-kl", "0.000001"), 1, "KL", "--type")
        self.assertEqual(os.listdir(self.dir), [])
        p = smelt("convert", LLAMA, "-o", out, "--type", "q2_k", "--max-kl", "0.000001", "--keep-rejected", "--json")
        self.assertEqual((p.status, p.json()["error"]["code"]), (1, "gate_missed"))
        missed = [g["name"] for g in p.json()["validation"]["gates"] if not g["passed"]]
        self.assertEqual(missed, ["max_kl"])
        self.assertEqual(os.listdir(self.dir), ["x.gguf.rejected"])

    def test_a_model_that_is_not_finite_passes_no_limit(self):
        bad = self.converted("bad.gguf", "f32")
        tensors = smelt("convert", bad, "--type", "copy", "--dry-run", "--json").json()["tensors"]
        offset = next(t["offset"] for t in tensors if t["name"] == "blk.1.ffn_down.weight")
        with open(bad, "r+b") as f:
            f.seek(offset)
            f.write(b"\xff\xff\xff\x7f")
        for model, reference in ((bad, LLAMA), (LLAMA, bad)):
            p = smelt("eval", model, "--reference", reference, "--text", TEXT, "--context", "128", "--chunks", "2", "--max-kl", "5", "--json")
            self.assertEqual(p.status, 1)
            self.assertIn("not finite", p.err)
            self.assertEqual((p.json()["passed"], p.json()["reference"]["kl_mean"]), (False, None))
        self.assertEqual(smelt("eval", bad, "--text", TEXT, "--context", "128", "--chunks", "2").status, 1)

    def test_limits_are_numbers_and_belong_to_a_check(self):
        for option in ("--max-kl", "--max-ppl-increase"):
            for value in ("", "nan", "-1", "inf", "-1%", "-0.5", "1e999", "0x1", "nan%"):
                self.assertEqual(smelt("eval", LLAMA, "--reference", LLAMA, "--text", TEXT, f"{option}={value}").status, 2, (option, value))
        self.refused(smelt("eval", LLAMA, "--text", TEXT, "--max-ppl", ""), 2, "--max-ppl")
        self.refused(smelt("convert", LLAMA, "-o", self.path("x.gguf"), "--validate", "off", "--max-kl", "1"), 2, "--validate")

    def test_logits_do_not_replace_inputs(self):
        model, ids = self.converted("m.gguf", "f32"), self.path("ids.json")
        with open(ids, "w") as f:
            f.write("[1, 2, 3]")
        for target in (model, ids):
            before = programs.read(target)
            self.refused(smelt("eval", model, "--tokens", ids, "--logits-out", target), 2, "input itself")
            self.assertEqual(programs.read(target), before)

    def test_a_result_that_cannot_be_printed_is_a_failure(self):
        texts = self.path("texts.jsonl")
        with open(texts, "w") as f:
            f.write('{"text": "a"}\n')
        for argv in (["--help"], ["--version"], [], ["help", "run"], ["run", "--help"], ["inspect", LLAMA], ["inspect", LLAMA, "--json"],
                     ["families"], ["families", "--json"], ["tokenize", LLAMA, "a"], ["tokenize", LLAMA, "--json", "a"],
                     ["tokenize", LLAMA, "--jsonl"], ["tokenize", LLAMA, "5", "--decode"], ["template", texts, "--json"],
                     ["eval", LLAMA, "--text", TEXT, "--chunks", "1", "--context", "8", "--json"], ["run", LLAMA, "a", "-n", "1", "--json"],
                     ["convert", LLAMA, "--dry-run"], ["convert", LLAMA, "--dry-run", "--json"]):
            for output in ("full", "closed"):
                with open("/dev/full", "w") as full, open(texts) as lines:
                    p = subprocess.run([PROGRAM, *argv], stdout=full, stdin=lines, stderr=subprocess.PIPE, text=True,
                                       preexec_fn=(lambda: os.close(1)) if output == "closed" else None)
                said = [x for x in p.stderr.splitlines() if not x.startswith("smelt: note: ")]
                self.assertEqual((p.returncode, said), (1, ["smelt: standard output could not be written"]), (argv, output))

    def test_what_is_printed_goes_into_no_file(self):
        # With standard output closed, its number is the next file's that is opened.
        out = self.path("x.gguf")
        p = subprocess.run([PROGRAM, "convert", LLAMA, "--type", "f16", "-o", out], stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(1))
        self.assertEqual(p.returncode, 1, p.stderr)
        self.assertEqual(programs.read(out), programs.read(self.converted("y.gguf", "f16")))

    def test_a_vocabulary_broken_by_metadata_gets_no_name(self):
        p = smelt("convert", LLAMA, "--metadata", "tokenizer.ggml.bos_token_id=u32:999999", "-o", self.path("x.gguf"))
        self.refused(p, 1, "vocabulary")
        self.assertFalse(os.path.exists(self.path("x.gguf")))

    def test_the_default_gate_sees_breakage(self):
        good = self.converted("good.gguf", "f16")
        broken = self.path("broken.gguf")
        p = smelt("quantize", good, "--type", "copy", "--metadata", "llama.rope.freq_base=3", "-o", broken)
        self.refused(p, 1, "differs too much")
        self.assertFalse(os.path.exists(broken))

    def test_ctrl_c_then_resume(self):
        source = self.path("in.safetensors")
        programs.write_matrices(source, {"a.weight": (20000, 2048), "b.weight": (2000, 1024)})
        argv = [PROGRAM, "quantize", source, "--type", "q4_k_m", "--validate", "off", "--threads", "1", "-o", self.path("x.gguf")]
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while p.poll() is None and not (os.path.exists(self.path("x.gguf.part.journal")) and
                                        os.path.getsize(self.path("x.gguf.part.journal")) > 100):
            time.sleep(0.001)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate()
        self.assertEqual(p.returncode, -signal.SIGINT, err)
        self.assertIn("resume", err)
        self.assertFalse(os.path.exists(self.path("x.gguf")))
        again = programs.Program(argv)
        self.assertEqual(again.status, 0, again.err)
        self.assertIn("resuming", again.err)
        fresh = smelt("quantize", source, "--type", "q4_k_m", "--validate", "off", "-o", self.path("y.gguf"))
        self.assertEqual(fresh.status, 0)
        self.assertEqual(programs.read(self.path("x.gguf")), programs.read(self.path("y.gguf")))

    def test_plain_safetensors(self):
        source = self.path("in.safetensors")
        programs.write_matrices(source, {"a.weight": (20, 256)})
        self.refused(smelt("quantize", source, "--type", "q8_0", "-o", self.path("x.gguf")), 1, "--validate off")
        programs.write_matrices(source, {"a": (20, 256)})
        p = smelt("quantize", source, "--type", "q8_0", "--validate", "off", "-o", self.path("unchanged.gguf"))
        self.assertEqual(p.status, 0)
        self.assertIn("no tensor changes its type", p.err)
        programs.write_matrices(source, {"a.weight": (20, 256)})
        self.assertEqual(smelt("quantize", source, "--type", "q8_0", "-o", self.path("x.gguf"), "--validate", "off").status, 0)


class Eval(Case):
    def test_json_and_gates(self):
        q8 = self.converted("q8.gguf")
        p = smelt("eval", q8, "--text", TEXT, "--context", "128", "--chunks", "4", "--reference", LLAMA, "--max-kl", "0.1",
                  "--max-ppl-increase", "5%", "--max-ppl", "1000", "--json")
        self.assertEqual(p.status, 0, p.err)
        r = p.json()
        self.assertEqual(list(r), EVAL_KEYS)
        self.assertEqual(list(r["reference"]), REFERENCE_KEYS)
        self.assertEqual((r["context"], r["chunks"], r["tokens_scored"]), (128, 4, 4 * 63))
        self.assertEqual([g["name"] for g in r["gates"]], ["max_ppl", "max_ppl_increase", "max_kl"])
        p = smelt("eval", q8, "--text", TEXT, "--context", "128", "--chunks", "2", "--max-ppl", "1.5", "--json")
        self.assertEqual((p.status, p.json()["passed"]), (1, False))
        self.refused(p, 1, "max_ppl", "1.5")

    def test_directory_and_gguf_agree_exactly(self):
        f32 = self.converted("f32.gguf", "f32")
        argv = ("--text", TEXT, "--context", "128", "--chunks", "3", "--json")
        self.assertEqual(smelt("eval", LLAMA, *argv).json()["perplexity"], smelt("eval", f32, *argv).json()["perplexity"])

    def test_standard_input_is_the_same_text(self):
        with open(TEXT, encoding="utf-8") as f:
            text = f.read()
        argv = ("--context", "128", "--chunks", "2", "--json")
        self.assertEqual(smelt("eval", LLAMA, "--text", "-", *argv, input=text).json()["perplexity"],
                         smelt("eval", LLAMA, "--text", TEXT, *argv).json()["perplexity"])

    def test_tokens_and_logits(self):
        ids = self.path("ids.json")
        with open(ids, "w") as f:
            json.dump([1, 5, 9], f)
        p = smelt("eval", LLAMA, "--tokens", ids, "--logits-out", self.path("l.safetensors"), "--json")
        self.assertEqual(p.status, 0, p.err)
        tensors = smelt("inspect", self.path("l.safetensors"), "--json").json()["tensors"]
        self.assertEqual((tensors[0]["name"], tensors[0]["type"], tensors[0]["shape"][0]), ("logits", "F32", 3))
        self.assertEqual(smelt("eval", LLAMA, "--tokens", ids).status, 0)
        with open(ids, "w") as f:
            f.write("[1]")
        self.refused(smelt("eval", LLAMA, "--tokens", ids), 1)
        with open(ids, "w") as f:
            f.write("[1, 99999999]")
        self.refused(smelt("eval", LLAMA, "--tokens", ids), 1, "element 1")


class Template(unittest.TestCase):
    """smelt template: a template's file, with the texts of its tokens."""

    def setUp(self):
        self.file = os.path.join(programs.temporary(), "chat.jinja")
        with open(self.file, "w") as f:
            f.write("{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}")

    def render(self, *arguments, input='[{"role": "user", "content": "Hi"}]'):
        return smelt("template", self.file, "--messages", "-", *arguments, input=input)

    def test_conversations(self):
        self.assertEqual(self.render("--bos", "<s>", "--eos", "").out, "<s>[user]Hi")
        self.assertEqual(self.render("--json").json(), {"result": "[user]Hi"})
        self.assertEqual(self.render("--bos", "", input='{"messages": []}').out, "")

    def test_lines(self):
        lines = smelt("template", self.file, "--jsonl", input='{"messages": [{"role": "u", "content": "1"}]}\n{}\n')
        self.assertEqual(lines.status, 0)
        first, second = map(json.loads, lines.out.splitlines())
        self.assertEqual((first, list(second)), ({"result": "[u]1"}, ["error"]))

    def test_refusals(self):
        for text, says in (("{% if %}", "line 1"), ("{% include 'x' %}", "include"), ("{{ a.b }}", "'a' is undefined")):
            with open(self.file, "w") as f:
                f.write(text)
            p = self.render()
            self.assertEqual(p.status, 1)
            self.assertIn(says, p.err)


class RunAndTokenize(Case):
    def test_run_json(self):
        ids = self.path("ids.json")
        with open(ids, "w") as f:
            json.dump([1, 5, 9], f)
        p = smelt("run", LLAMA, "--prompt-ids", ids, "-n", "5", "--temp", "0", "--ignore-eos", "--json")
        self.assertEqual(p.status, 0, p.err)
        r = p.json()
        self.assertEqual(list(r), ["prompt_ids", "ids", "text", "finish_reason", "seed", "device", "device_layers", "activations", "prompt_tokens_per_second", "tokens_per_second"])
        self.assertEqual(r["finish_reason"], "length")
        self.assertEqual((r["prompt_ids"], len(r["ids"])), ([1, 5, 9], 5))

    def test_options_that_are_no_numbers(self):
        ids = self.path("ids.json")
        with open(ids, "w") as f:
            f.write("nonsense")
        p = smelt("run", LLAMA, "--prompt-ids", ids, "--json")
        self.refused(p, 1, "no JSON list")
        self.assertEqual(p.json()["error"]["code"], "invalid_input")
        for option, values in (("--temp", ("nan", "-1", "inf", "hot")), ("--seed", ("-1", "1.5", "99999999999999999999")), ("-n", ("-1", "x")),
                               ("--top-k", ("-1",)), ("--top-p", ("1.1", "-1", "nan")), ("--min-p", ("2",)),
                               ("--repeat-penalty", ("0", "-1", "inf", "nan")), ("--stop", ("",))):
            for value in values:
                p = smelt("run", LLAMA, "x", f"{option}={value}" if option[1] == "-" else f"{option}{value}")
                self.refused(p, 2, "--max-tokens" if option == "-n" else option)
        self.refused(smelt("eval", LLAMA, "--text", ids, "--chunks", "-1"), 2, "--chunks")

    def test_numbers_are_decimal(self):
        r = smelt("run", LLAMA, "a", "-n", "010", "--temp", "00.5", "--top-k", "010", "--seed", "0010", "--ignore-eos", "--threads", "02", "--json").json()
        self.assertEqual((len(r["ids"]), r["seed"]), (10, 10))
        r = smelt("eval", LLAMA, "--text", TEXT, "--context", "0064", "--chunks", "08", "--json").json()
        self.assertEqual((r["context"], r["chunks"]), (64, 8))
        for argv in (["-n", "0x10"], ["-n", "1e3"], ["-n", " 5"], ["-n", "1_000"], ["-n", "99999999999999"], ["--top-k", "0b1"], ["--threads", "0"],
                     ["--threads", "5000"], ["--threads", "0x2"], ["--temp", "0x1p-1"], ["--seed", "18446744073709551616"]):
            self.refused(smelt("run", LLAMA, "a", *argv), 2, f'"{argv[1]}" is no')
        self.assertEqual(smelt("run", LLAMA, "a", "-n", "+2", "--temp", "1e-1", "--json").status, 0)

    def test_importance_matrices(self):
        made, again, both, old = (self.path(name) for name in ("a.gguf", "b.gguf", "c.gguf", "d.dat"))
        for argv in ([LLAMA, "--text", TEXT], ["-o", made], [LLAMA, "-o", made], ["--merge", made, "-o", both],
                     [LLAMA, "--show", made], ["--show", made, "--chunks", "2"]):
            self.refused(smelt("imatrix", *argv), 2)
        options = ["--text", TEXT, "--context", "64", "--chunks", "4"]
        r = smelt("imatrix", LLAMA, *options, "-o", made, "--json").json()
        self.assertEqual((r["chunks"], r["chunk_size"], r["tokens"], r["datasets"]), (4, 64, 256, [TEXT]))
        self.assertTrue(all(t["tokens"] == [256] and t["mean"] > 0 for t in r["tensors"]))
        self.refused(smelt("imatrix", LLAMA, *options, "-o", made), 1, "--force")
        self.assertEqual(smelt("imatrix", LLAMA, *options, "-o", again, "--threads", "3").status, 0)
        self.assertEqual(programs.read(made), programs.read(again))
        merged = smelt("imatrix", "--merge", made, again, "-o", both, "--json").json()
        self.assertTrue(all(t["tokens"] == [512] for t in merged["tensors"]))
        self.assertEqual([t["mean"] for t in merged["tensors"]], [t["mean"] for t in r["tensors"]])
        self.assertEqual(smelt("imatrix", LLAMA, *options, "-o", old).status, 0)
        shown = smelt("imatrix", "--show", old)
        self.assertEqual(shown.status, 0, shown.err)
        self.assertIn("blk.0.attn_q.weight", shown.out)
        for file in (made, old):
            p = smelt("convert", LLAMA, "--type", "q4_0", "--imatrix", file, "-o", self.path("q.gguf"), "--force", "--json")
            self.assertEqual(p.status, 0, p.err)
            keys = {k["key"]: k["value"] for k in smelt("inspect", self.path("q.gguf"), "--json").json()["metadata"]}
            self.assertEqual(keys["quantize.imatrix.file"], file)
            self.assertEqual(keys["quantize.imatrix.entries_count"], len(r["tensors"]))
            self.assertEqual(keys["quantize.imatrix.chunks_count"], 4)
        self.refused(smelt("eval", made, "--text", TEXT), 1, "importance matrix")
        self.refused(smelt("imatrix", "--show", TEXT), 1, "no importance matrix")
        self.refused(smelt("convert", LLAMA, "--type", "q4_0", "--imatrix", TEXT, "-o", self.path("r.gguf")), 1, "no importance matrix")

    def test_quiet_evaluation_prints_what_was_asked_for(self):
        p = smelt("eval", LLAMA, "--text", os.path.join(MODELS, "eval.txt"), "--chunks", "1", "-q")
        self.assertEqual((p.status, p.err), (0, ""))
        self.assertIn("perplexity", p.out)

    def test_text_from_a_pipe(self):
        pipe, text = self.path("pipe"), os.path.join(MODELS, "eval.txt")
        os.mkfifo(pipe)
        writer = subprocess.Popen(["cp", text, pipe])
        a = smelt("eval", LLAMA, "--text", pipe, "--chunks", "1", "--json")
        b = smelt("eval", LLAMA, "--text", text, "--chunks", "1", "--json")
        writer.wait()
        self.assertEqual(a.status, 0, a.err)
        self.assertEqual(a.json()["perplexity"], b.json()["perplexity"])

    def test_run_text_and_seed(self):
        argv = ("run", LLAMA, "The law", "-n", "8", "--seed", "7", "--ignore-eos")
        a, b = smelt(*argv), smelt(*argv)
        self.assertEqual(a.status, 0, a.err)
        self.assertEqual(a.out, b.out)
        self.assertIn("tokens/s", a.err)
        c = smelt("run", LLAMA, "The law", "-n", "30", "--ignore-eos")
        seed = re.search(r"seed (\d+)$", c.err.strip()).group(1)
        self.assertEqual(smelt("run", LLAMA, "The law", "-n", "30", "--ignore-eos", "--seed", seed).out, c.out)
        self.assertNotEqual(smelt("run", LLAMA, "The law", "-n", "30", "--ignore-eos").out, c.out)

    def test_where_a_prompt_comes_from(self):
        def ids(*argv, **options):
            p = smelt("run", LLAMA, "-n", "1", "--json", *argv, **options)
            self.assertEqual(p.status, 0, p.err)
            return p.json()["prompt_ids"]
        want = ids("It was\nthe")
        with open(self.path("prompt.txt"), "w") as f:
            f.write("It was\nthe\n")
        self.assertEqual(ids("--prompt-file", self.path("prompt.txt")), want)
        self.assertEqual(ids(input="It was\nthe\n"), want)
        self.assertEqual(ids("-", input="It was\nthe"), want)
        self.assertEqual(ids("--prompt-file", "-", input="It was\nthe"), want)
        # A prompt wins over a pipe that happens to be there, and is what it is, whatever it looks like.
        self.assertEqual(ids("It was\nthe", input="else"), want)
        for text in ("convert", "--help", "-hello", "-n", "--", "++", "- a list", "-5 degrees", "   ", ""):
            self.assertEqual(ids("--", text), smelt("tokenize", LLAMA, "--json", "--", text).json()["ids"], text)
        for text in ("convert", "- a list", "-5 degrees", "   "):
            self.assertEqual(ids(text), ids("--", text))
        self.refused(smelt("run", LLAMA, "-hello"), 2, "-hello", " -- ")
        self.refused(smelt("run", LLAMA, "--hello there"), 2, "--hello there", " -- ")
        self.refused(smelt("run", LLAMA, "x", "--prompt-file", self.path("prompt.txt")), 2, "--prompt-file")
        self.refused(smelt("run", LLAMA, "-", input=""), 2, "standard input is empty")

    def test_stop_texts(self):
        argv = ("run", LLAMA, "It was", "-n", "40", "--temp", "0", "--ignore-eos")
        whole = smelt(*argv, "--json").json()["text"]
        stop = whole[12:20]
        p = smelt(*argv, "--stop", "not there", "--stop", stop, "--json")
        self.assertEqual((p.json()["text"], p.json()["finish_reason"]), (whole[:whole.index(stop)], "stop"))
        self.assertEqual(smelt(*argv, f"--stop={stop}").out, whole[:whole.index(stop)] + "\n")

    def test_weights_that_are_not_finite(self):
        bad = self.converted("bad.gguf", "f32")
        tensors = smelt("convert", bad, "--type", "copy", "--dry-run", "--json").json()["tensors"]
        with open(bad, "r+b") as f:
            f.seek(next(t["offset"] for t in tensors if t["name"] == "blk.1.ffn_down.weight"))
            f.write(b"\xff\xff\xff\x7f")
        self.refused(smelt("run", bad, "It was"), 1, "not finite")

    def test_a_file_that_shrinks(self):
        model = self.converted("m.gguf", "q8_0")
        p = subprocess.Popen([PROGRAM, "run", model, "It was", "-n", "100000000", "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertTrue(p.stdout.read(1))
        os.truncate(model, os.path.getsize(model) // 3)
        _, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 1, err)
        self.assertRegex(err, r"^smelt: .*m\.gguf: the file became shorter while it was read")

    def test_tokenize(self):
        one = smelt("tokenize", LLAMA, "Hello, world", "--json").json()["ids"]
        lines = smelt("tokenize", LLAMA, "--jsonl", input='{"text": "Hello, world"}\n{"text": ""}\n\n')
        self.assertEqual(json.loads(lines.out.splitlines()[0])["ids"], one)
        self.assertEqual(len(lines.out.splitlines()), 2)
        bare = smelt("tokenize", LLAMA, "Hello, world", "--no-special", "--json").json()["ids"]
        self.assertEqual(one[-len(bare):], bare)
        self.refused(smelt("tokenize", LLAMA, "--jsonl", input="nonsense\n"), 1, "line 1")
        # Lines out are lines in: a blank one is passed over at the end only.
        self.refused(smelt("tokenize", LLAMA, "--jsonl", input='{"text": "a"}\n\n{"text": "b"}\n'), 1, "line 2")
        self.assertEqual(smelt("tokenize", LLAMA, "", "--json").json()["ids"], one[:1])
        for argv in (["a", "--hide-special"], ["a", "--jsonl"], ["--jsonl", "--compare", LLAMA], ["1", "--decode", "--compare", LLAMA], []):
            self.refused(smelt("tokenize", LLAMA, *argv), 2)
        for ids in ("99999999999999999999", "[-1]", "4 1000000", "none"):
            self.refused(smelt("tokenize", LLAMA, ids, "--decode"), 1)
        for ids, word in (("1.5", "1.5"), ("5x6", "5x6"), ("1e3", "1e3"), ("1 2 foo 3", "foo"), ("[1, true]", "true")):
            self.refused(smelt("tokenize", LLAMA, ids, "--decode"), 1, f'"{word}" is no id')
        self.assertEqual(smelt("tokenize", LLAMA, "[5, 6]", "--decode").out, smelt("tokenize", LLAMA, "5 6", "--decode").out)
        self.refused(smelt("tokenize", LLAMA, "--jsonl", input='{"text": "\\ud800"}\n'), 1, "line 1", "surrogate")
        bad = subprocess.run([PROGRAM, "tokenize", LLAMA, "--jsonl"], input=b'{"text": "\xff"}\n', capture_output=True)
        self.assertEqual(bad.returncode, 1)
        self.assertIn(b"not valid UTF-8", bad.stderr)
        same = smelt("tokenize", LLAMA, "Hello", "--compare", LLAMA, "--json")
        self.assertEqual((same.status, same.json()["different"]), (0, False))

    def test_a_closed_pipe_ends_quietly(self):
        p = subprocess.run(f"'{PROGRAM}' inspect -q '{LLAMA}' | head -n 1", shell=True, capture_output=True, text=True)
        self.assertEqual(p.stderr, "")
        self.assertEqual(len(p.stdout.splitlines()), 1)


class Chat(Case):
    def test_a_question(self):
        p = smelt("run", LLAMA, "--chat", "Hello", "-n", "8", "--temp", "0")
        self.assertEqual((p.status, p.err), (0, ""))
        self.assertEqual(smelt("run", LLAMA, "--chat", "-n", "8", "--temp", "0", input="Hello\n").out, p.out)
        r = smelt("run", LLAMA, "--chat", "Hello", "-n", "8", "--temp", "0", "--json").json()
        self.assertEqual(r["text"] + "\n", p.out)
        self.refused(smelt("run", LLAMA, "--system", "x", "Hello"), 2, "--chat")
        self.refused(smelt("run", LLAMA, "--chat", "--tools", LLAMA + "/config.json", "Hello"), 1, "JSON list")

    def test_turns_on_a_terminal(self):
        ours, its = pty.openpty()
        process = subprocess.Popen([PROGRAM, "run", LLAMA, "--chat", "-n", "2", "--temp", "0"], stdin=its, stdout=its, stderr=its,
                                   env=dict(os.environ, LC_ALL="C.UTF-8", TERM="xterm"), start_new_session=True)
        os.close(its)
        shown, asked, end = b"", 0, time.time() + 60
        try:
            while time.time() < end and select.select([ours], [], [], end - time.time())[0]:
                shown += os.read(ours, 65536)
                if shown.count(b">>> ") > asked:
                    asked += 1
                    time.sleep(0.3)  # people take their time: as long as a progress line waits
                    os.write(ours, b"/bye\n" if asked == 3 else b"Hello\n")
        except OSError:  # it has ended
            pass
        self.assertEqual(process.wait(60), 0, shown)
        os.close(ours)
        self.assertEqual(asked, 3, shown)
        # The second turn's text is read in no time; counted from the first one's beginning its rate was nonsense.
        self.assertNotIn(b"tokens/s", shown.split(b">>> ")[2])

    def test_thoughts_are_shown_or_hidden(self):
        template = self.path("thinks.jinja")
        with open(template, "w") as f:
            f.write("{% for m in messages %}{{ m.content }}{% endfor %}<think>\n")
        argv = ["run", LLAMA, "--chat", "Hello", "-n", "8", "--temp", "0", "--chat-template", template]
        self.assertNotEqual(smelt(*argv).out, "\n")
        self.assertEqual(smelt(*argv, "--think", "hide").out, "\n")


class Store(Case):
    def setUp(self):
        super().setUp()
        with open(self.path("Modelfile"), "w") as f:
            f.write(f"FROM {LLAMA}\nSYSTEM Be brief.\n")
        self.store = ["--store", self.path("store")]
        self.imported = smelt("import", "-f", self.path("Modelfile"), "mine", "--type", "q8_0", *self.store, "--json")

    def test_import_by_a_modelfile(self):
        self.assertEqual(self.imported.status, 0, self.imported.err)
        r = self.imported.json()
        self.assertEqual((r["name"], r["how"], r["conversion"]["type"]), ("mine:latest", "conversion", "Q8_0"))
        with open(self.path("Modelfile"), "a") as f:
            f.write("PARAMETER temperature hot\n")
        self.refused(smelt("import", "-f", self.path("Modelfile"), "x", *self.store), 1, "line 3", "temperature", "hot")
        self.refused(smelt("import", LLAMA, *self.store), 2, "name")
        self.refused(smelt("import", LLAMA, "x", "--type", "q8_0,q4_0", *self.store), 2, "one type")

    def test_keeping_a_store(self):
        self.assertEqual(smelt("store", "cp", "mine", "yours:v1", *self.store).status, 0)
        names = [m["name"] for m in smelt("store", "list", "--json", *self.store).json()["models"]]
        self.assertEqual(sorted(names), ["mine:latest", "yours:v1"])
        self.assertIn("SYSTEM Be brief.\n", smelt("store", "show", "mine", "--modelfile", *self.store).out)
        self.assertTrue(smelt("store", "verify", "--json", *self.store).json()["sound"])
        blob = self.imported.json()["blob"]
        os.truncate(blob, 1000)
        self.refused(smelt("store", "verify", *self.store), 1, "not sound")
        self.assertEqual(smelt("store", "rm", "mine", "yours:v1", *self.store).status, 0)
        self.assertFalse(os.path.exists(blob))
        self.refused(smelt("store", "rm", "mine", *self.store), 1, "no model")
        self.refused(smelt("store", "lsit", *self.store), 2, "nearest is list")

    def test_a_bundle_goes_to_another_store(self):
        gguf, bundle, other = self.converted("m.gguf", "f16"), self.path("b.tar.zst"), ["--store", self.path("other")]
        for name in ("one", "two"):
            self.assertEqual(smelt("import", gguf, name, *self.store).status, 0)
        out = smelt("store", "export", "one", "two", "-o", bundle, "--json", *self.store).json()
        self.assertEqual((out["kind"], out["names"]), ("bundle", ["one:latest", "two:latest"]))
        self.refused(smelt("store", "export", "one", "-o", bundle, *self.store), 1, "already exists")
        self.assertEqual(smelt("import", bundle, "--json", *other).json()["names"], out["names"])
        self.assertTrue(smelt("store", "verify", "--json", *other).json()["sound"])
        self.refused(smelt("import", bundle, "three", *other), 2, "2 models")
        self.refused(smelt("import", self.path("none.tar.zst"), *other), 1, "none.tar.zst")

    def test_metadata_are_set_where_they_are(self):
        gguf = self.converted("m.gguf", "f16")
        self.assertEqual(smelt("set", gguf, "general.name=Other", "--json").json()["how"], "in place")
        with open(self.path("t.jinja"), "w") as f:
            f.write("{{ messages[0].content }}")
        self.assertEqual(smelt("set", gguf, "tokenizer.chat_template=@" + self.path("t.jinja")).status, 0)
        keys = {k["key"]: k["value"] for k in smelt("inspect", gguf, "--json").json()["metadata"]}
        self.assertEqual((keys["general.name"], keys["tokenizer.chat_template"]), ("Other", "{{ messages[0].content }}"))
        self.refused(smelt("set", gguf, "novalue"), 2, "KEY=VALUE")
        self.refused(smelt("set", gguf, "general.nmae-"), 1, "general.name")


if __name__ == "__main__":
    unittest.main()
