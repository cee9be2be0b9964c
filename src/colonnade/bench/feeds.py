"""Arrays to run a model on: random ones that suit each input, or from files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from colonnade.bench.peers import InputSpec
from colonnade.errors import InputError

Feeds = dict[str, np.ndarray]

ID_MAX = 1000
"""Random token numbers stay below this: every vocabulary is larger."""


def random_feeds(
    specs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> Feeds:
    """Normal floats, masks of ones, token numbers below ID_MAX, other integers 0."""
    rng = np.random.default_rng(seed)
    return {spec.name: _random_array(rng, spec, shapes[spec.name]) for spec in specs}


def _random_array(rng: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> np.ndarray:
    name, kind = spec.name.lower(), spec.dtype.kind
    if kind == "O":
        return np.full(shape, "", dtype=object)
    if kind == "b" or "mask" in name:
        return np.ones(shape, spec.dtype)
    if kind == "f":
        return rng.standard_normal(shape).astype(spec.dtype)
    if kind not in "iu":
        raise InputError(f"input {spec.name!r}: no random values of type {spec.dtype}; use --input")
    if spec.dtype.itemsize == 1:
        low, high = (0, 256) if kind == "u" else (-128, 128)
        return rng.integers(low, high, shape).astype(spec.dtype)
    if "position" in name and shape:
        return np.broadcast_to(np.arange(shape[-1], dtype=spec.dtype), shape).copy()
    if re.search(r"(^|_|\b)(input_?)?(ids?|tokens?)$", name) and "type" not in name:
        return rng.integers(0, ID_MAX, shape).astype(spec.dtype)
    return np.zeros(shape, spec.dtype)


def load_feeds(options: Sequence[str], names: Sequence[str]) -> Feeds:
    """Arrays of 'file.npz', 'name=file.npy', or one 'file.npy' for a model with one input."""
    feeds: Feeds = {}
    for option in options:
        name, path = _split_option(option)
        if path.suffix == ".npz":
            feeds.update(_load_archive(path))
        elif name is not None:
            feeds[name] = _load_array(path)
        elif len(names) == 1:
            feeds[names[0]] = _load_array(path)
        else:
            raise InputError(f"{path}: say which input it is, NAME={path}; the inputs are {names}")
    unknown = [name for name in feeds if name not in names]
    missing = [name for name in names if name not in feeds]
    if options and (unknown or missing):
        raise InputError(
            f"inputs from files: unknown {unknown}, missing {missing}; "
            f"the model's inputs are {list(names)}"
        )
    return {name: feeds[name] for name in names if name in feeds}


def _split_option(option: str) -> tuple[str | None, Path]:
    name, separator, path = option.partition("=")
    if separator and not Path(option).exists():
        return name, Path(path)
    return None, Path(option)


def _load_array(path: Path) -> np.ndarray:
    found = _load(path)
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path}: expected one array (.npy)")
    return found


def _load_archive(path: Path) -> Feeds:
    found = _load(path)
    if isinstance(found, np.ndarray):
        raise InputError(f"{path}: expected an archive of arrays (.npz)")
    with found as archive:
        try:
            return {name: archive[name] for name in archive.files}
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: {error}") from error


def _load(path: Path) -> np.ndarray | np.lib.npyio.NpzFile:
    try:
        found: np.ndarray | np.lib.npyio.NpzFile = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a numpy file: {error}") from error
    return found
