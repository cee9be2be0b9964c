"""Operators of the user's own: a function and a shape rule, optionally a compiled library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from colonnade.engine.scheduler import Stream
from colonnade.errors import CapabilityError, ModelError, RunError
from colonnade.ir import AttrValue, Graph, Node, TensorType, is_static
from colonnade.passes.specialise import InferFn

Attrs = Mapping[str, AttrValue]


@dataclass(frozen=True)
class CustomOp:
    """An operator that ONNX does not know.

    `types(input_types, attrs)` returns the TensorType of each output.
    `function(inputs, attrs)` returns the output arrays.
    `library`: path of a shared library to run instead of `function`, once the shapes are static. It
    exports `name` with C linkage:

        int name(int num_inputs, const void* const* inputs, const int64_t* const* input_shapes,
                 const int* input_ranks, int num_outputs, void* const* outputs,
                 const int64_t* const* output_shapes, const int* output_ranks);

    and returns 0, or a number that the RunError repeats. Arrays are row-major and contiguous.
    """

    domain: str
    name: str
    types: Callable[[Sequence[TensorType], Attrs], Sequence[TensorType]]
    function: Callable[[Sequence[np.ndarray], Attrs], Sequence[np.ndarray]]
    library: str | None = None


class CustomStep:
    """One node of a custom operator."""

    def __init__(self, node: Node, op: CustomOp, graph: Graph) -> None:
        self._node = node
        self._op = op
        self._constants = {v: graph.constants[v] for v in node.inputs if v in graph.constants}
        self._types = [graph.types[out] for out in node.outputs]
        self._native = _load_function(op) if op.library and self._is_static() else None

    def _is_static(self) -> bool:
        return all(is_static(known.shape) for known in self._types)

    def run(self, values: Mapping[str, np.ndarray], _: Stream) -> dict[str, np.ndarray]:
        """The node's outputs."""
        inputs = [
            np.asarray(self._constants[v] if v in self._constants else values[v], order="C")
            for v in self._node.inputs
            if v
        ]
        made = self._call_library(inputs) if self._native else self._call_function(inputs)
        return dict(zip(self._node.outputs, made, strict=True))

    def _call_function(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        try:
            made = [
                np.asarray(array, order="C")
                for array in self._op.function(inputs, self._node.attrs)
            ]
        except Exception as error:
            raise RunError(f"{self._node}: its function failed: {error}") from error
        if len(made) != len(self._types):
            raise RunError(f"{self._node}: {len(made)} arrays for {len(self._types)} outputs")
        for array, known, out in zip(made, self._types, self._node.outputs, strict=True):
            is_shaped = not is_static(known.shape) or array.shape == known.shape
            if array.dtype != known.dtype.numpy or not is_shaped:
                got = f"{array.dtype}{list(array.shape)}"
                raise RunError(f"{self._node}: {out!r} is {got}, expected {known}")
        return made

    def _call_library(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        outputs = [
            np.empty(cast(tuple[int, ...], known.shape), known.dtype.numpy) for known in self._types
        ]
        assert self._native is not None
        code = self._native(*_c_arrays(inputs), *_c_arrays(outputs))
        if code:
            raise RunError(f"{self._node}: its library returned {code}")
        return outputs


def _load_function(op: CustomOp) -> Callable[..., int]:
    try:
        function = getattr(ctypes.CDLL(op.library or ""), op.name)
    except (OSError, AttributeError) as error:
        raise CapabilityError(f"custom operator {op.domain}.{op.name}: {error}") from error
    function.restype = ctypes.c_int
    return cast(Callable[..., int], function)


def _c_arrays(arrays: Sequence[np.ndarray]) -> tuple[object, ...]:
    """Count, data pointers, shapes and ranks as C arguments."""
    count = len(arrays)
    shapes = [(ctypes.c_int64 * max(a.ndim, 1))(*a.shape) for a in arrays]
    return (
        ctypes.c_int(count),
        (ctypes.c_void_p * count)(*(a.ctypes.data for a in arrays)),
        (ctypes.POINTER(ctypes.c_int64) * count)(
            *(ctypes.cast(s, ctypes.POINTER(ctypes.c_int64)) for s in shapes)
        ),
        (ctypes.c_int * count)(*(a.ndim for a in arrays)),
    )


def infer_with(custom_ops: Mapping[tuple[str, str], CustomOp], infer: InferFn) -> InferFn:
    """`infer`, and the custom operators' own shape rules."""

    def infer_any(
        node: Node,
        types: Mapping[str, TensorType],
        values: Mapping[str, np.ndarray],
        opset: int,
    ) -> Mapping[str, TensorType]:
        op = custom_ops.get((node.domain, node.op))
        if op is None:
            return infer(node, types, values, opset)
        made = op.types([types[value] for value in node.inputs if value], node.attrs)
        if len(made) != len(node.outputs):
            raise ModelError(
                f"its shape rule gave {len(made)} types for {len(node.outputs)} outputs",
                node=node.name,
                op=node.op,
            )
        return dict(zip(node.outputs, made, strict=True))

    return infer_any
