"""Runs one model on saved inputs in a process of its own, where the ISA cap is set.

    python run_cases.py MODEL.onnx CASES_DIR

reads CASE.in.npz, writes CASE.out.npz beside it, and prints the ISA and what did not run natively.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import colonnade


def main(model: str, folder: Path) -> None:
    """All cases through one engine, twice each: the second run reuses plan and buffers."""
    engine = colonnade.compile(model, threads=2)
    for case in sorted(folder.glob("*.in.npz")):
        feeds = dict(np.load(case))
        first, second = engine.run(feeds), engine.run(feeds)
        if any(not np.array_equal(first[name], second[name]) for name in first):
            raise SystemExit(f"{case.name}: the second run differs from the first")
        ordered = {f"output_{i}": first[info.name] for i, info in enumerate(engine.outputs)}
        np.savez(case.with_name(case.name.replace(".in.", ".out.")), **ordered)
    explained = engine.explain()
    print(json.dumps({"isa": explained.isa, "fallback": explained.num_fallback}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
