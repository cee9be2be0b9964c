"""Lowerings: from a node to a native kernel, one file per family.

`LOWERINGS` maps (domain, op) to its lowering; a node with none runs by fallback.
"""

from __future__ import annotations

from importlib import import_module

from colonnade.planner.choice import Lowering

_FAMILIES = (
    "conv",
    "matmul",
    "elementwise",
    "norm",
    "softmax",
    "attention",
    "pool",
    "rnn",
    "shape",
    "index",
    "integer",
    "quantized",
    "quantized_recurrent",
    "pair_product",
    "bytes",
    "borders",
    "quantize",
)


def _gather() -> dict[tuple[str, str], tuple[Lowering, ...]]:
    """Families in order: the first whose lowering takes a node wins."""
    gathered: dict[tuple[str, str], tuple[Lowering, ...]] = {}
    for family in _FAMILIES:
        module = import_module(f"{__name__}.{family}")
        for key, lowering in module.LOWERINGS.items():
            gathered[key] = (*gathered.get(key, ()), lowering)
    return gathered


LOWERINGS = _gather()
