"""export_onnx(): a torch model as an ONNX file that is known to give the same answers."""

from __future__ import annotations

import copy
import json
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.utils import _pytree as pytree

from colonnade.errors import ExportError
from colonnade.sparsify.export.atomic import replacing
from colonnade.sparsify.export.fake_quantize import has_fake_quantize, replace_fake_quantize
from colonnade.sparsity.structure import DENSE, SPARSITY_KEY, Zeros, describe_zeros

OPSET = 20
OPSET_MAX = 24
IR_VERSION = 10
BYTES_MAX = (1 << 31) - (1 << 20)
"""Of weights in one file: protobuf refuses 2 GiB, and the structure needs some."""
TOLERANCE = 1e-4
"""Share of the largest expected value that answers may differ by: float32 through a deep model."""
TOLERANCE_QUANTIZED = 0.05
"""With fake-quantize modules: one activation that is rounded the other way moves all after it."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ON_THE_WAY = ("DequantizeLinear", "Identity", "Transpose")
"""What may lie between a weight and its product."""

Sample: TypeAlias = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
Arrays = Mapping[str, np.ndarray]
Runner = Callable[[Path, Arrays], Arrays]
"""Runs an ONNX file: outputs by name for inputs by name, as `colonnade.compile(path).run(feed)`."""


@dataclass(frozen=True)
class Exported:
    """The file, the names in it, what is sparse, and how far its answers are from torch's."""

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    zeros: Mapping[str, Zeros]
    max_error: float
    """Share of the largest expected value."""


def export_onnx(
    model: nn.Module,
    sample: Sample,
    path: str | Path,
    *,
    further: Sequence[Sample] = (),
    runner: Runner | None = None,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int = OPSET,
    tolerance: float | None = None,
) -> Exported:
    """Write the model as ONNX and check the file's answers to `sample` against torch's.

    Masks are applied, fake-quantize modules become QuantizeLinear and DequantizeLinear, and every
    sparse tensor is described in the metadata. The model itself stays as it is.

    `sample`: a tensor, a tuple, or keyword arguments of forward(). `dynamic`: by argument of
    forward(), axes whose size may vary, by name; `further`: samples of other sizes to check, too, for
    a module may decide by a size. `runner` gives the answers of the file;
    by default the reference evaluator of the onnx package does, which is slow but needs no engine.
    Raises ExportError, and leaves nothing behind, when the answers differ or the export fails.
    """
    if not 18 <= opset <= OPSET_MAX:
        raise ExportError(f"opset={opset}; this export writes 18 to {OPSET_MAX}")
    if tolerance is not None and not tolerance >= 0:
        raise ExportError(f"tolerance={tolerance}; expected a share of the largest value, from 0")
    target = Path(path)
    args, kwargs = _arguments(sample)
    exact = bake_masks(model)
    checks = [(given, _answers(exact, *given)) for given in map(_arguments, (sample, *further))]
    num_outputs = len(checks[0][1])
    if output_names is not None and len(output_names) != num_outputs:
        raise ExportError(
            f"output_names: {len(output_names)} for an answer of {num_outputs} tensors"
        )
    plain = bake_masks(model)
    is_quantized = has_fake_quantize(plain)
    if is_quantized:
        replace_fake_quantize(plain, lambda module: _answers(module, args, kwargs))
    program = _translate(plain, args, kwargs, dynamic, output_names, opset)
    size = sum(v.const_value.nbytes for v in program.model.graph.initializers.values())
    if size > BYTES_MAX:
        raise ExportError(
            f"its weights take {size} bytes, and one ONNX file holds {BYTES_MAX}: export its parts"
        )
    program.model.ir_version = IR_VERSION
    zeros = _write_metadata(program.model)
    names = tuple(value.name for value in program.model.graph.inputs)
    outputs = tuple(value.name for value in program.model.graph.outputs)
    with replacing(target) as draft:
        program.save(draft, external_data=False)
        allowed = TOLERANCE_QUANTIZED if is_quantized else TOLERANCE
        allowed = allowed if tolerance is None else tolerance
        error = 0.0
        for given, expected in checks:
            feed = _feed(names, *given)
            found = (
                _reference(program, feed) if runner is None else _run(runner, draft, feed, outputs)
            )
            error = max(error, _verify(expected, found, outputs, allowed))
    return Exported(target, names, outputs, zeros, error)


