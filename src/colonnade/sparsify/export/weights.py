"""Weights in safetensors files: dense with zeros, or in a bitmask format of compressed-tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from colonnade.errors import ModelError
from colonnade.sparsify.export.atomic import replacing
from colonnade.sparsify.export.bitmask import (
    BITMASK_24_PARTS,
    BITMASK_PARTS,
    pack_bitmask,
    pack_bitmask_24,
    unpack_bitmask,
    unpack_bitmask_24,
)
from colonnade.sparsify.export.formats import Format, verify_known

WEIGHT = ".weight"
SPARSITY_MIN = 0.3
"""A matrix with fewer zeros stays dense in sparse-bitmask: it would not get smaller by much."""
_PARTS: Mapping[Format, tuple[str, ...]] = {
    "sparse-bitmask": BITMASK_PARTS,
    "sparse-24-bitmask": BITMASK_24_PARTS,
}


def save_weights(state: Mapping[str, Tensor], path: Path, chosen: Format = "dense") -> None:
    """Write a state dict to a safetensors file, atomically."""
    save_stored(compress(state, chosen), path)


def save_stored(stored: Mapping[str, Tensor], path: Path) -> None:
    """Write what `compress` made."""
    with replacing(path) as draft:
        save_file(dict(stored), draft, metadata={"format": "pt"})


def load_weights(path: Path, chosen: Format = "dense") -> dict[str, Tensor]:
    """A state dict from a safetensors file, dense. Raises ModelError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a safetensors file: {error}") from error
    return decompress(stored, chosen)


def compress(state: Mapping[str, Tensor], chosen: Format) -> dict[str, Tensor]:
    """The tensors that a file of the format holds.

    Matrices named *.weight are packed where they have the zeros for it; all else stays. Raises
    ModelError where the format says 2:4 and no matrix is.
    """
    pack = _PACKERS[verify_known(chosen)]
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        parts = pack(tensor.detach().cpu(), name)
        if parts is None:
            # Clones: two names of one storage are refused by the file format.
            stored[name] = tensor.detach().cpu().clone().contiguous()
        else:
            stem = name.removesuffix(WEIGHT)
            stored |= {f"{stem}.{part}": value for part, value in parts.items()}
    if chosen == "sparse-24-bitmask" and stored.keys() <= state.keys():
        raise ModelError(
            f"{chosen}: no matrix is 2:4, so none would be packed; choose dense or sparse-bitmask"
        )
    return stored


def decompress(stored: Mapping[str, Tensor], chosen: Format) -> dict[str, Tensor]:
    """The state dict again."""
    if verify_known(chosen) == "dense":
        return dict(stored)
    unpack = unpack_bitmask if chosen == "sparse-bitmask" else unpack_bitmask_24
    stems = [name.removesuffix(".bitmask") for name in stored if name.endswith(".bitmask")]
    state = dict(stored)
    for stem in stems:
        missing = [part for part in _PARTS[chosen] if f"{stem}.{part}" not in stored]
        if missing:
            raise ModelError(f"{stem}{WEIGHT}: no {', '.join(missing)} beside its bitmask")
        parts = {part: state.pop(f"{stem}.{part}") for part in _PARTS[chosen]}
        state[stem + WEIGHT] = unpack(parts, stem + WEIGHT)
    return state


def share_of_zeros(state: Mapping[str, Tensor]) -> float:
    """Over the matrices named *.weight."""
    chosen = [tensor for name, tensor in state.items() if _is_matrix(tensor, name)]
    size = sum(tensor.numel() for tensor in chosen)
    return sum(int((tensor == 0).sum()) for tensor in chosen) / size if size else 0.0


Packer = Callable[[Tensor, str], dict[str, Tensor] | None]


def _keep(tensor: Tensor, name: str) -> None:  # noqa: ARG001  # a Packer
    return None


def _pack_sparse(tensor: Tensor, name: str) -> dict[str, Tensor] | None:
    if not _is_matrix(tensor, name) or float((tensor == 0).float().mean()) < SPARSITY_MIN:
        return None
    return pack_bitmask(tensor)


def _pack_24(tensor: Tensor, name: str) -> dict[str, Tensor] | None:
    if not _is_matrix(tensor, name) or tensor.shape[1] % 4:
        return None
    if int((tensor != 0).reshape(-1, 4).sum(1).max()) > 2:
        return None
    return pack_bitmask_24(tensor, name)


_PACKERS: Mapping[Format, Packer] = {
    "dense": _keep,
    "sparse-bitmask": _pack_sparse,
    "sparse-24-bitmask": _pack_24,
}


def _is_matrix(tensor: Tensor, name: str) -> bool:
    is_number = tensor.dtype.is_floating_point or tensor.dtype == torch.int8
    return name.endswith(WEIGHT) and tensor.ndim == 2 and tensor.numel() > 0 and is_number
