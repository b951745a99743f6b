#!/usr/bin/env python3
"""Stores in places as people have them: other owners and modes, links, read-only and full disks. Everything is done, or one sentence says why
not, nothing stays, and the store is as sound as before. Needs root, for other users and small disks.

store_places_test.py PROGRAM MODELS_DIR
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys

import programs

OTHER, STRANGER = 65534, 54321  # users that own nothing else here


class Place:
    def __init__(self, program, models):
        self.work = programs.temporary()
        os.chmod(self.work, 0o755)
        self.program = os.path.join(self.work, "smelt")  # where every user can run it
        shutil.copy(program, self.program)
        libraries = re.findall(r"=> (\S*libsmelt\S*)", subprocess.run(["ldd", program], capture_output=True, text=True).stdout)
        for library in libraries:
            shutil.copy(library, self.work)
        os.environ["LD_LIBRARY_PATH"] = self.work
        self.store = os.path.join(self.work, "store")
        self.gguf = os.path.join(self.work, "q8.gguf")
        self.text = os.path.join(self.work, "text.txt")
        with open(self.text, "w") as f:
            f.write("One two three four five six seven eight nine ten. " * 8)
        self.folder = os.path.join(models, "llama")
        self.ok("convert", self.folder, "--type", "q8_0", "-o", self.gguf, "--validate", "off")
        os.chmod(self.gguf, 0o600)  # copied into stores, never linked

    def run(self, *words, user=0, store=None, **environment):
        env = dict(os.environ, LC_ALL="C.UTF-8", OLLAMA_MODELS=store or self.store, HOME=self.work, **environment)
        p = subprocess.run([self.program, *words], capture_output=True, text=True, env=env, user=user, group=user, extra_groups=[], cwd="/")
        assert p.returncode in (0, 1), (words, p)
        return p

    def ok(self, *words, **options):
        p = self.run(*words, **options)
        assert p.returncode == 0, (words, p.stderr)
        return p.stdout

    def refused(self, *words, says, **options):
        p = self.run(*words, **options)
        lines = [x for x in p.stderr.splitlines() if not x.startswith(("smelt: note: ", "smelt: warning: "))]
        assert p.returncode == 1 and len(lines) == 1 and len(lines[0]) < 400, (words, p)
        for text in [says] if isinstance(says, str) else says:
            assert text in lines[0], (words, text, lines[0])

    def names(self, store=None):
        return [line.split()[0] for line in self.ok("store", "list", store=store).splitlines()[1:]]

    def sound(self, store=None, names=("m:latest",)):
        self.ok("store", "verify", store=store)
        assert sorted(self.names(store)) == sorted(names), self.names(store)
        assert "smelt-staging" not in os.listdir(store or self.store)


def snapshot(folder):
    return sorted(os.path.join(a, x) for a, b, c in os.walk(folder) for x in b + c)


@contextlib.contextmanager
def disk(folder, options):
    os.makedirs(folder, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        programs.skip("a small tmpfs cannot be mounted here (" + mounted.stderr.strip() + ")")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def owners(p):
    p.ok("import", p.gguf, "m")
    # Root's import into another user's store: that user can change and remove what was made.
    for at, folders, files in os.walk(p.store):
        for name in [at] + [os.path.join(at, x) for x in folders + files]:
            os.lchown(name, OTHER, OTHER)
    p.ok("import", p.folder, "n", "--type", "q4_0")
    made = snapshot(p.store)
    assert all(os.lstat(x).st_uid == OTHER for x in made), [x for x in made if os.lstat(x).st_uid != OTHER]
    p.ok("store", "rm", "n", user=OTHER)
    p.sound()
    # Who may only read reads; the rest is refused, and says whose it is.
    before = snapshot(p.store)
    p.ok("store", "list", user=STRANGER)
    p.ok("store", "verify", user=STRANGER)
    p.ok("eval", "m", "--text", p.text, "--context", "32", "--chunks", "1", user=STRANGER)
    os.chmod(p.gguf, 0o644)
    for words in (["import", p.gguf, "x"], ["import", p.folder, "x"], ["store", "cp", "m", "x"], ["store", "rm", "m"]):
        p.refused(*words, says=["ermission denied", "belongs to user"], user=STRANGER)
    os.chmod(p.gguf, 0o600)
    assert snapshot(p.store) == before


def modes(p):
    blob = max((os.path.join(p.store, "blobs", x) for x in os.listdir(p.store + "/blobs")), key=os.path.getsize)
    manifest = os.path.join(p.store, "manifests/registry.ollama.ai/library/m/latest")
    for path, words in [(blob, ["eval", "m", "--text", p.text]), (blob, ["inspect", "m"]), (blob, ["store", "export", "m", "-o", "/tmp/never.gguf"]),
                        (blob, ["store", "verify"]), (manifest, ["eval", "m", "--text", p.text]), (manifest, ["store", "show", "m"]),
                        (p.store, ["eval", "m", "--text", p.text]), (p.store, ["store", "list"]), (p.store, ["import", p.text, "x"]),
                        (p.store + "/blobs", ["inspect", "m"]), (p.store + "/manifests", ["store", "show", "m"])]:
        mode = os.stat(path).st_mode
        os.chmod(path, 0)
        p.refused(*words, says="ermission denied", user=STRANGER)
        os.chmod(path, mode)
    assert not os.path.exists("/tmp/never.gguf")
    # While a folder of manifests cannot be read, no blob is taken for unneeded.
    p.ok("import", p.folder, "team/n", "--type", "q4_0", "--validate", "off")
    team = os.path.join(p.store, "manifests/registry.ollama.ai/team")
    for at, _, files in os.walk(p.store):
        for name in files:
            os.utime(os.path.join(at, name), (1, 1))
    os.chmod(team, 0)
    os.lchown(team, 0, 0)
    before = snapshot(os.path.join(p.store, "blobs"))
    p.refused("store", "prune", says="ermission denied", user=OTHER)
    p.ok("store", "cp", "m", "k", user=OTHER)
    p.ok("store", "rm", "k", user=OTHER)
    p.refused("store", "verify", says="ermission denied", user=OTHER)
    assert "ermission denied" in p.run("store", "list", user=OTHER).stderr
    os.chmod(team, 0o755)
    os.lchown(team, OTHER, OTHER)
    assert snapshot(os.path.join(p.store, "blobs")) == before
    p.ok("store", "verify")
    p.ok("store", "rm", "team/n")
    # Blobs that another program left with other modes.
    os.chmod(blob, 0o400)
    p.ok("import", p.gguf, "m")
    p.sound()


def links(p):
    elsewhere = os.path.join(p.work, "elsewhere")
    shutil.move(os.path.join(p.store, "blobs"), elsewhere)
    os.symlink(elsewhere, os.path.join(p.store, "blobs"))
    p.sound()
    p.ok("import", p.folder, "n", "--type", "q4_0", "--validate", "off")
    p.sound(names=("m:latest", "n:latest"))
    p.ok("store", "rm", "n")
    os.unlink(os.path.join(p.store, "blobs"))
    shutil.move(elsewhere, os.path.join(p.store, "blobs"))
    link = os.path.join(p.work, "link")  # the store itself
    os.symlink(p.store, link)
    p.sound(store=link)
    p.ok("import", p.gguf, "n", store=link)
    p.ok("store", "rm", "n", store=link)
    # Where files are made: what a link leads to is left alone, however old it is.
    precious = os.path.join(p.work, "precious")
    os.makedirs(precious)
    for name in ("part-abcdef", "0123456789abcdef.gguf", "letter.txt"):
        with open(os.path.join(precious, name), "w") as f:
            f.write("x")
        os.utime(os.path.join(precious, name), (1, 1))
    os.symlink(precious, os.path.join(p.store, "smelt-staging"))
    for words in (["import", p.gguf, "x"], ["import", p.folder, "x"], ["store", "cp", "m", "x"]):
        p.refused(*words, says="is a link")
    assert len(os.listdir(precious)) == 3
    os.unlink(os.path.join(p.store, "smelt-staging"))
    os.makedirs(os.path.join(p.store, "smelt-staging"))  # and in a folder of that name what is not ours
    shutil.copy2(os.path.join(precious, "letter.txt"), os.path.join(p.store, "smelt-staging"))
    p.ok("import", p.gguf, "x")
    assert os.listdir(os.path.join(p.store, "smelt-staging")) == ["letter.txt"]
    shutil.rmtree(os.path.join(p.store, "smelt-staging"))
    p.ok("store", "rm", "x")
    # Links that lead nowhere, or in a circle.
    for target in ("nowhere", "blobs"):
        os.rename(os.path.join(p.store, "blobs"), elsewhere)
        os.symlink(target, os.path.join(p.store, "blobs"))
        p.refused("import", p.gguf, "x", says="blobs")
        p.refused("eval", "m", "--text", p.text, says="m:latest")
        os.unlink(os.path.join(p.store, "blobs"))
        os.rename(elsewhere, os.path.join(p.store, "blobs"))
    p.sound()


def disks(p):
    bundle = os.path.join(p.work, "m.tar.zst")
    p.ok("store", "export", "m", "-o", bundle)
    with disk(os.path.join(p.work, "disk"), "size=4m") as folder:
        store = os.path.join(folder, "store")
        p.ok("import", p.gguf, "m", store=store)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        p.ok("store", "verify", store=store)
        p.ok("eval", "m", "--text", p.text, "--context", "32", "--chunks", "1", store=store)
        for words in (["import", p.gguf, "x"], ["import", p.folder, "x"], ["import", bundle], ["store", "cp", "m", "x"], ["store", "rm", "m"]):
            p.refused(*words, says="ead-only", store=store)
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        p.sound(store=store)
    weights, refused = os.path.getsize(p.gguf), 0
    for words in (["import", p.gguf, "new"], ["import", p.folder, "new", "--type", "q8_0"], ["import", bundle, "new"]):
        for pages in (2, 4, weights // 8192, weights // 4096, weights // 4096 + 2, weights // 4096 + 6, weights // 4096 + 64):
            with disk(os.path.join(p.work, "disk"), f"size={pages * 4096}") as folder:
                store = os.path.join(folder, "store")
                done = p.run(*words, store=store)
                if done.returncode == 0:
                    p.sound(store=store, names=("new:latest",))
                    continue
                refused += 1
                p.refused(*words, says="space", store=store)
                left = [x for x in snapshot(folder) if os.path.isfile(x)]
                if bundle in words:  # whose next import goes on from the blobs that are there
                    left = [x for x in left if "/manifests/" in x]
                assert left == [], left
    assert refused > 9
    return refused


def main():
    if os.geteuid() != 0:
        programs.skip("needs root, for files of several owners and small disks")
    p = Place(*map(os.path.abspath, sys.argv[1:3]))
    owners(p)
    modes(p)
    links(p)
    print(f"owners, modes, links, read-only disks; {disks(p)} times too little space: one sentence each, and the stores are sound")


if __name__ == "__main__":
    main()