def bake_masks(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose weights are plain: masks of torch.nn.utils.prune and of
    parametrizations are applied. Parametrizations that fake-quantize stay."""
    plain = _copy(model).eval()
    for module in list(plain.modules()):
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
        if parametrize.is_parametrized(module):
            for name, chain in list(module.parametrizations.items()):
                if not has_fake_quantize(chain):
                    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return plain


def _copy(model: nn.Module) -> nn.Module:
    """A deep copy. Weights that torch.nn.utils.prune computed are no leaves of autograd, which
    deepcopy refuses: they are copied as numbers."""
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, dict(computed))


def _arguments(sample: Sample) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if isinstance(sample, Tensor):
        return (sample,), {}
    if not isinstance(sample, Mapping | tuple | list):
        raise ExportError(
            f"the sample is {type(sample).__name__}; expected a tensor, a tuple or a dict "
            "of tensors"
        )
    named = sample.items() if isinstance(sample, Mapping) else enumerate(sample)
    for name, value in named:
        if not isinstance(value, Tensor):
            raise ExportError(
                f"argument {name!r} of the sample is {type(value).__name__}, not a tensor; what is "
                "none is no input of a file: wrap the model in a module that gives it"
            )
    return ((), dict(sample)) if isinstance(sample, Mapping) else (tuple(sample), {})


def _answers(
    model: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]
) -> list[np.ndarray]:
    with torch.no_grad():
        found = model(*args, **kwargs)
    leaves = [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]
    if not leaves:
        raise ExportError("the model returns no tensor")
    return [leaf.detach().cpu().numpy() for leaf in leaves]


def _translate(
    model: nn.Module,
    args: tuple[Tensor, ...],
    kwargs: dict[str, Tensor],
    dynamic: Mapping[str, Mapping[int, str]] | None,
    output_names: Sequence[str] | None,
    opset: int,
) -> torch.onnx.ONNXProgram:
    shapes = None
    if dynamic:
        names = _argument_names(model, args, kwargs)
        unknown = sorted(set(dynamic) - set(names))
        if unknown:
            raise ExportError(f"dynamic: no argument {unknown}; the sample gives {names}")
        for name, tensor in zip(names, (*args, *kwargs.values()), strict=True):
            for axis in dynamic.get(name, {}):
                if not 0 <= axis < tensor.ndim:
                    raise ExportError(f"dynamic: axis {axis} of {name!r}, which has {tensor.ndim}")
        shapes = {name: dict(dynamic.get(name, {})) for name in names}
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                args,
                kwargs=kwargs,
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=shapes,
                output_names=output_names,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"torch.onnx.export refused the model: {_reason(error)}") from error
    assert program is not None
    return program


def _reason(error: BaseException) -> str:
    """The first line of what came first: what it made of that says where torch's forum is."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = _ANSI.sub("", str(error)).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _argument_names(
    model: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]
) -> list[str]:
    import inspect

    positional = list(inspect.signature(model.forward).parameters)[: len(args)]
    return [*positional, *kwargs]


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns of its own parts (torchvision is not there, trees are deprecated)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _write_metadata(model: Any) -> dict[str, Zeros]:
    """Describe the sparse weights of an onnx_ir model in its metadata, and return that."""
    zeros: dict[str, Zeros] = {}
    for name, value in model.graph.initializers.items():
        matrix = _weight_matrix(value)
        if matrix is None:
            continue
        found = describe_zeros(matrix)
        if found.structure != DENSE:
            zeros[name] = found
            value.const_value.metadata_props[SPARSITY_KEY] = json.dumps(asdict(found))
    model.metadata_props[SPARSITY_KEY] = json.dumps(
        {name: asdict(found) for name, found in zeros.items()}
    )
    return zeros


def _weight_matrix(value: Any) -> np.ndarray | None:
    """A weight as outputs x inputs, several matrices one below the other; None for what is no
    weight of a product or convolution."""
    tensor = value.const_value
    if tensor is None or len(tensor.shape) < 2:
        return None
    array: np.ndarray = tensor.numpy()
    while True:
        uses = list(value.uses())
        if not uses or len({(node.op_type, position) for node, position in uses}) != 1:
            return None
        node, position = uses[0]
        if node.op_type not in _ON_THE_WAY or position != 0:
            break
        if node.op_type == "Transpose":
            array = array.transpose(node.attributes.get_ints("perm", None))
        value = node.outputs[0]
    if node.op_type not in ("MatMul", "Gemm", "Conv") or position != 1:
        return None
    if node.op_type == "Conv":
        return np.moveaxis(array, 1, -1).reshape(array.shape[0], -1)
    has_rows = node.op_type == "Gemm" and node.attributes.get_int("transB", 0)
    rows = array if has_rows else array.swapaxes(-1, -2)
    return rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])


def _feed(
    names: Sequence[str], args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
    given = [*args, *kwargs.values()]
    return {n: t.detach().cpu().numpy() for n, t in zip(names, given, strict=True)}


def _reference(program: torch.onnx.ONNXProgram, feed: Arrays) -> list[np.ndarray]:
    given = [torch.from_numpy(array) for array in feed.values()]
    return [np.asarray(found) for found in program.call_reference(*given)]


def _run(runner: Runner, path: Path, feed: Arrays, outputs: Sequence[str]) -> list[np.ndarray]:
    answers = runner(path, feed)
    return [np.asarray(answers[name]) for name in outputs]


def _verify(
    expected: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    names: Sequence[str],
    tolerance: float,
) -> float:
    """The largest error as a share of the largest expected value. Raises ExportError above."""
    if len(expected) != len(found):
        raise ExportError(f"torch gives {len(expected)} outputs, the file {len(found)}")
    worst = 0.0
    for name, right, own in zip(names, expected, found, strict=True):
        if right.shape != own.shape:
            raise ExportError(f"output {name!r}: torch gives {right.shape}, the file {own.shape}")
        error = _error(right, own)
        if not error <= tolerance:
            raise ExportError(
                f"output {name!r}: the file's answers differ from torch's by {error:.3g} of the "
                f"largest value, allowed {tolerance:.3g}; nothing was written"
            )
        worst = max(worst, error)
    return worst


def _error(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference of ordinary elements as a share of the largest of them; infinite
    unless the others, as masks make them, are the same in both."""
    is_ordinary = _is_ordinary(expected)
    right, own = expected.astype(np.float64), found.astype(np.float64)
    others_alike = np.array_equal(right[~is_ordinary], own[~is_ordinary], equal_nan=True)
    right, own = right[is_ordinary], own[is_ordinary]
    if not (others_alike and np.isfinite(own).all()):
        return float("inf")
    scale = float(np.abs(right).max(initial=0.0)) or 1.0
    return float(np.abs(right - own).max(initial=0.0)) / scale


def _is_ordinary(array: np.ndarray) -> np.ndarray:
    """Neither NaN nor infinite nor the largest of the type, which stands for infinity in masks."""
    if array.dtype.kind != "f":
        return np.ones(array.shape, bool)
    return np.asarray(np.abs(array) < np.finfo(array.dtype).max)
