"""Text classification: a text, or a pair of them, to labels with scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.classes import class_names, sigmoid, softmax, top_labels
from colonnade.pipeline.results import Label
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.pipeline.text import check_text, make_encoder

Activation = Literal["auto", "softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class Options:
    """How labels are chosen."""

    top_k: int | None = 1
    """Labels in a result, best first; None: all of them."""
    function_to_apply: Activation = "auto"
    """auto: what config.json asks for; sigmoid for one label, softmax otherwise."""
    class_names: tuple[str, ...] | None = None
    sequence_length: int | tuple[int, ...] | None = None
    """Tokens that a text is padded to, or several lengths to choose from."""


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A string, or a list or tuple of two."""
    encoder = make_encoder(model, options.sequence_length, sizes)
    output = model.output("logits")
    activation = _activation(model, options.function_to_apply)

    def finish(rows: Sequence[Row]) -> list[Label]:
        logits = rows[0][output].reshape(-1)
        names = class_names(model, options.class_names, logits.size)
        return top_labels(activation(logits), names, options.top_k or logits.size)

    def prepare(item: object) -> Work[list[Label]]:
        (encoding,) = encoder.encode(*texts_of(item))[:1]
        return Work([encoder.row(encoding)], finish)

    return Prepared(prepare, encoder.batching)


def texts_of(item: object) -> tuple[str, str | None]:
    """One text, or two that belong together."""
    if isinstance(item, tuple | list):
        if len(item) != 2:
            raise InputError(f"expected a text or a pair of texts, got {len(item)} values")
        return check_text(item[0]), check_text(item[1])
    return check_text(item), None


def _activation(model: Model, asked: Activation) -> Callable[[np.ndarray], np.ndarray]:
    if asked == "auto":
        is_multi = model.config.get("problem_type") == "multi_label_classification"
        return lambda logits: (sigmoid if is_multi or logits.size == 1 else softmax)(logits)
    return {"softmax": softmax, "sigmoid": sigmoid, "none": lambda logits: logits}[asked]
