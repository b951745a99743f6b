#!/usr/bin/env python3
"""The type of every tensor, for every preset, as llama-quantize chooses it (tables recorded from its dry runs).

    presets_peer.py --smelt PROGRAM --shared DIR --work DIR MODEL_DIR=TABLE.json...

for example  build/smollm2=smollm2_presets.json; a TABLE is looked for in fixtures/real.
"""
import json
import sys

import peers


def main():
    a = peers.parser(__doc__)
    a.add_argument("models", nargs="+", metavar="MODEL_DIR=TABLE.json")
    a = a.parse_args()
    p, checks = peers.Peers(a), peers.Checks()
    for model in a.models:
        source, table = model.rsplit("=", 1)
        table = json.loads(p.fixture("real/" + table).read_text())
        for kind in peers.TYPES:
            entry = table["presets"].get(kind)
            if entry is None:
                continue
            want = dict(zip((t["name"] for t in table["tensors"]), entry["types"]))
            try:
                plan = p.smelt_json("convert", source, "--type", kind, "--dry-run")
            except peers.Failed as e:
                checks.check(False, f"{source} {kind}: {e}")
                continue
            ours = {t["name"]: t["type"].upper() for t in plan["tensors"]}
            different = [(n, ours.get(n), t) for n, t in want.items() if ours.get(n) != t]
            checks.check(not different and len(ours) == len(want),
                         f"{table['source']} {kind}: types of {len(want)} tensors; (name, ours, theirs) different: {different[:4]}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
