"""Concrete input shapes from what a model declares and what a user says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from colonnade.bench.peers import InputSpec, Shape
from colonnade.errors import InputError

BATCH = re.compile(r"^(n|b|bs|batch.*|.*_batch|.*batch_size.*)$", re.IGNORECASE)
SEQUENCE = re.compile(r"seq|token|length", re.IGNORECASE)
IMAGE_CHANNELS = (1, 3, 4)
SEQUENCE_DEFAULT = 128
SIDE_DEFAULT = 224
OTHER_DEFAULT = 128
SIZE_MAX = 1 << 31


@dataclass(frozen=True)
class ShapeRequest:
    """What the user fixed: whole shapes by input name or position, symbols, batch, sequence."""

    by_name: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    by_position: Sequence[tuple[int, ...]] = ()
    symbols: Mapping[str, int] = field(default_factory=dict)
    batch_size: int | None = None
    sequence_length: int | None = None


@dataclass(frozen=True)
class ResolvedShapes:
    """Shapes by input name, the batch size in them, and what had to be guessed."""

    shapes: Mapping[str, tuple[int, ...]]
    batch_size: int
    notes: tuple[str, ...]


def resolve_shapes(specs: Sequence[InputSpec], request: ShapeRequest) -> ResolvedShapes:
    """A size for every dimension of every input. Raises InputError on a contradiction."""
    planned = {spec.name: spec.planned for spec in specs if spec.planned is not None}
    if request == ShapeRequest() and len(planned) == len(specs):
        request = ShapeRequest(by_name=planned)
    given = _given_shapes(specs, request)
    batch_symbol = _batch_symbol(specs)
    symbols = _bind_symbols(specs, given, request, batch_symbol)
    notes: list[str] = []
    shapes = {
        spec.name: given[spec.name]
        if spec.name in given
        else _fill_shape(spec, symbols, request, batch_symbol, notes)
        for spec in specs
    }
    batch_size = _batch_size(specs, shapes, batch_symbol)
    if request.batch_size is not None and request.batch_size != batch_size:
        raise InputError(
            f"batch size {request.batch_size}: the model's inputs have a fixed batch of "
            f"{batch_size} ({_declared(specs)})"
        )
    return ResolvedShapes(shapes, batch_size, tuple(dict.fromkeys(notes)))


def parse_shape_option(text: str) -> tuple[str, tuple[int, ...]]:
    """'name=1x3x224x224' or 'name=7'; commas do as well.

    >>> parse_shape_option("image=1x3x32x32")
    ('image', (1, 3, 32, 32))
    """
    name, separator, sizes = text.rpartition("=")
    if not separator or not name:
        raise InputError(f"shape {text!r}: expected NAME=1x3x224x224")
    return name, _parse_sizes(re.split(r"[x,]", sizes) if sizes else [], text)


def parse_bracketed_shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """One bracket for each input.

    >>> parse_bracketed_shapes("[1,128],[1,128]")
    ((1, 128), (1, 128))
    """
    if not re.fullmatch(r"\s*\[[^\[\]]*\](\s*,\s*\[[^\[\]]*\])*\s*", text):
        raise InputError(f"input shapes {text!r}: expected one bracket per input, '[1,2],[3,4]'")
    return tuple(
        _parse_sizes([size for size in sizes.split(",") if size.strip()], text)
        for sizes in re.findall(r"\[([^\[\]]*)\]", text)
    )


def _parse_sizes(parts: Sequence[str], text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in parts)
    except ValueError:
        raise InputError(f"shape {text!r}: sizes are whole numbers") from None
    if any(not 0 <= size < SIZE_MAX for size in sizes):
        raise InputError(f"shape {text!r}: a size is from 0 to {SIZE_MAX - 1}")
    return sizes


def split_shape_options(
    options: Sequence[tuple[str, tuple[int, ...]]], specs: Sequence[InputSpec]
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes of inputs apart from sizes of symbols, by whether an input has the name."""
    names = {spec.name for spec in specs}
    symbols = {dim for spec in specs for dim in spec.shape or () if isinstance(dim, str)}
    by_name: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    for name, shape in options:
        if name in names:
            by_name[name] = shape
        elif name in symbols and len(shape) == 1:
            sizes[name] = shape[0]
        else:
            raise InputError(f"no input or dimension named {name!r}; {_declared(specs)}")
    return by_name, sizes


