"""What the weights of a product decide: the kernel, apart from its operands and its epilogue."""

from __future__ import annotations

from dataclasses import dataclass

from colonnade.planner.choice import Const
from colonnade.planner.plan import Param


@dataclass(frozen=True)
class ProductKernel:
    """The part of a Choice that depends on the weights."""

    kernel: str
    """Name of the adapter."""
    head: tuple[Param, ...]
    """Its parameters up to the epilogue's."""
    packed: Const
    why: str
    blocks: int
    """Row blocks per panel: 1 keeps threads on their own columns."""
