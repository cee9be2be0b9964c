"""Speeds for the report of a sparsification: expected before training, measured after.

report = build_report(
    session, expected=expected_speed("dense.onnx", samples, 0.9),
    measured=measured_speed("dense.onnx", "sparse.onnx", samples),
)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from colonnade.engine.loader import cpu_model
from colonnade.onnx.importer import import_model
from colonnade.pruning.prune import DEFAULT_READING
from colonnade.quantization.data.open import Reading
from colonnade.search.analyze import Subject, costs_of, open_subject
from colonnade.search.target import measure_gain
from colonnade.sparsify.speed import Speed
from colonnade.sparsity.masks import check_sparsity


def expected_speed(
    model: str | Path,
    calibration: object,
    sparsity: float,
    *,
    pattern: str = "unstructured",
    reading: Reading = DEFAULT_READING,
    threads: int | None = None,
    batch: int | None = None,
) -> Speed:
    """What the engine's measured costs say of a model with `sparsity` in every layer that can have
    the pattern; between two levels that were measured, a line. The model need not be trained."""
    check_sparsity(sparsity)
    subject = open_subject(
        model, calibration, pattern=pattern, reading=reading, threads=threads, batch=batch
    )
    table = costs_of(subject, lambda _, __: None)
    layers_ms = sum(np.interp(sparsity, table.levels, row) for row in table.layers.values())
    return Speed(
        dense_ms=table.dense_ms,
        sparse_ms=float(table.rest_ms + layers_ms),
        source=f"cost table at {sparsity:.0%} {pattern}, {_conditions(subject)}",
    )


def measured_speed(
    dense: str | Path,
    sparse: str | Path,
    calibration: object,
    *,
    reading: Reading = DEFAULT_READING,
    threads: int | None = None,
    batch: int | None = None,
) -> Speed:
    """Both models, end to end and in turns."""
    subject = open_subject(dense, calibration, reading=reading, threads=threads, batch=batch)
    dense_ms, sparse_ms = measure_gain(subject, import_model(sparse)).ms
    return Speed(dense_ms=dense_ms, sparse_ms=sparse_ms, source=_conditions(subject))


def _conditions(subject: Subject) -> str:
    shapes = ", ".join(
        f"{name} {'x'.join(map(str, shape))}" for name, shape in subject.timed_shapes.items()
    )
    return f"{cpu_model()}, {subject.runtime.threads} threads, {shapes}"
