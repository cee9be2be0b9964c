"""One weight decay from a moment on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from colonnade.sparsify.modifiers.set_group_value import SetGroupValue


@dataclass(frozen=True, kw_only=True)
class SetWeightDecay(SetGroupValue):
    """Set the weight decay of all parameter groups from `start` on; see SetGroupValue."""

    key: ClassVar[str] = "weight_decay"
