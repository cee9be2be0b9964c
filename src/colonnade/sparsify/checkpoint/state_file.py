"""A tree of tensors and plain values as bytes, without pickle: safetensors with the tree beside.

The tree keeps what JSON loses: tuples, and keys that are numbers.
"""

from __future__ import annotations

import json
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_TREE = "tree"


def encode_state(state: Any) -> bytes:
    """The bytes of `state`; tensors must be dense."""
    tensors: list[Tensor] = []
    tree = json.dumps(_encode(state, tensors), separators=(",", ":"))
    named = {str(i): tensor for i, tensor in enumerate(tensors)}
    data: bytes = safetensors.torch.save(named, {_TREE: tree})
    return data


def decode_state(data: bytes) -> Any:
    """The inverse of encode_state; all tensors are on the CPU."""
    header_size = int.from_bytes(data[:8], "little")
    tree = json.loads(data[8 : 8 + header_size])["__metadata__"][_TREE]
    return _decode(json.loads(tree), safetensors.torch.load(data))


def _encode(value: Any, tensors: list[Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        tensors.append(value.detach().to("cpu", copy=True).contiguous())
        return {"tensor": len(tensors) - 1}
    if isinstance(value, list):
        return [_encode(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, tensors) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, tensors), _encode(value[key], tensors)] for key in value]}
    if hasattr(value, "item"):  # a number of numpy
        return value.item()
    raise TypeError(f"a state holds tensors and plain values, got {type(value).__name__}")


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "tensor":
        # A copy: those of the file share one buffer, which is not aligned for every type.
        return torch.clone(tensors[str(value)])
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in value)
    return {_decode(key, tensors): _decode(item, tensors) for key, item in value}
