#!/usr/bin/env python3
"""How the program ends when it is told to, and what a terminal shows meanwhile.

signals_test.py PROGRAM MODELS_DIR      (MODELS_DIR has llama/ and eval.txt)
"""
import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

import programs

PROGRAM, MODELS = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))
LLAMA = os.path.join(MODELS, "llama")
TEXT = os.path.join(MODELS, "eval.txt")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDLESS = ["run", LLAMA, "Once upon", "-n", "100000000", "--ignore-eos"]
PATIENCE = 10  # seconds of a busy machine; the program itself waits less than one


def start(*argv, **options):
    return subprocess.Popen([PROGRAM, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL="C.UTF-8"), **options)


def working(p):
    """Waits until the program has caught the signals and reads or computes."""
    for _ in range(1000):
        with open(f"/proc/{p.pid}/status") as f:
            caught = next(int(x.split()[1], 16) for x in f if x.startswith("SigCgt"))
        if caught >> (signal.SIGALRM - 1) & 1:
            return
        time.sleep(0.005)
    raise AssertionError("the program does not catch signals")


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = programs.temporary()

    def path(self, name):
        return os.path.join(self.dir, name)

    def ends(self, p, number, *words, out=None):
        """Signalled: one sentence, and the signal's own death, soon."""
        begin = time.monotonic()
        p.send_signal(number)
        out, err = p.communicate(timeout=PATIENCE)
        self.assertLess(time.monotonic() - begin, PATIENCE)
        self.assertEqual(p.returncode, -number, err)
        lines = [x for x in err.decode().splitlines() if not x.startswith(("smelt: note: ", "smelt: warning: "))]
        self.assertEqual(len(lines), 1, err)
        self.assertTrue(lines[0].startswith("smelt: ") and "interrupted" in lines[0], lines)
        for word in words:
            self.assertIn(word, lines[0])
        return out


