"""What became of requests, and the figures of one step of load."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

OK = 200


class Failure(enum.IntEnum):
    """Why there is no HTTP status; negative, so that both fit one field."""

    LOST = -1
    TIMED_OUT = -2
    WRONG = -3
    ABANDONED = -4


class Outcome(NamedTuple):
    """One request. Times in seconds of the loop's clock; `code` is an HTTP status or a Failure."""

    intended_s: float
    sent_s: float
    done_s: float
    code: int


@dataclass(frozen=True)
class Step:
    """One level of load. `clients` is None in an open loop; percentiles are None where there are
    too few answers for them.

    `lateness_p99_ms`: how late requests were sent, the sender being busy or out of connections.
    """

    clients: int | None
    seconds: float
    sent: int
    offered_per_s: float
    goodput_per_s: float
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    lateness_p99_ms: float | None
    outcomes: dict[str, int]


def summarise(
    outcomes: Sequence[Outcome], start_s: float, end_s: float, clients: int | None = None
) -> Step:
    """The figures of requests meant to be sent from `start_s` on, until `end_s`.

    Goodput counts right answers that came in that time; latencies are theirs, from the intended
    time of sending.
    """
    counted = [o for o in outcomes if start_s <= o.intended_s < end_s]
    accepted = np.array([o.done_s - o.intended_s for o in counted if o.code == OK]) * 1e3
    late = np.array([o.sent_s - o.intended_s for o in counted]) * 1e3
    good = sum(o.code == OK and start_s <= o.done_s < end_s for o in outcomes)
    seconds = end_s - start_s
    return Step(
        clients=clients,
        seconds=seconds,
        sent=len(counted),
        offered_per_s=len(counted) / seconds,
        goodput_per_s=good / seconds,
        mean_ms=float(accepted.mean()) if len(accepted) else None,
        p50_ms=percentile(accepted, 0.5),
        p99_ms=percentile(accepted, 0.99),
        p999_ms=percentile(accepted, 0.999),
        lateness_p99_ms=percentile(late, 0.99),
        outcomes=count_codes(counted),
    )


def percentile(values: np.ndarray, share: float) -> float | None:
    """The value below which `share` of them lie; None where not even one is expected above it.

    >>> percentile(np.arange(1001.0), 0.99)
    990.0
    >>> percentile(np.arange(9.0), 0.99)
    """
    if len(values) * (1.0 - share) < 1.0 - 1e-9:
        return None
    return float(np.quantile(values, share))


def count_codes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many requests ended in each way: by status, or the name of a Failure.

    >>> count_codes([Outcome(0, 0, 1, 200), Outcome(0, 0, 1, -1), Outcome(0, 0, 1, 200)])
    {'200': 2, 'lost': 1}
    """
    counts = Counter(outcome.code for outcome in outcomes)
    named = {_code_name(code): count for code, count in counts.items()}
    return dict(sorted(named.items()))


def _code_name(code: int) -> str:
    return Failure(code).name.lower() if code < 0 else str(code)
