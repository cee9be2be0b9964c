"""Counting n-grams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    floats_attr,
    has_attr,
    int_attr,
    ints_attr,
    str_attr,
    strs_attr,
)
from colonnade.reference.budget import reserve, reserve_work
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operations, Outputs

Gram = tuple[object, ...]


def _tf_idf_vectorizer(node: Node, x: np.ndarray) -> Outputs:
    places = ints_attr(node, "ngram_indexes")
    weights = floats_attr(node, "weights", (1.0,) * len(places))
    mode = str_attr(node, "mode")
    grams = {gram: i for i, gram in enumerate(_pool(node))}
    rows = np.atleast_2d(x)
    counts = np.zeros(reserve((rows.shape[0], max(places) + 1), np.float32), np.float32)
    for result, row in zip(counts, rows.tolist(), strict=True):
        for gram in _grams(node, row):
            if gram in grams:
                result[places[grams[gram]]] += 1
    if mode not in ("TF", "IDF", "TFIDF"):
        raise EvaluationError(f"mode {mode!r} is not TF, IDF or TFIDF")
    factor = np.ones(counts.shape[1], np.float32)
    factor[list(places)] = weights
    if mode == "IDF":
        counts = (counts > 0) * factor
    elif mode == "TFIDF":
        counts = counts * factor
    return (counts.astype(np.float32).reshape(*x.shape[:-1], -1),)


def _pool(node: Node) -> Iterator[Gram]:
    """The known n-grams in order: all of length 1, then of length 2, ..."""
    is_text = has_attr(node, "pool_strings")
    items: Sequence[object] = (
        strs_attr(node, "pool_strings") if is_text else ints_attr(node, "pool_int64s")
    )
    starts = (*ints_attr(node, "ngram_counts"), len(items))
    for length, (start, end) in enumerate(pairwise(starts), start=1):
        for at in range(start, end, length):
            yield tuple(items[at : at + length])


def _grams(node: Node, row: Sequence[object]) -> Iterator[Gram]:
    """All n-grams of a row, with every distance between tokens up to the skip count."""
    shortest, longest = int_attr(node, "min_gram_length"), int_attr(node, "max_gram_length")
    skips = int_attr(node, "max_skip_count")
    reserve_work(len(row) * (skips + 1) * longest * longest)
    for length in range(shortest, longest + 1):
        # One token has no distance to a next one.
        for distance in range(1, (skips if length > 1 else 0) + 2):
            reach = (length - 1) * distance
            for at in range(len(row) - reach):
                yield tuple(row[at : at + reach + 1 : distance])


OPS: Operations = {("", "TfIdfVectorizer"): _tf_idf_vectorizer}
