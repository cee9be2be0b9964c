"""Recurrent layers, in float64: simple, GRU and LSTM, both directions, ragged lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    float_attr,
    floats_attr,
    has_attr,
    int_attr,
    int_list,
    str_attr,
    strs_attr,
)
from colonnade.reference.elementwise import (
    elu,
    hardsigmoid,
    leaky_relu,
    sigmoid,
    softplus,
    thresholded_relu,
)
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import narrow, wide

Activation = Callable[[np.ndarray], np.ndarray]
State = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Weights:
    """One direction's weights: of the input, of the state, both biases, and the peepholes."""

    w: np.ndarray
    r: np.ndarray
    wb: np.ndarray
    rb: np.ndarray
    p: np.ndarray | None


Step = Callable[[Node, Sequence[Activation], Weights, np.ndarray, State], State]
"""(node, activations, weights, input [batch, features], state) -> next state."""


def recurrent_layer(
    step: Step, num_gates: int, num_states: int, defaults: tuple[str, ...]
) -> Operation:
    """The operation that walks `step` over time, in both directions where the node says so."""

    def evaluate(
        node: Node,
        x: np.ndarray,
        w: np.ndarray,
        r: np.ndarray,
        b: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        initial_h: np.ndarray | None = None,
        initial_c: np.ndarray | None = None,
        p: np.ndarray | None = None,
    ) -> Outputs:
        is_batch_first = bool(int_attr(node, "layout", 0))
        sequence = wide(np.swapaxes(x, 0, 1) if is_batch_first else x)
        steps, batch = sequence.shape[:2]
        directions, hidden = w.shape[0], r.shape[-1]
        if w.shape[1] != num_gates * hidden or sequence.shape[2] != w.shape[2]:
            raise EvaluationError(f"weights {list(w.shape)} and {list(r.shape)} on {list(x.shape)}")
        bias = np.zeros((directions, 2 * num_gates * hidden)) if b is None else wide(b)
        counts = [steps] * batch if lengths is None else int_list(lengths)
        starts = [
            np.zeros((directions, batch, hidden))
            if state is None
            else wide(np.swapaxes(state, 0, 1) if is_batch_first else state)
            for state in (initial_h, initial_c)[:num_states]
        ]
        y = np.zeros((steps, directions, batch, hidden))
        finals = [np.zeros((directions, batch, hidden)) for _ in range(num_states)]
        functions = _activations(node, defaults, directions)
        for d, is_reverse in enumerate(_reversals(node, directions)):
            half = num_gates * hidden
            weights = Weights(
                wide(w[d]),
                wide(r[d]),
                bias[d, :half],
                bias[d, half:],
                None if p is None else wide(p[d]),
            )
            mine = functions[d * len(defaults) : (d + 1) * len(defaults)]
            state: State = tuple(start[d] for start in starts)
            for at, rows in _walk(counts, steps, is_reverse):
                inner = tuple(part[rows] for part in state)
                moved = step(node, mine, weights, sequence[at, rows], inner)
                y[at, d, rows] = moved[0]
                state = tuple(_replaced(a, rows, b) for a, b in zip(state, moved, strict=True))
            for final, part in zip(finals, state, strict=True):
                final[d] = part
        if is_batch_first:
            y = y.transpose(2, 0, 1, 3)
            finals = [np.swapaxes(final, 0, 1) for final in finals]
        return tuple(narrow(out, x.dtype) for out in (y, *finals))

    return evaluate


def _replaced(whole: np.ndarray, rows: np.ndarray, part: np.ndarray) -> np.ndarray:
    result = whole.copy()
    result[rows] = part
    return result


def _walk(
    counts: list[int], steps: int, is_reverse: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each step: times and batch rows; a reverse walk starts at each row's own end."""
    lengths = np.array(counts)
    if lengths.size and not (lengths.min() >= 0 and lengths.max() <= steps):
        raise EvaluationError(f"sequence lengths {counts} of {steps} steps")
    for step in range(steps):
        rows = np.nonzero(lengths > step)[0]
        at = lengths[rows] - 1 - step if is_reverse else np.full(rows.shape, step)
        if rows.size:
            yield at, rows


def _reversals(node: Node, directions: int) -> tuple[bool, ...]:
    known = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    direction = str_attr(node, "direction", "forward")
    if direction not in known or len(known[direction]) != directions:
        raise EvaluationError(f"direction {direction!r} with weights of {directions} directions")
    return known[direction]


_PLAIN: dict[str, Activation] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": softplus,
}
_WITH_ALPHA: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float]] = {
    "leakyrelu": (leaky_relu, 0.01),
    "thresholdedrelu": (thresholded_relu, 1.0),
    "elu": (elu, 1.0),
}
_WITH_BOTH: dict[str, tuple[Callable[[np.ndarray, float, float], np.ndarray], float, float]] = {
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (hardsigmoid, 0.2, 0.5),
}


