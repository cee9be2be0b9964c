"""Requests and responses as every front end sees them, and the element types of the protocol.

A front end (HTTP, gRPC, a task) makes an `InferRequest` of numpy arrays, awaits
`Repository.infer(request)` and writes the `InferResponse` that comes back, or the `Refusal` that is
raised. To drop a request (the client is gone) it cancels the task that awaits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

ParameterValue = str | int | float | bool
Parameters = Mapping[str, ParameterValue]

NO_PARAMETERS: Parameters = {}


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """Which sequence a request belongs to, and whether it is the first or the last of it."""

    sequence_id: int | str
    is_start: bool = False
    is_end: bool = False


@dataclass(slots=True)
class InferRequest:
    """Named arrays for a model. Arrays may be read-only and are not changed.

    `outputs`: the names wanted, in order; all of them when empty. `priority`: 1 is the most urgent,
    0 the model's default. `deadline`: on the clock of the event loop, in seconds; after it the
    answer is worth nothing.
    """

    model: str
    inputs: dict[str, np.ndarray]
    version: str = ""
    id: str = ""
    outputs: tuple[str, ...] = ()
    priority: int = 0
    deadline: float | None = None
    sequence: SequenceStep | None = None
    is_admitted: bool = False
    """Part of a task that was let in as a whole: the time that it will wait does not count."""
    parameters: Parameters = field(default_factory=lambda: NO_PARAMETERS)


@dataclass(slots=True)
class Timing:
    """When a request came and when its batch started, on the clock of the event loop; how long the
    batch took to join, to run and to split."""

    arrived_s: float
    started_s: float
    input_s: float
    infer_s: float
    output_s: float
    batch_rows: int


@dataclass(slots=True)
class InferResponse:
    """The answers, in the order asked for."""

    model: str
    version: str
    id: str
    outputs: dict[str, np.ndarray]
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
    timing: Timing | None = None


DATATYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""Names of the Open Inference Protocol. BF16 has no numpy type: it travels as FP32 in memory, see
serve/wire.py."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """The protocol's name of an element type.

    >>> datatype_of(np.dtype(np.float32))
    'FP32'
    """
    if dtype.kind in "OSU":
        return "BYTES"
    return _NAMES[dtype]
