"""One learning rate from a moment on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from colonnade.sparsify.modifiers.set_group_value import SetGroupValue


@dataclass(frozen=True, kw_only=True)
class SetLearningRate(SetGroupValue):
    """Set the learning rate of all parameter groups from `start` on; see SetGroupValue."""

    key: ClassVar[str] = "lr"