def _activations(node: Node, defaults: tuple[str, ...], directions: int) -> list[Activation]:
    """The functions of all directions; each takes the next alpha and beta that it needs."""
    names = strs_attr(node, "activations", defaults * directions)
    if len(names) != len(defaults) * directions:
        raise EvaluationError(f"{len(names)} activations for {directions} directions")
    alphas = iter(floats_attr(node, "activation_alpha", ()))
    betas = iter(floats_attr(node, "activation_beta", ()))
    return [_activation(name.lower(), alphas, betas) for name in names]


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _WITH_ALPHA:
        function, default = _WITH_ALPHA[name]
        alpha = next(alphas, default)
        return lambda x: function(x, alpha)
    if name in _WITH_BOTH:
        both, first, second = _WITH_BOTH[name]
        a, b = next(alphas, first), next(betas, second)
        return lambda x: both(x, a, b)
    raise EvaluationError(f"activation {name!r} is unknown")


def clipped(node: Node, x: np.ndarray) -> np.ndarray:
    """An argument of a function, within the layer's limit."""
    if not has_attr(node, "clip"):
        return x
    limit = float_attr(node, "clip")
    return np.asarray(np.clip(x, -limit, limit))


def rnn_step(
    node: Node, functions: Sequence[Activation], weights: Weights, x: np.ndarray, state: State
) -> State:
    """The plain RNN."""
    (h,) = state
    total = x @ weights.w.T + h @ weights.r.T + weights.wb + weights.rb
    return (functions[0](clipped(node, total)),)


def _gru_step(
    node: Node, functions: Sequence[Activation], weights: Weights, x: np.ndarray, state: State
) -> State:
    f, g = functions
    (h,) = state
    wz, wr, wh = np.split(x @ weights.w.T + weights.wb, 3, axis=1)
    rz, rr, rh = np.split(weights.r, 3)
    bz, br, bh = np.split(weights.rb, 3)
    z = f(clipped(node, wz + h @ rz.T + bz))
    reset = f(clipped(node, wr + h @ rr.T + br))
    if int_attr(node, "linear_before_reset", 0):
        hidden = g(clipped(node, wh + reset * (h @ rh.T + bh)))
    else:
        hidden = g(clipped(node, wh + (reset * h) @ rh.T + bh))
    return ((1 - z) * hidden + z * h,)


def lstm_step(
    node: Node, functions: Sequence[Activation], weights: Weights, x: np.ndarray, state: State
) -> State:
    """LSTM; h enters the products only."""
    f, g, last = functions
    h, c = state
    total = x @ weights.w.T + h @ weights.r.T + weights.wb + weights.rb
    to_i, to_o, to_f, to_c = np.split(total, 4, axis=1)
    peep_i, peep_o, peep_f = np.zeros(3) if weights.p is None else np.split(weights.p, 3)
    i = f(clipped(node, to_i + peep_i * c))
    forget = 1 - i if int_attr(node, "input_forget", 0) else f(clipped(node, to_f + peep_f * c))
    cell = forget * c + i * g(clipped(node, to_c))
    o = f(clipped(node, to_o + peep_o * cell))
    return o * last(cell), cell


def _recurrent(
    node: Node,
    gates: np.ndarray,
    r: np.ndarray,
    *rest: np.ndarray | None,
) -> Outputs:
    """colonnade.Recurrent; rest: hidden_bias, peepholes, lengths, h0, c0."""
    layer = OPS["", str_attr(node, "kind", "LSTM")]
    return walk_gates(layer, node, gates, wide(r), *rest)


def walk_gates(
    layer: Operation,
    node: Node,
    gates: np.ndarray,
    r: np.ndarray,
    hidden_bias: np.ndarray | None = None,
    peepholes: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
) -> Outputs:
    """A layer whose input is the gates' share already. r: [directions, hidden, G * hidden]."""
    kind = str_attr(node, "kind", "LSTM")
    directions, hidden, rows = r.shape
    w = np.eye(directions * rows).reshape(directions, rows, -1)
    b = np.zeros((directions, 2 * rows))
    if hidden_bias is not None:
        b[:, -hidden:] = hidden_bias
    attrs = dict(node.attrs)
    if kind == "RNN":
        attrs["activations"] = (str_attr(node, "activation", "tanh"),) * directions
    states = (h0, c0, peepholes) if kind == "LSTM" else (h0,)
    return layer(replace(node, attrs=attrs), gates, w, np.swapaxes(r, 1, 2), b, lengths, *states)


OPS: Operations = {
    ("colonnade", "Recurrent"): _recurrent,
    ("", "RNN"): recurrent_layer(rnn_step, 1, 1, ("Tanh",)),
    ("", "GRU"): recurrent_layer(_gru_step, 3, 1, ("Sigmoid", "Tanh")),
    ("", "LSTM"): recurrent_layer(lstm_step, 4, 2, ("Sigmoid", "Tanh", "Tanh")),
}
