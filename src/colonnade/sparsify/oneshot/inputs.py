"""What layers multiply their weights with, summed over forward passes.

Products are seen where they happen (F.linear, conv, addmm, attention), not at modules: so modules
that pad or reshape on their own are counted right.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from colonnade.errors import RecipeError
from colonnade.sparsify.layers import Layer
from colonnade.sparsify.oneshot.columns import to_columns
from colonnade.sparsify.ranks import gather, sum_ranks

Forward = Callable[[], object]
"""One forward pass over one batch of calibration data."""


@dataclass
class InputSums:
    """Sums over all positions, by group of the layer; float64, on the CPU."""

    products: Tensor
    """x x^T, [groups, cols, cols]."""
    sums: Tensor
    """x, [groups, cols]."""
    counts: Tensor
    """Positions, [groups]."""
    norm_mean: Tensor | None = None
    """The running mean of the batch normalisation that reads the layer's output."""

    @classmethod
    def empty(cls, groups: int, cols: int) -> InputSums:
        """Of nothing."""
        shapes = (groups, cols, cols), (groups, cols), (groups,)
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def add(self, columns: Tensor, groups: slice = slice(None)) -> None:
        """Count [groups, positions, cols], of all groups or of these."""
        self.products[groups] += (columns.transpose(1, 2) @ columns).to("cpu", torch.float64)
        self.sums[groups] += columns.sum(1, dtype=torch.float64).cpu()
        self.counts[groups] += columns.shape[1]

    def gather(self, device: torch.device) -> None:
        """Count what other processes have seen; `device` is one that they exchange tensors of."""
        self.products = sum_ranks(self.products, device)
        self.sums = sum_ranks(self.sums, device)
        self.counts = sum_ranks(self.counts, device)

    @property
    def means(self) -> Tensor:
        """Of each input."""
        return self.sums / self.counts.clamp_min(1)[:, None]

    def centred(self) -> Tensor:
        """The products of deviations from the mean: what is left when a bias takes up the mean."""
        return self.products - self.sums[:, :, None] * self.means[:, None, :]


def collect(model: nn.Module, layers: Sequence[Layer], forwards: Iterable[Forward]) -> Watch:
    """The sums of each layer over all forward passes, in evaluation mode and without gradients.

    Layers without a product that is known have none. Raises RecipeError when there are no passes,
    or when a layer saw NaN.
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
    watch.gather()
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
        # What no forward holds any more is forgotten, so that nothing lives on for this.
        self._outputs = WeakIdKeyDictionary()
        self._read = WeakIdKeyDictionary()
        self._num_read = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return self._attend(_ATTENTION.bind(*args, **kwargs).arguments)
        out = func(*args, **kwargs)
        if func in (F.batch_norm, torch.batch_norm):
            self._see_norm(args, kwargs, func is torch.batch_norm)
            return out
        call = self._find(func, args, kwargs)
        if call is not None:
            self._see(call.layer, call.x, to_columns(call.layer, call.x, call.arguments))
            self._outputs[out] = call.layer
        return out

    def gather(self) -> None:
        """Count what other processes have seen, in the order of the first of them."""
        seen: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
        mine = {
            name: (tuple(sums.sums.shape), self.sources[name]) for name, sums in self.sums.items()
        }
        for rank, theirs in enumerate(gather(mine)):
            for name, (shape, source) in theirs.items():
                seen.setdefault(name, (shape, (rank, source)))
        numbers = {
            source: at for at, source in enumerate(dict.fromkeys(s for _, s in seen.values()))
        }
        layers = {layer.name: layer for layer in self._layers.values()}
        sums = {n: self.sums.get(n) or InputSums.empty(*shape) for n, (shape, _) in seen.items()}
        for name, found in sums.items():
            found.gather(layers[name].weight.device)
        self.sums = sums
        self.sources = {name: numbers[source] for name, (_, source) in seen.items()}

    def check(self) -> None:
        """Every layer saw finite values."""
        for name, sums in self.sums.items():
            if not torch.isfinite(sums.products).all():
                raise RecipeError(
                    f"layer {name}: its inputs on the calibration data are not finite"
                )

    def _find(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        names = _ARGUMENTS.get(func)
        if names is None:
            return None
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        layer = self._layers.get(id(given.get("weight")))
        if layer is None or (func in _TRANSPOSED and given.get("groups", 1) != 1):
            return None
        return Call(layer, given["input"], given)

    def _see(self, layer: Layer, x: Tensor, columns: Tensor, part: int | None = None) -> None:
        """Count what a layer reads, or one `part` of it."""
        groups = slice(None) if part is None else slice(part, part + 1)
        if layer.name not in self.sums:
            if x not in self._read:
                self._read[x] = self._num_read
                self._num_read += 1
            self.sources[layer.name] = self._read[x]
            num_groups = columns.shape[0] if part is None else num_parts(layer)
            self.sums[layer.name] = InputSums.empty(num_groups, columns.shape[2])
        self.sums[layer.name].add(columns, groups)

    def _attend(self, given: dict[str, Any]) -> Any:
        """Queries, keys and values are products of their own inputs, rows of one weight or weights
        of their own. What the last product reads is the answer without it."""
        inputs = {name: given[name] for name in ("query", "key", "value")}
        packed = self._layers.get(id(given["in_proj_weight"]))
        for part, (name, x) in enumerate(inputs.items()):
            own = self._layers.get(id(given.get(f"{name[0]}_proj_weight")))
            if packed is not None:
                self._see(packed, x, to_columns(packed, x), part)
            elif own is not None:
                self._see(own, x, to_columns(own, x))
        last = self._layers.get(id(given["out_proj_weight"]))
        if last is None:
            return F.multi_head_attention_forward(**given)
        weight, bias = given["out_proj_weight"], given["out_proj_bias"]
        plain = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        read, shares = F.multi_head_attention_forward(
            **(given | {"out_proj_weight": plain, "out_proj_bias": None})
        )
        self._see(last, read, to_columns(last, read))
        return F.linear(read, weight, bias), shares

    def _see_norm(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_inner: bool) -> None:
        x = args[0] if args else kwargs.get("input")
        at = 3 if is_inner else 1
        mean = args[at] if len(args) > at else kwargs.get("running_mean")
        layer = self._outputs.pop(x, None)
        if layer is not None:
            self.sums[layer.name].norm_mean = mean


def num_parts(layer: Layer) -> int:
    """Parts of a layer's outputs that read inputs of their own: the groups of a convolution; the
    queries, keys and values of attention."""
    if isinstance(layer.module, nn.MultiheadAttention):
        return 3 if layer.name.rpartition(".")[2] == "in_proj_weight" else 1
    # The outputs of transposed convolutions lie along the other axis, all groups side by side.
    return 1 if layer.rows_axis else int(getattr(layer.module, "groups", 1))


_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONV_TRANSPOSE = (
    "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
)  # fmt: skip
_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
_ARGUMENTS: Mapping[Any, tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    torch.addmm: ("bias", "input", "weight"),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _CONV),
    **dict.fromkeys(_TRANSPOSED, _CONV_TRANSPOSE),
}
"""Functions that multiply by weights, and their arguments by position."""

_ATTENTION = inspect.signature(F.multi_head_attention_forward)
