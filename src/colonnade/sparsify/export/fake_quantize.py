"""Fake-quantize modules as the QuantizeLinear and DequantizeLinear of ONNX.

The exporter of torch cannot read torch's own fake-quantize modules (they branch on their state), so
a copy of the model gets modules in their place that write the two operators themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from colonnade.errors import ExportError

ENABLED = ("fake_quant_enabled", "enabled")
AXES = ("axis", "ch_axis")
FIELDS = ("scale", "zero_point", "quant_min", "quant_max")


@dataclass(frozen=True)
class Grid:
    """The integers that a fake-quantize module rounds to."""

    scale: Tensor
    zero_point: Tensor
    quant_min: int
    quant_max: int
    axis: int | None
    """None: one scale for the whole tensor."""

    @property
    def dtype(self) -> torch.dtype:
        """The ONNX element type."""
        return torch.int8 if self.quant_min < 0 else torch.uint8

    @property
    def is_whole(self) -> bool:
        """Whether every integer of the type may occur: then QuantizeLinear alone clamps."""
        info = torch.iinfo(self.dtype)
        return (self.quant_min, self.quant_max) == (info.min, info.max)

    def along(self, parameter: Tensor, rank: int) -> Tensor:
        """A scale or zero point in a shape that broadcasts over a tensor of the rank."""
        if self.axis is None:
            return parameter
        return parameter.reshape([-1 if i == self.axis % rank else 1 for i in range(rank)])

    def integers(self, values: Tensor) -> Tensor:
        """What the values are rounded to."""
        scale = self.along(self.scale, values.ndim)
        zero_point = self.along(self.zero_point, values.ndim)
        rounded = torch.round(values / scale) + zero_point
        return rounded.clamp(self.quant_min, self.quant_max).to(self.dtype)


def is_fake_quantize(module: nn.Module) -> bool:
    """Whether it has scale, zero_point, quant_min and quant_max, as torch's own have."""
    return all(hasattr(module, name) for name in FIELDS)


def has_fake_quantize(model: nn.Module) -> bool:
    """Whether any module of the model is one."""
    return any(is_fake_quantize(module) for module in model.modules())


def read_grid(module: nn.Module, name: str) -> Grid:
    """What a fake-quantize module rounds to. Raises ExportError for more than 8 bits."""
    low, high = int(module.quant_min), int(module.quant_max)
    if not (-128 <= low < high <= 127 or 0 <= low < high <= 255):
        raise ExportError(
            f"{name}: integers from {low} to {high}; ONNX export takes those of int8 or uint8"
        )
    scale = torch.as_tensor(module.scale).detach().float()
    zero = torch.as_tensor(module.zero_point).detach()
    if not bool(torch.isfinite(scale).all() and (scale > 0).all()):
        raise ExportError(f"{name}: its scale is not positive; calibrate or train it first")
    axis = next((getattr(module, a) for a in AXES if getattr(module, a, None) is not None), None)
    if scale.numel() == 1:
        scale, zero, axis = scale.reshape(()), zero.reshape(()), None
    dtype = torch.int8 if low < 0 else torch.uint8
    zero = zero.round().to(dtype).expand_as(scale).contiguous()
    return Grid(scale, zero, low, high, None if axis is None else int(axis))


class QuantizeDequantize(nn.Module):
    """Rounds activations: both operators."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("scale", grid.scale)
        self.register_buffer("zero_point", grid.zero_point)

    def forward(self, values: Tensor) -> Tensor:
        """The values, rounded."""
        grid = self.grid
        if not grid.is_whole:
            scale = grid.along(self.scale, values.ndim)
            zero = grid.along(self.zero_point, values.ndim).float()
            low, high = (grid.quant_min - zero) * scale, (grid.quant_max - zero) * scale
            values = torch.minimum(torch.maximum(values, low), high)
        rounded = _write("QuantizeLinear", values, self, grid.dtype)
        return _write("DequantizeLinear", rounded, self, torch.float32)


class Dequantize(nn.Module):
    """A weight, rounded once and for all: stored as integers."""

    def __init__(self, grid: Grid, values: Tensor) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("integers", grid.integers(values.detach()))
        self.register_buffer("scale", grid.scale)
        self.register_buffer("zero_point", grid.zero_point)

    def forward(self, values: Tensor) -> Tensor:  # noqa: ARG002  # the interface of what it replaces
        """The weight, whatever is given."""
        integers: Tensor = self.integers
        return _write("DequantizeLinear", integers, self, torch.float32)


def _write(
    op: str, values: Tensor, module: QuantizeDequantize | Dequantize, dtype: torch.dtype
) -> Tensor:
    axis = 0 if module.grid.axis is None else module.grid.axis % values.ndim
    written: Tensor = torch.onnx.ops.symbolic(
        op,
        (values, module.scale, module.zero_point),
        {"axis": axis},
        dtype=dtype,
        shape=values.shape,
    )
    return written


def replace_fake_quantize(model: nn.Module, run: Callable[[nn.Module], Any]) -> None:
    """Put ONNX's operators in the place of the model's fake-quantize modules.

    `run` calls the model once: what the modules of weights are given then is what is stored.
    """
    places = list(_places(model))
    seen = _watch(places, lambda: run(model))
    for place in places:
        setattr(place.parent, place.name, _replacement(place, seen))
    _replace_parametrizations(model)


@dataclass(frozen=True)
class _Place:
    path: str
    parent: nn.Module
    name: str
    module: nn.Module

    @property
    def is_weight(self) -> bool:
        """By its name, as in torch's own layers: weight_fake_quant."""
        return self.name.startswith("weight")


def _places(model: nn.Module) -> Iterator[_Place]:
    for path, parent in model.named_modules():
        if isinstance(parent, parametrize.ParametrizationList) or is_fake_quantize(parent):
            continue
        for name, child in parent.named_children():
            if is_fake_quantize(child):
                yield _Place(f"{path}.{name}".lstrip("."), parent, name, child)


def _watch(places: list[_Place], run: Callable[[], Any]) -> dict[nn.Module, Tensor]:
    """What every module of a weight is given while `run` runs."""
    seen: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[module] = given[0].detach().clone()

    hooks = [p.module.register_forward_pre_hook(note) for p in places if p.is_weight]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _replacement(place: _Place, seen: dict[nn.Module, Tensor]) -> nn.Module:
    if not _is_enabled(place.module):
        return nn.Identity()
    grid = read_grid(place.module, place.path)
    if place.module in seen:
        return Dequantize(grid, seen[place.module])
    return QuantizeDequantize(grid)


def _is_enabled(module: nn.Module) -> bool:
    return all(bool(torch.as_tensor(getattr(module, name, True)).all()) for name in ENABLED)


def _replace_parametrizations(model: nn.Module) -> None:
    """Parametrizations (masks, fake-quantize modules) become the tensor that they make; one that is
    fake-quantized on the way is stored as integers."""
    for path, module in list(model.named_modules()):
        if not parametrize.is_parametrized(module):
            continue
        for name, chain in list(module.parametrizations.items()):
            grids = [
                read_grid(step, f"{path}.{name}")
                for step in chain
                if is_fake_quantize(step) and _is_enabled(step)
            ]
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
            if grids:
                stored = Dequantize(grids[-1], getattr(module, name))
                parametrize.register_parametrization(module, name, stored, unsafe=True)
