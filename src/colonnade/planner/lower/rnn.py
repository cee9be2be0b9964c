"""Recurrent layers: the loop over time that is left once the input's product is apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from colonnade import _core
from colonnade.ir import Node
from colonnade.planner.choice import (
    Absent,
    Choice,
    Const,
    Fed,
    In,
    Lowering,
    Made,
    Operand,
    Out,
    Temp,
    Trial,
    View,
    make_trial,
)
from colonnade.planner.cost import (
    RECURRENT_NONZERO_COST,
    SPARSITY_TRIED,
    is_sparse_loop_expected,
)
from colonnade.planner.lower.attributes import integer, real, text
from colonnade.planner.lower.product import (
    Layer,
    ProductKernel,
    Variant,
    bucket,
    choose_product,
    find_facts,
)
from colonnade.planner.lower.sparse import find_sparsity
from colonnade.planner.plan import Param
from colonnade.planner.split import choose_recurrent_items

# Codes of RecurrentKind in native/kernels/rnn/rnn.h.
_RNN = {"tanh": 0, "relu": 1}
_LSTM, _GRU, _GRU_RESET_BEHIND = 2, 3, 4
_NUM_INPUTS, _NUM_OUTPUTS = 7, 3
STATES_KEPT = 4
"""Hidden states of work for each direction and batch item: see recurrent_work_floats."""
SPARSE_HIDDEN_MAX = 1 << 16
"""Hidden units whose places the sparse format can tell."""
_TRIAL_STEPS = 5
"""Steps of a measurement, the first of which has no product."""


@dataclass(frozen=True)
class _Sizes:
    kind: int
    steps: int
    batch: int
    hidden: int
    directions: int
    columns: int

    @property
    def r_floats(self) -> int:
        return self.directions * self.hidden * self.columns

    @property
    def work_floats(self) -> int:
        return STATES_KEPT * self.directions * self.batch * self.hidden


def lower_recurrent(node: Node, view: View) -> Choice | str:
    """colonnade.Recurrent: threads share hidden units and meet at each step, or batch items."""
    gates, r = node.inputs[:2]
    shape = view.shape(gates)
    directions, hidden, columns = view.shape(r)
    is_batch_first = integer(node, "layout", 0)
    steps, batch = (shape[1], shape[0]) if is_batch_first else shape[:2]
    sizes = _Sizes(kind_of(node), steps, batch, hidden, directions, columns)
    array = view.constant(r)
    loop = None if array is None else _choose_loop(node, r, array, sizes, view)
    inputs = (*node.inputs, *("",) * (_NUM_INPUTS - len(node.inputs)))
    outputs = (*node.outputs, *("",) * (_NUM_OUTPUTS - len(node.outputs)))
    operands: tuple[Operand, ...] = (
        In(gates),
        In(r) if loop is None else loop.packed,
        *(In(value) if value else Absent() for value in inputs[2:]),
        Temp(4 * (sizes.work_floats + (_packed_floats(sizes, view) if loop is None else 0))),
        *(Out(value) if value else Absent() for value in outputs),
    )
    flops = 2 * steps * batch * sizes.r_floats
    if loop is None or array is None:
        why = f"{_core.choose_recurrent(view.isa)[1]}, {_say(sizes, 0)}"
        return Choice("recurrent", operands, _params(node, sizes, 0), why, flops=flops)
    rows = array.transpose(0, 2, 1).reshape(-1, hidden)
    return Choice(
        "recurrent", operands, loop.head, loop.why, flops=flops, advisories=loop.advisories,
        weights=lambda: find_facts(loop, rows),
    )  # fmt: skip


def _choose_loop(
    node: Node, value: str, array: np.ndarray, sizes: _Sizes, view: View
) -> ProductKernel:
    """The loop over constant weights, dense or sparse; size: the number of steps."""
    sparsity = find_sparsity(array)
    dense = Variant("dense", partial(_dense_loop, node, value, array, sizes, view))
    sparse: tuple[Variant, ...] = ()
    if sparsity >= SPARSITY_TRIED and sizes.hidden <= SPARSE_HIDDEN_MAX and not view.strict_nan:
        make = partial(_sparse_loop, node, value, array, sizes, view)
        sparse = (Variant("sparse", make),)
    layer = Layer(
        f"recurrent{sizes.kind} h{sizes.hidden} d{sizes.directions} b{sizes.batch} "
        f"s{bucket(sparsity)}",
        sizes.steps, min(sizes.steps, _TRIAL_STEPS), partial(_loop_trial, sizes),
        f"{sparsity:.0%} zeros",
    )  # fmt: skip
    is_expected = is_sparse_loop_expected(sizes.batch, sparsity, view.isa)
    return choose_product(layer, dense, sparse, is_expected, view)


def _loop_trial(sizes: _Sizes, loop: ProductKernel) -> Trial:
    """Gates, weights, and the work, which holds the states."""
    steps = min(sizes.steps, _TRIAL_STEPS)
    gates = Fed(4 * steps * sizes.batch * sizes.directions * sizes.columns)
    states = (*(Absent(),) * 5, Made(4 * sizes.work_floats), *(Absent(),) * 3)
    return make_trial(loop.kernel, (gates, loop.packed, *states), loop.head)


def _dense_loop(
    node: Node, value: str, array: np.ndarray, sizes: _Sizes, view: View, steps: int, threads: int
) -> ProductKernel:
    lanes, name = _core.choose_recurrent(view.isa)

    def pack() -> np.ndarray:
        r = np.ascontiguousarray(array, np.float32)
        return _core.pack_recurrent(sizes.kind, r, sizes.directions, sizes.hidden, lanes)

    items = _choose_items(sizes, sizes.hidden * sizes.columns, threads)
    packed = Const((value, "recurrent", sizes.kind, lanes), pack)
    sized = replace(sizes, steps=steps)
    params = _params(node, sized, items)
    return ProductKernel("recurrent", params, packed, f"{name}, {_say(sized, items)}", 1)


def _sparse_loop(
    node: Node, value: str, array: np.ndarray, sizes: _Sizes, view: View, steps: int, threads: int
) -> ProductKernel:
    lanes, name = _core.choose_recurrent(view.isa)

    def pack() -> np.ndarray:
        r = np.ascontiguousarray(array, np.float32)
        return _core.pack_sparse_recurrent(sizes.kind, r, sizes.directions, sizes.hidden, lanes)

    density = 1.0 - find_sparsity(array)
    weights = int(RECURRENT_NONZERO_COST * density * sizes.hidden * sizes.columns)
    items = _choose_items(sizes, weights, threads)
    packed = Const((value, "recurrent_sparse", sizes.kind, lanes), pack)
    sized = replace(sizes, steps=steps)
    params = _params(node, sized, items, is_sparse=True)
    return ProductKernel("recurrent", params, packed, f"{name}, sparse, {_say(sized, items)}", 1)


def _choose_items(sizes: _Sizes, weights: int, threads: int) -> int:
    return choose_recurrent_items(sizes.directions, sizes.batch, weights, threads)


def _params(node: Node, sizes: _Sizes, items: int, *, is_sparse: bool = False) -> tuple[Param, ...]:
    is_reverse = int(text(node, "direction", "forward") == "reverse")
    clip = real(node, "clip", 0.0) or math.inf
    return (
        sizes.kind, sizes.steps, sizes.batch, sizes.hidden, sizes.directions, is_reverse,
        integer(node, "layout", 0), integer(node, "input_forget", 0), clip, items, int(is_sparse),
    )  # fmt: skip


def _packed_floats(sizes: _Sizes, view: View) -> int:
    lanes, _ = _core.choose_recurrent(view.isa)
    return _core.recurrent_packed_floats(sizes.kind, sizes.directions, sizes.hidden, lanes)


def _say(sizes: _Sizes, items: int) -> str:
    how = f"{items} items a unit" if items else "threads meet at each step"
    return f"{sizes.steps} steps of {sizes.hidden} units, {how}"


def kind_of(node: Node) -> int:
    """The code of the layer's RecurrentKind."""
    kind = text(node, "kind", "")
    if kind == "RNN":
        return _RNN[text(node, "activation", "tanh")]
    if kind == "LSTM":
        return _LSTM
    return _GRU_RESET_BEHIND if integer(node, "linear_before_reset", 0) else _GRU


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "Recurrent"): lower_recurrent}
