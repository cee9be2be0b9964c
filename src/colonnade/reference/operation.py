"""What a reference function looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Outputs = tuple[np.ndarray, ...]
Operation = Callable[..., Outputs]
"""(node, *inputs) -> outputs; an absent optional input is None."""
Operations = Mapping[tuple[str, str], Operation]
"""Reference functions by (domain, operation)."""