def _given_shapes(specs: Sequence[InputSpec], request: ShapeRequest) -> dict[str, tuple[int, ...]]:
    if request.by_position and len(request.by_position) != len(specs):
        raise InputError(
            f"{len(request.by_position)} shapes for {len(specs)} inputs; {_declared(specs)}"
        )
    given = dict(zip([spec.name for spec in specs], request.by_position, strict=False))
    for name, shape in request.by_name.items():
        if name not in {spec.name for spec in specs}:
            raise InputError(f"no input named {name!r}; {_declared(specs)}")
        given[name] = shape
    for spec in specs:
        if spec.name in given:
            _check_fits(spec, given[spec.name])
    return given


def _check_fits(spec: InputSpec, shape: tuple[int, ...]) -> None:
    declared = spec.shape
    if declared is None:
        return
    fits = len(shape) == len(declared) and all(
        size == dim for size, dim in zip(shape, declared, strict=True) if isinstance(dim, int)
    )
    if not fits:
        raise InputError(f"shape {list(shape)} does not fit the declared {_text(spec)}")


def _batch_symbol(specs: Sequence[InputSpec]) -> str | None:
    """The dimension called batch or N; otherwise the first dimension of the first input."""
    firsts = [spec.shape[0] for spec in specs if spec.shape]
    symbols = [dim for dim in firsts if isinstance(dim, str)]
    named = [symbol for symbol in symbols if BATCH.match(symbol)]
    if named:
        return named[0]
    is_sequence = bool(symbols) and SEQUENCE.search(symbols[0]) is not None
    return firsts[0] if firsts and isinstance(firsts[0], str) and not is_sequence else None


def _bind_symbols(
    specs: Sequence[InputSpec],
    given: Mapping[str, tuple[int, ...]],
    request: ShapeRequest,
    batch_symbol: str | None,
) -> dict[str, int]:
    """Sizes of symbols, from whole shapes first; the same symbol has one size."""
    symbols = dict(request.symbols)
    for spec in specs:
        for dim, size in zip(spec.shape or (), given.get(spec.name, ()), strict=False):
            if isinstance(dim, str) and symbols.setdefault(dim, size) != size:
                raise InputError(
                    f"input {spec.name!r}: dimension {dim!r} is {size}, elsewhere {symbols[dim]}"
                )
    if batch_symbol is not None and request.batch_size is not None:
        symbols.setdefault(batch_symbol, request.batch_size)
    return symbols


def _fill_shape(
    spec: InputSpec,
    symbols: dict[str, int],
    request: ShapeRequest,
    batch_symbol: str | None,
    notes: list[str],
) -> tuple[int, ...]:
    if spec.shape is None:
        raise InputError(
            f"input {spec.name!r} declares no shape: give one, {spec.name}=1x3x224x224"
        )
    sizes = []
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, int):
            sizes.append(dim)
            continue
        size = symbols.get(dim) if dim is not None else None
        if size is None:
            size = _default_size(spec.shape, axis, request, batch_symbol)
            if axis > 0 or dim != batch_symbol:
                what = f"{dim!r}" if dim is not None else f"{axis} of input {spec.name!r}"
                notes.append(f"dimension {what} is free: {size} used")
            if dim is not None:
                symbols[dim] = size
        sizes.append(size)
    return tuple(sizes)


def _default_size(shape: Shape, axis: int, request: ShapeRequest, batch_symbol: str | None) -> int:
    dim = shape[axis]
    if isinstance(dim, str) and dim != batch_symbol and SEQUENCE.search(dim):
        return request.sequence_length or SEQUENCE_DEFAULT
    if axis == 0 or dim == batch_symbol:
        return request.batch_size or 1
    if len(shape) == 2 and axis == 1 and request.sequence_length:
        return request.sequence_length
    is_image = len(shape) == 4 and axis >= 2 and shape[1] in IMAGE_CHANNELS
    return SIDE_DEFAULT if is_image else OTHER_DEFAULT


def _batch_size(
    specs: Sequence[InputSpec],
    shapes: Mapping[str, tuple[int, ...]],
    batch_symbol: str | None,
) -> int:
    """The size of the batch dimension; 1 where the first dimension counts something else."""
    for spec in specs:
        if batch_symbol is not None and spec.shape and batch_symbol in spec.shape:
            return shapes[spec.name][spec.shape.index(batch_symbol)]
    first = specs[0].shape if specs else None
    return first[0] if first and isinstance(first[0], int) else 1


def _declared(specs: Sequence[InputSpec]) -> str:
    return "the model's inputs: " + "; ".join(map(_text, specs))


def _text(spec: InputSpec) -> str:
    dims = "?" if spec.shape is None else ", ".join(str(dim or "?") for dim in spec.shape)
    return f"{spec.name} {spec.dtype} [{dims}]"
