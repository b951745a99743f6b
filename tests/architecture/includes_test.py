#!/usr/bin/env python3
"""Checks who includes whom: the table of docs/architecture.md, file by file.

    includes_test.py [ROOT]

Exit status 1 with one line per include that points upwards or sideways.
"""
import pathlib
import re
import sys

# Room -> rooms that its files may include besides themselves and the public headers. Third-party headers are not looked at.
ALLOWED = {
    "lib/include": [],
    "lib/base": [],
    "formats": ["lib/base"],
    "quant": ["lib/base"],
    "lib/text": ["lib/base", "formats"],
    "lib/model": ["lib/base", "formats", "quant", "lib/text"],
    "infer": ["lib/base", "quant", "lib/model"],
    "lib/jobs": ["lib/base", "formats", "quant", "lib/text", "lib/model", "infer"],
    "lib": [],
    "tools": ["lib/jobs"],
}
# Folders of a room in their order: files of one may include those of the ones before it. "": the room's own. Others stand alone.
ORDER = {"lib/text": ["regex", "spec", "components", "models", "", "published", "gguf"]}
# What of lib/model the engine may see: the model as a GGUF would hold it, and its layers.
ENGINE_SEES = {"lib/model/model_source.h", "lib/model/layer_spec.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)
SUFFIXES = {".cc", ".h", ".inc"}


def room_of(path):
    """The room of a path relative to the root; the longest name wins. None outside of all rooms."""
    for room in sorted(ALLOWED, key=len, reverse=True):
        if path == room or path.startswith(room + "/"):
            return room
    return None


def resolve(root, name):
    """The file of the project that `name` means, relative to the root; None for third-party headers."""
    for base in ("", "lib/include/"):
        if (root / (base + name)).is_file():
            return base + name
    return None


def against_order(room, here, target):
    """Whether a file of a room includes one that comes after it, or belongs to a folder that stands alone."""
    folders = [pathlib.PurePosixPath(path).relative_to(room).parent.as_posix() for path in (here, target)]
    first, second = ["" if folder == "." else folder for folder in folders]
    order = ORDER.get(room)
    if order is None or first == second:
        return False
    return first not in order or second not in order or order.index(second) > order.index(first)


def complaints(root):
    """One sentence for each include that is not allowed, and the number of files read."""
    found, files = [], 0
    for top in sorted({room.split("/")[0] for room in ALLOWED}):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            files += 1
            here = path.relative_to(root).as_posix()
            room = room_of(here)
            for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
                target = resolve(root, name)
                if target is None:
                    if (path.parent / name).is_file():
                        found.append(f'{here}: "{name}" is not written from the root of the repository')
                    continue
                other = room_of(target)
                if other is None:
                    found.append(f"{here}: includes {target}, which is in no room")
                elif other not in (room, "lib/include", *ALLOWED[room]):
                    found.append(f"{here}: {room} may not include {target}")
                elif other == room and against_order(room, here, target):
                    found.append(f"{here}: may not include {target}, which comes after it in {room}")
                elif room == "infer" and other == "lib/model" and target not in ENGINE_SEES:
                    found.append(f"{here}: the engine sees of lib/model only {', '.join(sorted(ENGINE_SEES))}, not {target}")
    return found, files


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    found, files = complaints(root)
    for line in found:
        print(line)
    print(f"{files} files, {len(found)} includes that are not allowed")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