class Signals(Case):
    def test_run(self):
        for number in SIGNALS:
            p = start(*ENDLESS)
            self.assertTrue(p.stdout.read(1))
            self.ends(p, number, "generated tokens")

    def test_run_json_is_whole(self):
        for number in SIGNALS:
            p = start(*ENDLESS, "--json")
            working(p)
            time.sleep(0.2)
            r = json.loads(self.ends(p, number))
            self.assertEqual(r["finish_reason"], "interrupted")

    def test_a_long_prompt(self):
        ids = self.path("ids.json")
        with open(ids, "w") as f:
            json.dump([5] * 200000, f)
        p = start("run", LLAMA, "--prompt-ids", ids, "--json")
        working(p)
        time.sleep(0.5)
        r = json.loads(self.ends(p, signal.SIGINT))
        self.assertEqual((r["finish_reason"], r["ids"], len(r["prompt_ids"])), ("interrupted", [], 200000))

    def test_eval(self):
        text = self.path("long.txt")
        with open(TEXT) as f:
            once = f.read()
        with open(text, "w") as f:
            f.write(once * (4000000 // len(once)))
        for number in SIGNALS:
            # One chunk of all that the text has: stopped inside it.
            p = start("eval", LLAMA, "--text", text, "--context", "200000", "--json")
            working(p)
            time.sleep(1)
            self.assertEqual(json.loads(self.ends(p, number))["error"]["code"], "cancelled")

    def test_convert_and_quantize(self):
        source = self.path("in.safetensors")
        programs.write_matrices(source, {"a.weight": (20000, 2048)})
        for command in ("convert", "quantize"):
            for number in SIGNALS:
                p = start(command, source, "--type", "q3_k_m", "--validate", "off", "--threads", "1", "-o", self.path("x.gguf"), "--json")
                working(p)
                while p.poll() is None and not os.path.exists(self.path("x.gguf.part.journal")):
                    time.sleep(0.001)
                self.assertEqual(json.loads(self.ends(p, number, "resume"))["error"]["code"], "cancelled")
                self.assertEqual(sorted(os.listdir(self.dir)), ["in.safetensors", "x.gguf.part", "x.gguf.part.journal"])
                for name in ("x.gguf.part", "x.gguf.part.journal"):
                    os.remove(self.path(name))

    def test_import(self):
        def text(s):
            return struct.pack("<Q", len(s)) + s

        # One tensor of 6.5 GB, a hole in the file: it takes seconds to hash.
        rows, big = 800000, self.path("big.gguf")
        with open(big, "wb") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 3))
            f.write(text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"))
            for key in (b"llama.context_length", b"llama.embedding_length"):
                f.write(text(key) + struct.pack("<II", 4, 4096))
            f.write(text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 4096, rows, 1, 0))
            f.truncate(-f.tell() % 32 + f.tell() + rows * 4096 * 2)
        store = self.path("store")
        for number in SIGNALS:
            p = start("import", big, "big", "--store", store, "--json")
            working(p)
            time.sleep(0.3)
            self.assertIsNone(p.poll())
            self.assertEqual(json.loads(self.ends(p, number))["error"]["code"], "cancelled")
            self.assertFalse(os.path.exists(os.path.join(store, "manifests")))

    def test_waiting_for_input(self):
        # Nothing comes on standard input: the program waits in a read that no signal ends.
        for argv in (["tokenize", LLAMA, "-"], ["tokenize", LLAMA, "--jsonl"], ["eval", LLAMA, "--text", "-"], ["run", LLAMA]):
            for number in SIGNALS:
                p = start(*argv, stdin=subprocess.PIPE)
                working(p)
                time.sleep(0.1)
                p.stdin, stdin = None, p.stdin
                self.ends(p, number)
                stdin.close()

    def test_inspect_that_nobody_reads(self):
        p = start("inspect", LLAMA, "--recipes", "--json")
        working(p)
        time.sleep(0.3)
        if p.poll() is None:  # blocked in its output
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(timeout=PATIENCE), -signal.SIGTERM)
        p.communicate()

    def test_inspect_of_a_long_header(self):
        # Seconds of parsing, of names alone.
        big = self.path("big.safetensors")
        header = ",".join(f'"model.layers.{i}.self_attn.q_proj.weight":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(900000))
        header = "{" + header + "}"
        with open(big, "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header.encode())
        for number in SIGNALS:
            p = start("inspect", big)
            working(p)
            time.sleep(0.2)
            if p.poll() is not None:
                self.skipTest("this machine parses 900,000 tensors in 0.2 s")
            self.ends(p, number)

    def test_tokenize_of_a_long_text(self):
        text = self.path("long.txt")
        with open(TEXT) as f:
            once = f.read()
        with open(text, "w") as f:
            for _ in range(200_000_000 // len(once)):
                f.write(once)
        for argv in (["--json"], ["--compare", LLAMA]):
            for number in SIGNALS:
                with open(text) as lines:
                    p = start("tokenize", LLAMA, "-", *argv, stdin=lines)
                    working(p)
                    time.sleep(1)
                    self.assertIsNone(p.poll())
                    begin = time.monotonic()
                    self.ends(p, number)
                    self.assertLess(time.monotonic() - begin, 3)

    def test_a_second_signal_ends_at_once(self):
        p = start("tokenize", LLAMA, "-", stdin=subprocess.PIPE)
        working(p)
        p.send_signal(signal.SIGINT)
        time.sleep(0.1)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(timeout=PATIENCE), -signal.SIGTERM)
        p.communicate()

    def test_what_was_ignored_stays_ignored(self):
        p = start(*ENDLESS, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertTrue(p.stdout.read(1))
        p.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.assertIsNone(p.poll())
        self.ends(p, signal.SIGTERM)

    def test_a_loop_of_a_shell_ends(self):
        command = 'for i in 1 2 3; do echo "round $i"; "$0" "$@"; done'
        p = subprocess.Popen(["bash", "-c", command, PROGRAM, *ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.assertTrue(p.stdout.read(12))
        os.killpg(p.pid, signal.SIGINT)
        out, _ = p.communicate(timeout=PATIENCE)
        self.assertEqual(p.returncode, -signal.SIGINT)
        self.assertNotIn(b"round 2", out)

    def test_a_closed_pipe_ends_quietly(self):
        p = start(*ENDLESS, "--quiet")
        self.assertTrue(p.stdout.read(1))
        p.stdout.close()
        self.assertEqual(p.wait(timeout=PATIENCE), -signal.SIGPIPE)
        self.assertEqual(p.stderr.read(), b"")
        p.stderr.close()

    def test_output_that_nobody_takes_ends_a_text(self):
        # Where SIGPIPE is ignored, and on a full disk.
        read, write = os.pipe()
        p = subprocess.Popen([PROGRAM, *ENDLESS, "--quiet"], stdout=write, stderr=subprocess.PIPE, restore_signals=False,
                             preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))
        os.close(write)
        self.assertTrue(os.read(read, 1))
        os.close(read)
        with open("/dev/full", "w") as full:
            q = subprocess.Popen([PROGRAM, *ENDLESS, "--quiet"], stdout=full, stderr=subprocess.PIPE)
        for each in (p, q):
            _, err = each.communicate(timeout=PATIENCE)
            self.assertEqual((each.returncode, err), (1, b"smelt: standard output could not be written\n"))


def at_terminal(argv, columns, env, seconds, wanted=None):
    """What is shown at a terminal of so many columns (0: it does not say) in that time, or until the pattern `wanted` is there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    p = subprocess.Popen([PROGRAM, *argv], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=dict(os.environ, LC_ALL="C.UTF-8", **env))
    os.close(slave)
    shown, end = b"", time.monotonic() + seconds
    os.set_blocking(master, False)
    while p.poll() is None and time.monotonic() < end and not (wanted and re.search(wanted, shown)):
        try:
            shown += os.read(master, 65536)
        except BlockingIOError:
            time.sleep(0.01)
    p.kill()
    p.wait()
    os.close(master)
    return shown.decode("utf-8", "replace")


class Terminals(Case):
    def prompt(self):
        ids = self.path("ids.json")
        with open(ids, "w") as f:
            json.dump([5] * 200000, f)
        return ["run", LLAMA, "--prompt-ids", ids]

    def drawn(self, shown):
        lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", x) for x in re.split(r"[\r\n]", shown)]
        return [x for x in lines if not x.startswith("smelt: ")]  # notes are whole

    def test_progress_fits_the_terminal(self):
        argv = self.prompt()
        for columns, env in ((80, {}), (40, {}), (20, {}), (10, {}), (4, {}), (1, {}), (0, {"COLUMNS": "25"}), (0, {"COLUMNS": "x"})):
            width = columns or (25 if env["COLUMNS"] == "25" else 80)
            wanted = rb"\d%[^\r\n]*[\r\n]" if width >= 4 else None
            shown = at_terminal(argv, columns, {"TERM": "xterm", **env}, 60 if wanted else 3, wanted)
            lines = self.drawn(shown)
            self.assertLess(max(map(len, lines)), max(width, 2), (columns, env))
            if width >= 4:
                self.assertTrue(any(re.search(r"\d%", x) for x in lines), (columns, shown))
            if width >= 20:
                self.assertTrue(any("reading" in x for x in lines), (columns, shown))

    def test_a_terminal_without_escapes(self):
        for env in ({"TERM": "dumb"}, {"TERM": ""}):
            self.assertNotIn("\x1b", at_terminal(self.prompt(), 80, env, 1))

    def test_messages_begin_lines_of_their_own(self):
        master, slave = pty.openpty()
        p = subprocess.Popen([PROGRAM, *ENDLESS], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=dict(os.environ, TERM="xterm"))
        os.close(slave)
        shown = os.read(master, 100)
        p.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
        p.wait()
        os.close(master)
        self.assertIn(b"\nsmelt: interrupted after", shown)

    def test_suggestions_are_quoted_for_a_shell(self):
        for name in ("a b.gguf", "it's.gguf", "$(touch x).gguf", "-dash.gguf"):
            p = programs.Program([PROGRAM, "convert", LLAMA, "--type", "q8_0", f"--output={name}"], cwd=self.dir)
            self.assertEqual(p.status, 0, p.err)
            line = next(x for x in p.out.splitlines() if "try: " in x)
            words = shlex.split(line.split("try: ", 1)[1])
            self.assertEqual(words[:2], ["smelt", "run"])
            self.assertTrue(os.path.exists(os.path.join(self.dir, words[2])), words)
            self.assertFalse(words[2].startswith("-"))


if __name__ == "__main__":
    unittest.main()
