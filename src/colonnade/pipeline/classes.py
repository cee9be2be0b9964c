"""Classes of a model: their names, and scores from what it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.results import Label
from colonnade.pipeline.source import Model


def class_names(model: Model, given: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    """Names of the classes: those given, or of config.json, or LABEL_0 and so on."""
    if given is not None:
        names = given
    else:
        found = model.config.get("id2label")
        known = found if isinstance(found, Mapping) else {}
        names = tuple(str(known.get(str(i), f"LABEL_{i}")) for i in range(count))
    if len(names) != count:
        raise InputError(f"class_names: {len(names)} names for {count} classes of the model")
    return names


def num_labels(model: Model, output: str, axis: int = -1) -> int | None:
    """Classes of the model by its output's shape or its configuration, if they say."""
    shape = next(info.shape for info in model.engine.outputs if info.name == output)
    size = shape[axis] if shape else None
    if isinstance(size, int):
        return size
    found = model.config.get("id2label")
    return len(found) if isinstance(found, Mapping) else None


def softmax(values: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    wide = values.astype(np.float64)
    shifted = np.exp(wide - wide.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def sigmoid(values: np.ndarray) -> np.ndarray:
    """In float64."""
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def best(scores: np.ndarray, count: int) -> Sequence[int]:
    """Places of the highest scores, highest first; the first of equal ones wins."""
    return [int(i) for i in np.argsort(-scores, kind="stable")[:count]]


def top_labels(scores: np.ndarray, names: Sequence[str], count: int) -> list[Label]:
    """The classes with the highest scores, best first."""
    return [Label(names[i], float(scores[i])) for i in best(scores, count)]
