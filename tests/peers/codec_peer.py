#!/usr/bin/env python3
"""Our encoders against llama.cpp's, without importance: the error of every matrix of fixtures/quant/matrices.safetensors.

    codec_peer.py --smelt PROGRAM --shared DIR --work DIR [--factor 1.02] [--type T]...

Needs gguf, numpy.
"""
import json
import subprocess
import sys

import peers

TYPES = "q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k".split()
PRESET = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}


def main():
    a = peers.parser(__doc__)
    a.add_argument("--factor", default="1.02")
    a.add_argument("--type", action="append")
    a = a.parse_args()
    p, checks = peers.Peers(a), peers.Checks()
    for kind in a.type or TYPES:
        path = p.work / f"matrices-{kind}.gguf"
        try:
            p.smelt("quantize", p.fixture("quant/matrices.safetensors"), "--pure", "--type", PRESET.get(kind, kind), "--validate", "off",
                    "-o", path, "--force", "--quiet")
        except peers.Failed as e:
            checks.check(False, f"{kind}: {e}")
            continue
        r = subprocess.run([sys.executable, p.shared / "tools/quant_error.py", path, "--factor", a.factor, "--json"], capture_output=True, text=True)
        cells = json.loads(r.stdout)["cells"] if r.stdout else []
        ratios = [c["ratio"] for c in cells if c["ratio"]]
        worse = [(c["matrix"], c["type"], round(c["ratio"], 4)) for c in cells if not c["passed"] and c["ratio"]]
        checks.check(r.returncode == 0 and ratios, f"{kind}: error {min(ratios, default=0):.4f} to {max(ratios, default=0):.4f} of llama.cpp's "
                     f"on {len(cells)} matrices (allowed {a.factor}); worse: {worse} {r.stderr[-300:]}")
        path.unlink()
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
