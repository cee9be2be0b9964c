"""How N:M recipes restrict what flows to and from pruned weights. Loads without torch.

A recipe is data: a sequence of patterns that tighten (structure decay, SdGf), a leak that fades
(mask decay, MdGf), what of the gradient reaches pruned weights, and a decay of these. In the
forward pass a weight w counts as

    w * (m + (1 - m) * outer * leak)

where m is the mask of the current pattern, and `outer` that of the frame before it (all ones where
there is none).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from colonnade.sparsify.nm.pattern import NMPattern

Structure = Literal["fixed", "stepwise", "geometric", "densify"] | tuple[NMPattern, ...]
Leak = Literal["none", "linear", "exponential"]
Grad = Literal["masked", "ste"]
Phase = Literal["dense", "sparse", "fine-tune"]

SR_STE_DECAY = 2e-4
GEOMETRIC_FACTORS = (8, 4, 2, 1)
FINAL_LEAK = 0.01


@dataclass(frozen=True)
class Flow:
    """One recipe, without its target and its time.

    `c` is the speed of the leak per optimizer step; None takes the `decay_constant` of the steps in
    which it acts. `grad`: the gradient of a pruned weight is what the forward pass lets through
    ("masked"), or all of it ("ste", straight through). `decay` pulls pruned weights to zero. With
    `freeze` the mask of the first sparse step is kept for good.

    With a structure and a leak together, the structure tightens first and the leak fades in the
    last frame, for weights that the frame before it kept.
    """

    structure: Structure = "fixed"
    leak: Leak = "none"
    c: float | None = None
    grad: Grad = "masked"
    decay: float = 0.0
    freeze: bool = False


FLOWS: Mapping[str, Flow] = MappingProxyType(
    {
        "dense-to-sparse": Flow(freeze=True),
        "ste": Flow(grad="ste"),
        "sr-ste": Flow(grad="ste", decay=SR_STE_DECAY),
        "mdgf-linear": Flow(leak="linear", grad="ste"),
        "mdgf-exponential": Flow(leak="exponential", grad="ste"),
        "sdgf-stepwise": Flow(structure="stepwise", grad="ste"),
        "sdgf-geometric": Flow(structure="geometric", grad="ste"),
        "sdgf-densify": Flow(structure="densify", grad="ste"),
        "sdgf-mdgf": Flow(structure="stepwise", leak="exponential", grad="ste"),
    }
)
"""The recipes by name. All that decay are straight-through, which measured better or the same."""


@dataclass(frozen=True)
class Phases:
    """A run: `dense`, then sparse, then `fine_tune` steps (or epochs), `total` together."""

    total: int
    dense: int = 0
    fine_tune: int = 0

    def __post_init__(self) -> None:
        if min(self.dense, self.fine_tune) < 0 or self.sparse < 1:
            raise ValueError(
                f"{self.total} steps do not hold {self.dense} dense and {self.fine_tune} "
                "fine-tuning ones with a sparse one between them"
            )

    @property
    def sparse(self) -> int:
        """The length of the phase in which structure and leak change."""
        return self.total - self.dense - self.fine_tune

    @property
    def fine_tune_start(self) -> int:
        """The first step with the binary mask of the target."""
        return self.total - self.fine_tune

    def at(self, step: int) -> Phase:
        """The phase of a step."""
        if step < self.dense:
            return "dense"
        return "sparse" if step < self.fine_tune_start else "fine-tune"


@dataclass(frozen=True)
class FlowAt:
    """What flows in one step; `outer` bounds the weights that leak (None: all of them)."""

    pattern: NMPattern
    leak: float
    outer: NMPattern | None = None

    def turned(self) -> FlowAt:
        """The same in a weight that is inputs x outputs."""
        outer = None if self.outer is None else self.outer.turned()
        return FlowAt(self.pattern.turned(), self.leak, outer)

    @property
    def is_dense(self) -> bool:
        """Whether every weight counts in full."""
        return self.leak == 1 and self.outer is None

    @property
    def density(self) -> float:
        """The share of weights that count at all in the forward pass."""
        if self.leak == 0:
            return self.pattern.density
        return 1.0 if self.outer is None else self.outer.density


@dataclass(frozen=True)
class FlowSchedule:
    """A recipe with its target on its timeline of optimizer steps."""

    flow: Flow
    target: NMPattern
    phases: Phases

    def at(self, step: int) -> FlowAt:
        """What flows in a step; steps past the end are fine-tuning."""
        phase = self.phases.at(step)
        if phase == "dense":
            return FlowAt(self.target, 1.0)
        if phase == "fine-tune":
            return self.final
        starts = switches(self.flow.structure, self.target, self.phases)
        start = max(begin for begin in starts if begin <= step)
        if self.flow.leak == "none" or start != max(starts):
            return FlowAt(starts[start], 0.0)
        length = self.phases.fine_tune_start - start
        before = [starts[begin] for begin in starts if begin < start]
        return FlowAt(
            self.target,
            leak(self.flow.leak, step - start, self._c(length)),
            before[-1] if before else None,
        )

    @property
    def final(self) -> FlowAt:
        """The binary mask of the target."""
        return FlowAt(self.target, 0.0)

    @property
    def mean_density(self) -> float:
        """Training cost of the pruned layers against dense ones, if zeros were free."""
        steps = range(self.phases.total)
        return sum(self.at(step).density for step in steps) / self.phases.total

    def _c(self, length: int) -> float:
        return decay_constant(self.flow.leak, length) if self.flow.c is None else self.flow.c


def leak(kind: Leak, steps: int, c: float) -> float:
    """What passes through the mask `steps` optimizer steps after the leak began to fade.

    >>> round(leak("exponential", 1000, 1e-4), 6), leak("linear", 1250, 8e-4)
    (0.904837, 0.0)
    """
    if kind == "none":
        return 0.0
    if kind == "linear":
        return max(0.0, 1 - c * steps)
    return math.exp(-c * steps)


def decay_constant(kind: Leak, steps: int) -> float:
    """The c with which `steps` bring the leak to 0.01 (exponential) or to zero (linear)."""
    return 1 / steps if kind == "linear" else math.log(1 / FINAL_LEAK) / steps


def frames(structure: Structure, target: NMPattern) -> tuple[NMPattern, ...]:
    """The patterns of equal length in time, up to the target.

    >>> [str(pattern) for pattern in frames("stepwise", NMPattern(1, 8))]
    ['7:8', '4:8', '2:8', '1:8']
    """
    if isinstance(structure, tuple):
        if not structure or structure[-1] != target:
            raise ValueError(f"the last pattern of a structure is its target, {target}")
        return structure
    if structure == "stepwise":
        return _stepwise(target)
    if structure == "geometric":
        return tuple(target.scaled(factor) for factor in GEOMETRIC_FACTORS)
    if structure == "densify":
        return tuple(
            NMPattern(target.n, target.m * factor, target.axis) for factor in GEOMETRIC_FACTORS
        )
    return (target,)


def switches(structure: Structure, target: NMPattern, phases: Phases) -> dict[int, NMPattern]:
    """The first step (or epoch) of each frame: dense + floor(i * length)."""
    patterns = frames(structure, target)
    return {
        phases.dense + idx * phases.sparse // len(patterns): pattern
        for idx, pattern in enumerate(patterns)
    }


def mean_density(patterns: tuple[NMPattern, ...]) -> float:
    """The mean over frames of equal length.

    >>> mean_density(frames("stepwise", NMPattern(1, 8)))
    0.4375
    """
    return sum(pattern.density for pattern in patterns) / len(patterns)


def _stepwise(target: NMPattern) -> tuple[NMPattern, ...]:
    """(M-1):M, then M/2:M and halves of it down to the target."""
    kept = [target.m - 1]
    half = target.m // 2
    while half > target.n:
        kept.append(half)
        half //= 2
    kept.append(target.n)
    descending = sorted({n for n in kept if n >= target.n}, reverse=True)
    return tuple(target.with_n(n) for n in descending)
