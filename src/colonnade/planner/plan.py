"""The Plan: buffers, constants and a small statement tree. No ONNX, no names, no Python.

The native executor reads a Plan as flat 64-bit words (`encode_plan`); `native/exec/plan.h` is the
other side of this file. A Plan is specific to one shape and one instruction set.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

Param = int | float | bool | tuple["Param", ...]


class Space(enum.IntEnum):
    """Where a buffer lives."""

    ARENA = 0
    CONSTANT = 1
    INPUT = 2
    OUTPUT = 3
    WINDOW = 4


@dataclass(frozen=True, slots=True)
class Buffer:
    """`nbytes` at `offset` of the arena, or constant / input / output number `index`.

    WINDOW: a tensor of `nbytes`, of which `index` panels at a time are kept at `offset` of the
    thread's windows, inside one Stripe.
    """

    space: Space
    nbytes: int
    offset: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel adapter on some buffers; operand -1 marks an absent one."""

    kernel: str
    operands: tuple[int, ...]
    params: tuple[Param, ...]
    label: str


class Split(enum.IntEnum):
    """How a ParallelFor deals out its work."""

    UNITS = 0
    """One call, its units dealt dynamically."""
    COLUMNS = 1
    """Every call works on whole panels; a thread keeps its panels in all of them, no barrier."""


@dataclass(frozen=True, slots=True)
class ParallelFor:
    """Run `body` on all threads, then a barrier. COLUMNS: `panels` are split once for all."""

    body: tuple[Call, ...]
    split: Split
    panels: int = 0


@dataclass(frozen=True, slots=True)
class Stripe:
    """Run all of `body` over `stripe_panels` panels of its final outputs, then over the next.

    The final outputs' `panels` are dealt to the threads in `segments`. What the calls make for each
    other lives in windows. See `native/exec/stripe.h`.
    """

    body: tuple[Call, ...]
    panels: int
    stripe_panels: int
    segments: int


@dataclass(frozen=True, slots=True)
class Seq:
    """Statements in order."""

    body: tuple[Statement, ...]


Statement = Seq | ParallelFor | Stripe


@dataclass(frozen=True)
class Plan:
    """What the native executor runs. Constants are packed arrays; their order is their number."""

    buffers: tuple[Buffer, ...]
    constants: tuple[np.ndarray, ...]
    num_inputs: int
    num_outputs: int
    arena_bytes: int
    body: Seq
    isa: str
    labels: tuple[str, ...] = field(default=())

    def calls(self) -> Iterator[Call]:
        """Every call, in order."""
        return _calls(self.body)


def _calls(statement: Statement) -> Iterator[Call]:
    if not isinstance(statement, Seq):
        yield from statement.body
        return
    for child in statement.body:
        yield from _calls(child)


_MAGIC = 0x434F4C4E  # "COLN"
PLAN_VERSION = 2
_SEQ, _PARALLEL, _STRIPE = 1, 2, 3


def encode_plan(plan: Plan) -> np.ndarray:
    """The plan without its constants' bytes, as int64 words. See `native/exec/plan.h`."""
    words: list[int] = [_MAGIC, PLAN_VERSION, plan.arena_bytes, plan.num_inputs, plan.num_outputs]
    words.append(len(plan.constants))
    words.append(len(plan.buffers))
    for buffer in plan.buffers:
        words += [int(buffer.space), buffer.index, buffer.offset, buffer.nbytes]
    _encode_statement(plan.body, words)
    return np.array(words, dtype=np.int64)


def _encode_statement(statement: Statement, words: list[int]) -> None:
    if isinstance(statement, Seq):
        words += [_SEQ, len(statement.body)]
        for child in statement.body:
            _encode_statement(child, words)
        return
    if isinstance(statement, Stripe):
        words += [_STRIPE, statement.panels, statement.stripe_panels, statement.segments]
    else:
        words += [_PARALLEL, int(statement.split), statement.panels]
    words.append(len(statement.body))
    for call in statement.body:
        _encode_call(call, words)


def _encode_call(call: Call, words: list[int]) -> None:
    params = encode_params(call.params)
    _encode_text(call.kernel, words)
    _encode_text(call.label, words)
    words += [len(call.operands), *call.operands, len(params), *params]


def _encode_text(text: str, words: list[int]) -> None:
    raw = text.encode()
    words.append(len(raw))
    padded = raw + b"\0" * (-len(raw) % 8)
    words += struct.unpack(f"<{len(padded) // 8}q", padded)


def encode_params(params: tuple[Param, ...]) -> list[int]:
    """Integers as they are, floats as the bits of a double, tuples with their length first."""
    words: list[int] = []
    for param in params:
        if isinstance(param, tuple):
            words += [len(param), *encode_params(param)]
        elif isinstance(param, float):
            words += struct.unpack("<q", struct.pack("<d", param))
        else:
            words.append(int(param))
    return words
