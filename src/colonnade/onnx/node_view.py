"""A node as the rules see it: attributes, constant inputs, shapes where they are certain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget
from colonnade.onnx.tensors import TensorReader, format_bytes, numpy_of
from colonnade.onnx.wire import Payloads

_MAX_VALUE_ELEMENTS = 1 << 16
"""Constants above this are weights, whose values no rule reads."""
MAX_SIZE_ATTRIBUTE = (1 << 31) - 1

KnownShape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is certain of a value: element type (0 when unknown) and shape."""

    elem_type: int
    shape: KnownShape | None


@dataclass
class Values:
    """What is known of the values of one graph; a body looks outwards through `parent`."""

    reader: TensorReader | None
    parent: Self | None = None
    payloads: Mapping[str, Payloads] = field(default_factory=dict)
    """Values of constants of this graph that are not in the message, by name."""
    known: dict[str, Known] = field(default_factory=dict)
    tensors: dict[str, TensorProto | np.ndarray] = field(default_factory=dict)

    def find(self, name: str) -> Known | None:
        """What is certain of a value."""
        scope: Values | None = self
        while scope is not None:
            if name in scope.known:
                return scope.known[name]
            scope = scope.parent
        return None

    def constant(self, name: str) -> np.ndarray | None:
        """The values of a small numeric constant."""
        scope: Values | None = self
        while scope is not None:
            found = scope.tensors.get(name)
            if isinstance(found, TensorProto) and self.reader is not None:
                found = scope.tensors[name] = self.reader.read(found)
            if found is not None:
                return found
            scope = scope.parent
        return None

    def add_tensor(self, name: str, tensor: TensorProto) -> None:
        """A constant tensor that passed its checks; values are kept for small ones only."""
        self.known[name] = Known(tensor.data_type, tuple(tensor.dims))
        is_small = math.prod(tensor.dims) <= _MAX_VALUE_ELEMENTS
        if is_small and name not in self.payloads and tensor.data_type != TensorProto.STRING:
            self.tensors[name] = tensor

    def add_array(self, name: str, array: np.ndarray, elem_type: int) -> None:
        """A constant given as plain numbers."""
        self.known[name] = Known(elem_type, array.shape)
        self.tensors[name] = array


@dataclass(frozen=True)
class NodeView:
    """One node, to be judged by the rules."""

    node: NodeProto
    label: str
    version: int
    values: Values
    budget: Budget

    @property
    def op(self) -> str:
        return self.node.op_type

    @cached_property
    def attributes(self) -> dict[str, AttributeProto]:
        """By name; those that refer to a function's attribute are left out."""
        return {a.name: a for a in self.node.attribute if not a.ref_attr_name}

    def has(self, name: str) -> bool:
        """True when the attribute is given, here or by reference."""
        return any(a.name == name for a in self.node.attribute)

    def int_attribute(self, name: str, default: int) -> int:
        """An integer attribute."""
        found = self.attributes.get(name)
        return int(found.i) if found is not None else default

    def float_attribute(self, name: str, default: float) -> float:
        """A number attribute."""
        found = self.attributes.get(name)
        return float(found.f) if found is not None else default

    def ints_attribute(self, name: str) -> tuple[int, ...] | None:
        """An integer list; None when it is not given."""
        found = self.attributes.get(name)
        return tuple(found.ints) if found is not None else None

    def text_attribute(self, name: str, default: str) -> str:
        """A string attribute."""
        found = self.attributes.get(name)
        return found.s.decode("utf-8", "replace") if found is not None else default

    def has_input(self, index: int) -> bool:
        """True when the input is not absent."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def known(self, index: int) -> Known | None:
        """What is certain of an input."""
        return self.values.find(self.node.input[index]) if self.has_input(index) else None

    def shape(self, index: int) -> KnownShape | None:
        """Shape of an input, where that is certain; None for each dimension that is not."""
        known = self.known(index)
        return known.shape if known else None

    def itemsize(self, index: int) -> int:
        """Bytes of an input's elements; 1 when unknown."""
        known = self.known(index)
        return numpy_of(known.elem_type).itemsize if known and known.elem_type else 1

    def constant(self, index: int) -> np.ndarray | None:
        """The values of a small constant input."""
        return self.values.constant(self.node.input[index]) if self.has_input(index) else None

    def int_constant(self, index: int) -> list[int] | None:
        """A constant list of integers (or a scalar, as a list of one)."""
        found = self.constant(index)
        if found is None or found.dtype.kind not in "iu":
            return None
        if found.ndim > 1:
            raise self.error(f"input {index} has {found.ndim} dimensions, expected 1")
        return [int(value) for value in found.reshape(-1)]

    def error(self, reason: str, attribute: str | None = None) -> ModelError:
        """The error that names this node."""
        op = f"{self.op}, opset {self.version}" if self.version else self.op
        return ModelError(reason, node=self.label, op=op, attribute=attribute)

    def check_size(self, dims: Iterable[int], itemsize: int, what: str = "its output") -> None:
        """Raise ModelError when a tensor of at least these dimensions is above the budget."""
        num_bytes = math.prod(dims) * itemsize
        if num_bytes > self.budget.max_tensor_bytes:
            raise self.error(
                f"{what} needs {format_bytes(num_bytes)}, "
                f"budget {format_bytes(self.budget.max_tensor_bytes)}"
            )


def at_least(shape: KnownShape) -> list[int]:
    """The smallest non-empty shape that fits."""
    return [1 if dim is None else dim for dim in shape]
