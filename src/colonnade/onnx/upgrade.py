"""Models rewritten by onnx itself: local functions inlined, very old opsets brought to a known one.

onnx's C++ inliner is linear in the expanded size; the ones in Python packages are not.
"""

from __future__ import annotations

from onnx import ModelProto, inliner, version_converter
from onnx.version_converter import ConvertError

from colonnade.errors import ModelError
from colonnade.onnx.schemas import ONNX_DOMAIN

OLDEST_OPSET = 7
"""Older models are converted to it: broadcasting was an attribute then."""


def inline_functions(model: ModelProto) -> ModelProto:
    """The model without local functions; the same object when it has none."""
    if not model.functions:
        return model
    names = {(function.domain, function.name) for function in model.functions}
    try:
        inlined = inliner.inline_local_functions(model)
        if inlined.functions:  # some were written for another opset
            inlined = inliner.inline_local_functions(model, convert_version=True)
    except (ConvertError, ValueError, RuntimeError) as error:
        raise ModelError(f"its local functions cannot be inlined: {_first_line(error)}") from error
    if inlined.functions:
        left = [f.name for f in inlined.functions if (f.domain, f.name) in names]
        raise ModelError(f"local functions {left[:4]} need an opset that the model does not have")
    return inlined


def upgrade_opset(model: ModelProto) -> ModelProto:
    """The model at OLDEST_OPSET if it was older; else the same object."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get(ONNX_DOMAIN, versions.get("ai.onnx", OLDEST_OPSET))
    if version >= OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, OLDEST_OPSET)
    except (ConvertError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"opset {version} is older than {OLDEST_OPSET}, and conversion failed: "
            f"{_first_line(error)}; export the model again with a current exporter"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
