"""Embeddings: a text to a vector, or one for each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.results import Embedding
from colonnade.pipeline.source import Model, read_json
from colonnade.pipeline.stages import Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.pipeline.text import check_text, make_encoder

Pooling = Literal["auto", "mean", "cls", "max", "per_token"]
TINY = 1e-12
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}
"""Of a sentence-transformers folder: 1_Pooling/config.json."""


@dataclass(frozen=True)
class Options:
    """How token vectors become one."""

    pooling: Pooling = "auto"
    """auto: as 1_Pooling/config.json beside the model says, otherwise mean."""
    normalize: bool = True
    """Scale to length 1."""
    sequence_length: int | tuple[int, ...] | None = None


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A string."""
    encoder = make_encoder(model, options.sequence_length, sizes)
    output = model.output("sentence_embedding", "last_hidden_state", "token_embeddings")
    pooling = _pooling(model) if options.pooling == "auto" else options.pooling

    def prepare(item: object) -> Work[Embedding]:
        encoding = encoder.encode(check_text(item))[0]
        count = len(encoding.ids)

        def finish(rows: Sequence[Row]) -> Embedding:
            made = rows[0][output].astype(np.float32)
            if made.ndim == 1:
                if pooling == "per_token":
                    raise InputError(f"the model's {output!r} is pooled already: no token vectors")
                return Embedding(_scaled(made, options), count)
            return Embedding(_scaled(pool(made[:count], pooling), options), count)

        return Work([encoder.row(encoding)], finish)

    return Prepared(prepare, encoder.batching)


def pool(vectors: np.ndarray, pooling: str) -> np.ndarray:
    """One vector of [tokens, features], padding left out; or all of them for per_token."""
    if pooling == "cls":
        return np.asarray(vectors[0])
    if pooling == "max":
        return np.asarray(vectors.max(0))
    return vectors if pooling == "per_token" else np.asarray(vectors.mean(0))


def _scaled(vectors: np.ndarray, options: Options) -> np.ndarray:
    if not options.normalize:
        return vectors
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, TINY))


def _pooling(model: Model) -> str:
    path = model.file("1_Pooling/config.json")
    config = {} if path is None else read_json(path)
    return next((mode for key, mode in MODES.items() if config.get(key) is True), "mean")
