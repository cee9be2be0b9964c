"""The random states that a run depends on."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def capture_randomness(loader: Any = None) -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, and of the loader's own one."""
    # Users draw from the old generator of numpy, so it counts.
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    generator = getattr(loader, "generator", None)
    if generator is not None:
        state["loader"] = generator.get_state()
    return state


def restore_randomness(state: dict[str, Any], loader: Any = None) -> None:
    """Set the generators to captured states."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, np.array(keys, np.uint32), position, has_gauss, gauss)
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "loader" in state and loader is not None:
        loader.generator.set_state(state["loader"])
