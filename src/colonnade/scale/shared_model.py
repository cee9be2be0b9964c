"""A model that every node has: a file they all see, or bytes in Ray's object store."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray

from colonnade import knobs
from colonnade.engine.compile import compile as compile_model
from colonnade.engine.compile import load
from colonnade.engine.engine import Engine
from colonnade.errors import InputError
from colonnade.scale.cores import claim_cores

PLAN_SUFFIX = ".colonnade"

Via = Literal["store", "file"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedModel:
    """Where nodes find a model. `data`: its bytes in the object store; None: all have `path`."""

    path: str
    digest: str
    data: Any = None

    @property
    def is_plan(self) -> bool:
        """Whether it is compiled already."""
        return self.path.endswith(PLAN_SUFFIX)


def share(model: str | os.PathLike[str], via: Via = "store") -> SharedModel:
    """Make an ONNX file or a saved plan (`.colonnade`) known to all nodes.

    `via`: "store" copies it into Ray's object store, from where every node takes it once; "file"
    says that each node has it under the same path. A plan is for one CPU model: where nodes
    differ, share the ONNX file, which each of them compiles.
    """
    path = Path(model).resolve()
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if via == "file":
        return SharedModel(str(path), "")
    raw = path.read_bytes()
    data = ray.put(np.frombuffer(raw, np.uint8))
    return SharedModel(str(path), hashlib.sha256(raw).hexdigest(), data)


def open_shared(model: SharedModel, threads: int) -> Engine:
    """An engine on `threads` cores of this node that no other engine of ours has.

    Where so many are not free, the operating system places the threads.
    """
    path = _fetch(model)
    claim = claim_cores(threads)
    if claim is None:
        log.warning("no %d cores of this node are free: threads are placed anywhere", threads)
    else:
        os.sched_setaffinity(0, claim.cpus)
    if model.is_plan:
        return load(path, threads=threads)
    return compile_model(path, threads=threads)


def _fetch(model: SharedModel) -> Path:
    """The model as a file of this node; one file for all its engines, which map it together."""
    if model.data is None:
        return Path(model.path)
    folder = knobs.cache_dir() / "shared"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.digest}{Path(model.path).suffix}"
    if not _has_digest(path, model.digest):
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
        temporary.write_bytes(ray.get(model.data).data)
        temporary.replace(path)
    return path


def _has_digest(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except FileNotFoundError:
        return False
