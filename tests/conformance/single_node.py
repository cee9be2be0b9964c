"""One node as a model: the native engine against the numpy reference, both by the public API."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import colonnade
from tolerance import tolerance

OPSET = 21


def make_model(
    op: str,
    inputs: Sequence[np.ndarray | None],
    num_outputs: int = 1,
    *,
    constant: Collection[int] = (),
    opset: int = OPSET,
    **attrs: Any,
) -> onnx.ModelProto:
    """Inputs whose number is in `constant` become initializers, None an absent input."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    values = [
        helper.make_tensor_value_info(
            f"x{i}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for i, array in enumerate(inputs)
        if array is not None and i not in constant
    ]
    weights = [
        numpy_helper.from_array(array, f"x{i}")
        for i, array in enumerate(inputs)
        if array is not None and i in constant
    ]
    outputs = [f"y{i}" for i in range(num_outputs)]
    node = helper.make_node(op, names, outputs, name="node", **attrs)
    graph = helper.make_graph(
        [node], "single", values, [onnx.ValueInfoProto(name=name) for name in outputs], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def feeds_of(inputs: Sequence[np.ndarray | None], constant: Collection[int]) -> dict[str, Any]:
    """What the model above is fed."""
    return {
        f"x{i}": array for i, array in enumerate(inputs) if array is not None and i not in constant
    }


def assert_native(
    op: str,
    inputs: Sequence[np.ndarray | None],
    num_outputs: int = 1,
    *,
    constant: Collection[int] = (),
    terms: int = 0,
    threads: int = 1,
    opset: int = OPSET,
    **attrs: Any,
) -> None:
    """The node runs without fallback and agrees with the reference.

    Floats may differ by the bound of a sum of `terms` products; with none they are equal.
    """
    model = make_model(op, inputs, num_outputs, constant=constant, opset=opset, **attrs)
    feeds = feeds_of(inputs, constant)
    engine = colonnade.compile(model, threads=threads, fallback="forbid")
    got = engine.run(feeds)
    want = colonnade.compile(model, runtime="reference").run(feeds)
    for name, expected in want.items():
        made = got[name]
        assert made.dtype == expected.dtype
        assert made.shape == expected.shape
        if terms and expected.dtype.kind == "f":
            top = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=1.0))
            bound = tolerance(terms, top, 1.0, expected.dtype)
            np.testing.assert_allclose(made, expected, rtol=0, atol=bound)
        else:
            np.testing.assert_array_equal(made, expected)
