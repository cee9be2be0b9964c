"""What ONNX says about an operator, in a form that is quick to look up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import onnx

from colonnade.onnx.contrib import CONTRIB_OPS

ONNX_DOMAIN = ""
ML_DOMAIN = "ai.onnx.ml"
CONTRIB_DOMAIN = "com.microsoft"

MIN_OPSET, MAX_OPSET = 1, 26
MAX_ML_OPSET = 5
MAX_CONTRIB_OPSET = 1

_WITHDRAWN = frozenset(("Upsample", "Scatter"))
"""Deprecated operators that nothing runs any more; the others are still in use."""

_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


@dataclass(frozen=True, slots=True)
class Parameter:
    """One formal input: its type variable (or type) and the types that it takes."""

    type_name: str
    types: frozenset[str]
    is_optional: bool
    is_homogeneous: bool


@dataclass(frozen=True, slots=True)
class OpSchema:
    """One operator at one opset."""

    definition: onnx.defs.OpSchema
    min_inputs: int
    max_inputs: int
    min_outputs: int
    max_outputs: int
    parameters: tuple[Parameter, ...]
    attributes: dict[str, int]
    """AttributeProto type by name."""
    required: tuple[str, ...]

    def parameter(self, index: int) -> Parameter | None:
        """The formal input for an actual one; the last, where that is variadic."""
        if not self.parameters:
            return None
        return self.parameters[min(index, len(self.parameters) - 1)]


@lru_cache(maxsize=4096)
def find_schema(op: str, domain: str, version: int) -> OpSchema | None:
    """The schema of `op` at this opset; None when there is none, or it is withdrawn there."""
    try:
        found = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None
    if found.deprecated and op in _WITHDRAWN:
        return None
    attributes = found.attributes
    return OpSchema(
        definition=found,
        min_inputs=found.min_input,
        max_inputs=found.max_input,
        min_outputs=found.min_output,
        max_outputs=found.max_output,
        parameters=tuple(_parameter(formal) for formal in found.inputs),
        attributes={name: _kind(a) for name, a in attributes.items()},
        required=tuple(name for name, a in attributes.items() if a.required),
    )


def _kind(attribute: onnx.defs.OpSchema.Attribute) -> int:
    """The AttributeProto type: the same number by another enumeration."""
    return int(attribute.type.value)  # type: ignore[attr-defined]  # the stubs miss the enum base


def _parameter(formal: onnx.defs.OpSchema.FormalParameter) -> Parameter:
    return Parameter(
        type_name=formal.type_str,
        types=frozenset(formal.types),
        is_optional=formal.option == _OPTIONAL,
        is_homogeneous=formal.is_homogeneous,
    )


@lru_cache(maxsize=4096)
def find_other_domain(op: str) -> str | None:
    """A domain that has an operator of this name, for the hint in an error."""
    for domain in (ONNX_DOMAIN, ML_DOMAIN):
        if onnx.defs.has(op, domain):
            return domain
    return CONTRIB_DOMAIN if op in CONTRIB_OPS else None
