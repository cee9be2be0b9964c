"""When requests are meant to be sent."""

from __future__ import annotations

import numpy as np


def poisson_times(rate_per_s: float, seconds: float, seed: int) -> np.ndarray:
    """Seconds after the start at which requests arrive: gaps are exponential, independent.

    >>> times = poisson_times(100.0, 10.0, seed=1)
    >>> bool((np.diff(times) > 0).all()), 900 < len(times) < 1100
    (True, True)
    """
    rng = np.random.default_rng(seed)
    expected = rate_per_s * seconds
    gaps = rng.exponential(1.0 / rate_per_s, int(expected + 10.0 * expected**0.5 + 10.0))
    times = np.cumsum(gaps)
    return times[times < seconds]
