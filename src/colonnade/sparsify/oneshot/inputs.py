"""What layers multiply their weights with, summed over forward passes.

Products are seen where they happen (F.linear, conv, addmm), not at modules: so modules that pad or
reshape on their own are counted right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from colonnade.errors import RecipeError
from colonnade.sparsify.layers import Layer
from colonnade.sparsify.ranks import sum_ranks

Forward = Callable[[], object]
"""One forward pass over one batch of calibration data."""


@dataclass
class InputSums:
    """Sums over all positions, by group of the layer; float64, on the CPU."""

    products: Tensor
    """x x^T, [groups, cols, cols]."""
    sums: Tensor
    """x, [groups, cols]."""
    count: int = 0
    norm_mean: Tensor | None = None
    """The running mean of the batch normalisation that reads the layer's output."""

    def add(self, columns: Tensor) -> None:
        """Count [groups, positions, cols]."""
        self.products += (columns.transpose(1, 2) @ columns).to("cpu", torch.float64)
        self.sums += columns.sum(1, dtype=torch.float64).cpu()
        self.count += columns.shape[1]

    def gather(self, device: torch.device) -> None:
        """Count what other processes have seen; `device` is one that they exchange tensors of."""
        self.products = sum_ranks(self.products, device)
        self.sums = sum_ranks(self.sums, device)
        self.count = int(sum_ranks(torch.tensor(self.count), device))

    @property
    def means(self) -> Tensor:
        """Of each input."""
        return self.sums / max(self.count, 1)

    def centred(self) -> Tensor:
        """The products of deviations from the mean: what is left when a bias takes up the mean."""
        outer = self.sums[:, :, None] * self.sums[:, None, :]
        return self.products - outer / max(self.count, 1)


def collect(model: nn.Module, layers: Sequence[Layer], forwards: Iterable[Forward]) -> Watch:
    """The sums of each layer over all forward passes, in evaluation mode and without gradients.

    Raises RecipeError when there are none, or when a layer was not seen or saw NaN.
    """
    watch = Watch(layers)
    training = {name: module.training for name, module in model.named_modules()}
    model.eval()
    count = 0
    try:
        with torch.no_grad(), watch:
            for forward in forwards:
                forward()
                count += 1
    finally:
        for name, module in model.named_modules():
            module.training = training[name]
    if count == 0:
        raise RecipeError("the calibration data holds no batches; give at least one")
    for layer in layers:
        if layer.name in watch.sums:
            watch.sums[layer.name].gather(layer.weight.device)
    watch.check()
    return watch


@dataclass
class Call:
    """A product under way: whose it is, what it reads and how it is shaped."""

    layer: Layer
    x: Tensor
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Watch(TorchFunctionMode):
    """Sees every product with a layer's weights while it is active."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.sums: dict[str, InputSums] = {}
        """By layer, in the order of their first call."""
        self.sources: dict[str, int] = {}
        """A number for what each layer read first: layers of the same one read the same."""
        self._layers = {id(layer.weight): layer for layer in layers}
        self._outputs: dict[int, tuple[Tensor, Layer]] = {}
        self._read: dict[int, tuple[Tensor, int]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in (F.batch_norm, torch.batch_norm):
            self._see_norm(args, kwargs, func is torch.batch_norm)
            return out
        call = self._find(func, args, kwargs)
        if call is not None:
            self._see(call)
            self._outputs[id(out)] = (out, call.layer)
        return out

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self._outputs.clear()
        self._read.clear()

    def check(self) -> None:
        """Every layer was seen, and saw finite values."""
        for layer in self._layers.values():
            if layer.name not in self.sums:
                raise RecipeError(
                    f"layer {layer.name}: no product with its weights was seen in the forward "
                    "passes; leave it out with `ignore`"
                )
            if not torch.isfinite(self.sums[layer.name].products).all():
                raise RecipeError(
                    f"layer {layer.name}: its inputs on the calibration data are not finite"
                )

    def _find(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        names = _ARGUMENTS.get(func)
        if names is None:
            return None
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        layer = self._layers.get(id(given.get("weight")))
        return None if layer is None else Call(layer, given["input"], given)

    def _see(self, call: Call) -> None:
        layer, name = call.layer, call.layer.name
        columns = to_columns(layer, call.x, call.arguments)
        if name not in self.sums:
            if id(call.x) not in self._read:
                self._read[id(call.x)] = (call.x, len(self._read))
            self.sources[name] = self._read[id(call.x)][1]
            groups, _, cols = columns.shape
            empty = torch.zeros(groups, cols, cols, dtype=torch.float64)
            self.sums[name] = InputSums(empty, torch.zeros(groups, cols, dtype=torch.float64))
        self.sums[name].add(columns)

    def _see_norm(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_inner: bool) -> None:
        x = args[0] if args else kwargs.get("input")
        at = 3 if is_inner else 1
        mean = args[at] if len(args) > at else kwargs.get("running_mean")
        found = self._outputs.get(id(x))
        if found is not None:
            self.sums[found[1].name].norm_mean = mean
            del self._outputs[id(x)]


_ARGUMENTS: Mapping[Any, tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    torch.conv1d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    torch.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    torch.addmm: ("bias", "input", "weight"),
}
"""Functions that multiply by weights, and their arguments by position."""


def to_columns(layer: Layer, x: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """[groups, positions, cols]; the columns are those of `Layer.matrix`."""
    if "groups" not in arguments and layer.weight.ndim == 2:
        return x.detach().float().reshape(1, -1, x.shape[-1])
    kernel = layer.weight.shape[2:]
    x = x.detach().float()
    if len(kernel) == 1:
        x, kernel = x.unsqueeze(2), torch.Size((1, kernel[0]))
    size = (kernel[0], kernel[1])
    stride, dilation = (_pair(arguments.get(k, 1)) for k in ("stride", "dilation"))
    if layer.weight.ndim == 3:
        stride, dilation = (1, stride[1]), (1, dilation[1])
    x = F.pad(x, _pads(arguments.get("padding", 0), size, dilation, layer.weight.ndim == 3))
    groups = int(arguments.get("groups", 1))
    windows = F.unfold(x, size, dilation, 0, stride)
    batch, _, positions = windows.shape
    taps = size[0] * size[1]
    split = windows.reshape(batch, groups, x.shape[1] // groups, taps, positions)
    return split.permute(1, 0, 4, 3, 2).reshape(groups, batch * positions, -1)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    items = tuple(int(v) for v in value)
    return (items[0], items[0]) if len(items) == 1 else (items[0], items[1])


def _pads(
    padding: Any, size: tuple[int, int], dilation: tuple[int, int], is_1d: bool
) -> tuple[int, int, int, int]:
    """Left, right, top, bottom."""
    if padding == "same":
        down, right = (d * (k - 1) for d, k in zip(dilation, size, strict=True))
        return right // 2, right - right // 2, down // 2, down - down // 2
    if padding == "valid":
        return 0, 0, 0, 0
    down, right = _pair(padding)
    down = 0 if is_1d else down
    return right, right, down, down
