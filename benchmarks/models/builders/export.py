"""The two exporters of torch: they write the same network as different graphs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSET_LEGACY = 17
OPSET_DYNAMO = 18

Axes = Mapping[str, Mapping[int, str]]
"""Symbolic axes of each input or output, in the order of the signature."""


def export_legacy(
    model: nn.Module, args: tuple[Tensor, ...], path: Path, *, inputs: Axes, outputs: Axes
) -> None:
    """Export by tracing (`dynamo=False`), opset 17; folds no batch normalisation."""
    _export(
        model,
        args,
        path,
        inputs=inputs,
        outputs=outputs,
        opset_version=OPSET_LEGACY,
        dynamo=False,
        # PRESERVE keeps the module's own mode (eval) but skips the merge of Conv and BatchNorm.
        training=torch.onnx.TrainingMode.PRESERVE,
        dynamic_axes={name: dict(axes) for name, axes in {**inputs, **outputs}.items() if axes},
    )


def export_dynamo(
    model: nn.Module, args: tuple[Tensor, ...], path: Path, *, inputs: Axes, outputs: Axes
) -> None:
    """Export by `torch.export` (`dynamo=True`), opset 18, weights inside the file."""
    dims: dict[str, torch.export.Dim] = {
        name: torch.export.Dim(name) for axes in inputs.values() for name in axes.values()
    }
    shapes = tuple({i: dims[name] for i, name in axes.items()} for axes in inputs.values())
    _export(
        model,
        args,
        path,
        inputs=inputs,
        outputs=outputs,
        opset_version=OPSET_DYNAMO,
        dynamo=True,
        external_data=False,
        dynamic_shapes=shapes,
        verbose=False,
    )


def _export(
    model: nn.Module,
    args: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: Axes,
    outputs: Axes,
    **options: Any,
) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn about their own future
        torch.onnx.export(
            model,
            args,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            **options,
        )
