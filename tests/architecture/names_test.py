#!/usr/bin/env python3
"""Checks that no type has two definitions: two structures of one name in different rooms link without a word, and one is then used for the other.

    names_test.py [ROOT]

Exit status 1 with one line per name. Types in anonymous namespaces and nested ones are not looked at.
"""
import collections
import pathlib
import re
import sys

ROOMS = ["formats", "infer", "lib", "quant", "tools"]
NAMESPACE = re.compile(r"namespace (?:([\w:]+) )?\{")
END = re.compile(r"\}\s*// namespace")
TYPE = re.compile(r"(?:struct|class|enum class|union)\s+(?:SMELT_EXPORT\s+)?(\w+)(?!\w|::)(?=[^;]*$)")


def types(text):
    """Qualified names of the types that begin a line of a namespace with a name."""
    spaces = []
    for line in text.splitlines():
        if space := NAMESPACE.match(line):
            spaces.append(space[1])
        elif END.match(line) and spaces:
            spaces.pop()
        elif (found := TYPE.match(line)) and None not in spaces:
            yield "::".join([*spaces, found[1]])


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
    where, files = collections.defaultdict(set), 0
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in (".h", ".cc"):
                files += 1
                for name in types(path.read_text()):
                    where[name].add(path.relative_to(root).as_posix())
    twice = {name: paths for name, paths in where.items() if len(paths) > 1}
    for name, paths in twice.items():
        print(f"{name} is defined in {' and in '.join(sorted(paths))}")
    print(f"{files} files, {len(where)} types, {len(twice)} defined twice")
    return 1 if twice or len(where) < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
