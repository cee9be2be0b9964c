"""`torch.compile(model, backend="colonnade")`: inference on the CPU, eager where export breaks.

A graph that Dynamo captures is exported to ONNX with its parameters frozen and compiled. It runs
eagerly instead, with a warning that says why, when gradients are wanted, when an input is not a CPU
tensor, or when the export or the compilation fails. Changing a frozen parameter in place compiles
the graph again.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from colonnade.engine.compile import compile as compile_model
from colonnade.engine.engine import Engine
from colonnade.errors import ColonnadeError

Run = Callable[..., Sequence[Any]]


class EagerFallbackWarning(UserWarning):
    """A captured graph runs eagerly; the message says why."""


def colonnade_backend(module: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Run:
    """The function that TorchDynamo calls for a captured graph."""
    reason = _why_eager(example_inputs)
    if reason:
        _warn(reason)
        return module.forward  # type: ignore[no-any-return]  # torch.fx is untyped here
    return _CompiledGraph(module, list(example_inputs)).run


def _why_eager(example_inputs: Sequence[Any]) -> str:
    if not all(isinstance(value, torch.Tensor) for value in example_inputs):
        return "it has inputs that are not tensors (symbolic shapes); compile with dynamic=False"
    if any(value.device.type != "cpu" for value in example_inputs):
        return "it has inputs that are not on the CPU"
    if torch.is_grad_enabled() and any(value.requires_grad for value in example_inputs):
        return "gradients are wanted; call it under torch.no_grad() or torch.inference_mode()"
    return ""


def _warn(reason: str) -> None:
    message = f"colonnade runs this graph eagerly: {reason}"
    warnings.warn(message, EagerFallbackWarning, stacklevel=3)


class _Frozen(torch.nn.Module):
    """The captured graph as a function of its true inputs only."""

    def __init__(self, module: torch.fx.GraphModule, values: list[Any], free: list[int]) -> None:
        super().__init__()
        self.graph = module
        self.free = free
        for i, value in enumerate(values):
            if i not in free:
                self.register_buffer(f"frozen_{i}", value.detach())
        self.count = len(values)

    def forward(self, *inputs: torch.Tensor) -> Any:
        given = iter(inputs)
        return self.graph(
            *(next(given) if i in self.free else getattr(self, f"frozen_{i}")
              for i in range(self.count))
        )  # fmt: skip


class _CompiledGraph:
    """An engine for a captured graph, made again when a frozen parameter has changed."""

    def __init__(self, module: torch.fx.GraphModule, example_inputs: list[Any]) -> None:
        self._module = module
        self._free = [
            i for i, value in enumerate(example_inputs)
            if not isinstance(value, torch.nn.Parameter | torch.nn.Buffer)
        ]  # fmt: skip
        self._versions: list[int] = []
        self._engine: Engine | None = None
        self._build(example_inputs)

    def run(self, *inputs: Any) -> Sequence[Any]:
        """The graph's outputs, as a list of tensors."""
        if self._engine is not None and self._versions != self._frozen_versions(inputs):
            self._build(list(inputs))
        if self._engine is None:
            return self._module(*inputs)  # type: ignore[no-any-return]
        arrays = [inputs[i].detach().contiguous().numpy() for i in self._free]
        return [torch.from_numpy(array) for array in self._engine.run(arrays).values()]

    def _frozen_versions(self, inputs: Sequence[Any]) -> list[int]:
        frozen = (value for i, value in enumerate(inputs) if i not in self._free)
        return [value._version for value in frozen]

    def _build(self, inputs: list[Any]) -> None:
        self._engine = None
        self._versions = self._frozen_versions(inputs)
        try:
            model = _export(_Frozen(self._module, inputs, self._free), inputs, self._free)
            self._engine = compile_model(model, threads=torch.get_num_threads())
        except ColonnadeError as error:
            _warn(str(error))
        except Exception as error:  # noqa: BLE001  # the exporter raises many kinds; eager is right
            first = str(error).strip().splitlines() or [type(error).__name__]
            _warn(f"its export to ONNX failed: {first[0]}")


def _export(frozen: _Frozen, inputs: list[Any], free: list[int]) -> bytes:
    """The frozen graph as ONNX bytes."""
    args = tuple(torch.empty_like(inputs[i]).copy_(inputs[i].detach()) for i in free)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(frozen.eval(), args, buffer, dynamo=False, opset_version=17)
    return buffer.getvalue()
