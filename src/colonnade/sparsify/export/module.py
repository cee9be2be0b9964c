"""export_module(): a torch module and a sample, with a free batch axis where that is possible."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from colonnade.errors import ExportError, InputError
from colonnade.sparsify.export.onnx import Exported, Runner, export_onnx


def export_module(
    module: object, sample: object, target: Path, *, runner: Runner | None = None
) -> Exported:
    """Write the module as ONNX, checked against torch.

    `sample`: a tensor, a tuple, or keyword arguments of forward(). The first axis of the inputs is
    a free batch axis, where all have the same and the module can do with any; otherwise shapes are
    those of the sample. Raises InputError where these are no module and no sample, ExportError
    where the file's answers are not torch's.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"model: expected a torch module, got {type(module).__name__}")
    module.eval()
    arguments = _name_arguments(module, sample)
    batches = {one.shape[0] if one.ndim else None for one in arguments.values()}
    if len(batches) == 1 and None not in batches:
        # torch.export takes a size of 1 for a constant.
        rows = {name: torch.cat((one, one)) for name, one in arguments.items()}
        axes = {name: {0: "batch"} for name in rows}
        try:
            return export_onnx(
                module, rows, target, further=[arguments], runner=runner, dynamic=axes
            )
        except ExportError:
            pass  # a module that goes by its batch size; its shapes stay fixed
    return export_onnx(module, arguments, target, runner=runner)


def _name_arguments(module: nn.Module, sample: object) -> dict[str, Tensor]:
    """Inputs by the names that forward() has for them."""
    named: Mapping[object, object]
    if isinstance(sample, Mapping):
        named = sample
    else:
        values = (sample,) if isinstance(sample, Tensor) else sample
        if not isinstance(values, tuple | list):
            raise InputError(
                f"model: the sample is {type(sample).__name__}; expected a tensor, a tuple or a "
                "dict of tensors"
            )
        names = list(inspect.signature(module.forward).parameters)[: len(values)]
        if len(names) < len(values):
            raise InputError(f"model: {len(values)} inputs in the sample; forward() takes {names}")
        named = dict(zip(names, values, strict=True))
    for name, value in named.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise InputError(f"model: input {name!r} of the sample is {kind}, not a tensor")
    return {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
