"""Models rewritten by onnx itself: local functions inlined, very old opsets brought to a known one.

onnx's C++ inliner is linear in the expanded size; the ones in Python packages are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import FunctionProto, ModelProto, NodeProto, inliner, version_converter
from onnx.version_converter import ConvertError

from colonnade.errors import ModelError
from colonnade.onnx.schemas import ONNX_DOMAIN, find_schema
from colonnade.onnx.scopes import bodies

OLDEST_OPSET = 7
"""Older models are converted to it: broadcasting was an attribute then."""

_FAILURES = (ConvertError, ValueError, RuntimeError)
"""What onnx raises from C++."""


def inline_functions(model: ModelProto) -> ModelProto:
    """The model without local functions; the same object when it has none."""
    if not model.functions:
        return model
    try:
        inlined = inliner.inline_local_functions(model)
        if inlined.functions:  # those that were written for another opset
            _retarget(inlined)
            inlined = inliner.inline_local_functions(inlined, convert_version=True)
    except _FAILURES as error:
        raise ModelError(f"its local functions cannot be inlined: {_first_line(error)}") from error
    if inlined.functions:
        left = [function.name for function in inlined.functions]
        raise ModelError(f"local functions {left[:4]} need an opset that the model does not have")
    return inlined


def upgrade_opset(model: ModelProto, oldest: int = OLDEST_OPSET) -> ModelProto:
    """The model at opset `oldest` if it was older; else the same object."""
    version = _versions(model).get(ONNX_DOMAIN, oldest)
    if version >= oldest:
        return model
    try:
        return version_converter.convert_version(model, oldest)
    except _FAILURES as error:
        raise ModelError(
            f"opset {version} is older than {oldest}, and conversion failed: "
            f"{_first_line(error)}; export the model again with a current exporter"
        ) from error


def _retarget(model: ModelProto) -> None:
    """Give the model's opset to functions whose operators mean the same in both."""
    wanted = _versions(model)
    for function in model.functions:
        own = _versions(function)
        if all(_means_the_same(node, own, wanted) for node in _all_nodes(function.node)):
            for entry in function.opset_import:
                entry.version = wanted.get(entry.domain, entry.version)


def _means_the_same(node: NodeProto, own: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    if own.get(node.domain) == wanted.get(node.domain):
        return True
    schemas = [
        find_schema(node.op_type, node.domain, versions.get(node.domain, 1))
        for versions in (own, wanted)
    ]
    known = {schema.definition.since_version for schema in schemas if schema is not None}
    return None not in schemas and len(known) == 1


def _all_nodes(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body.node)


def _versions(model: ModelProto | FunctionProto) -> dict[str, int]:
    return {
        ONNX_DOMAIN if entry.domain == "ai.onnx" else entry.domain: entry.version
        for entry in model.opset_import
    }


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
