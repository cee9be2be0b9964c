"""N:M recipes side by side: equal networks, data, steps and learning rates; only the flow differs.

On hardware that computes masked weights in full, each step costs the same, so equal steps are equal
training FLOPs spent. What each recipe would cost if zeros were free is its mean density.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from accuracy.fashion import Split, accuracy, batches
from accuracy.networks import NETWORKS
from colonnade.sparsify.nm.flow import FLOWS, Flow, FlowSchedule, Phases
from colonnade.sparsify.nm.masters import MasterWeights
from colonnade.sparsify.nm.pattern import parse_nm

DENSE = "dense"
DENSE_SHARE = {"dense-to-sparse": 0.5}
"""Steps before the mask of `dense-to-sparse` is chosen; the other recipes start at once."""
FINE_TUNE_SHARE = 0.2
WARM_UP_SHARE = 0.05
STE_SUFFIX = " (ste)"


@dataclass(frozen=True)
class Training:
    """What is equal for all recipes of a network."""

    images: int
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01


TRAININGS = {
    "mlp": Training(images=16_000, epochs=8, batch=128, learning_rate=2e-3),
    "vit": Training(images=10_000, epochs=8, batch=128, learning_rate=2e-3),
}
PATTERNS = ("1:8", "1:16", "2:16")
RECIPES = (
    "dense-to-sparse",
    "sr-ste",
    "mdgf-linear",
    "mdgf-exponential",
    "sdgf-stepwise",
    "sdgf-geometric",
)
STRAIGHT = ("mdgf-linear", "mdgf-exponential", "sdgf-stepwise", "sdgf-geometric")
"""Recipes in both readings of their gradient: masked and, with the suffix, straight through."""
ALL_RECIPES = (*RECIPES, *(name + STE_SUFFIX for name in STRAIGHT))
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Case:
    """One training; `recipe` may end in " (ste)": the straight-through reading of its gradient."""

    network: str
    recipe: str
    pattern: str
    seed: int

    @property
    def key(self) -> str:
        """A name for the table of results."""
        return f"{self.network}/{self.recipe}/{self.pattern}/{self.seed}"


def list_cases(
    network: str,
    recipes: Sequence[str] = ALL_RECIPES,
    patterns: Sequence[str] = PATTERNS,
    seeds: Sequence[int] = SEEDS,
) -> list[Case]:
    """The trainings of a network: seed by seed, so that an interrupted set is a smaller whole."""
    cases = []
    for seed in seeds:
        cases.append(Case(network, DENSE, "1:1", seed))
        for recipe in recipes:
            cases += [Case(network, recipe, pattern, seed) for pattern in patterns]
    return cases


def run_case(case: Case, train: Split, test: Split) -> dict[str, Any]:
    """Train once; the accuracy on the test images with the exact N:M weights."""
    training = TRAININGS[case.network]
    data = train.first(training.images)
    total = training.epochs * (training.images // training.batch)
    torch.manual_seed(case.seed)
    cls = NETWORKS[case.network]
    model = cls()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=True,
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
    masters = None
    if case.recipe != DENSE:
        schedule = schedule_of(case, total)
        masters = MasterWeights({name: parameters[name] for name in cls.prunable}, schedule)
    start = time.process_time()
    for step, (images, labels) in enumerate(
        batches(data, training.batch, training.epochs, case.seed)
    ):
        if masters is not None:
            masters.show(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        if masters is not None:
            masters.restore()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if masters is not None:
            masters.keep()
        rates.step()
    if masters is not None:
        masters.finalize()
    return {
        **asdict(case),
        "accuracy": accuracy(model, test),
        "density": 1.0 if masters is None else masters.schedule.mean_density,
        "steps": total,
        "cpu_s": round(time.process_time() - start, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def schedule_of(case: Case, total: int) -> FlowSchedule:
    """The recipe of a case on its timeline."""
    name = case.recipe.removesuffix(STE_SUFFIX)
    flow: Flow = FLOWS[name]
    if name in STRAIGHT:
        flow = replace(flow, grad="ste" if case.recipe.endswith(STE_SUFFIX) else "masked")
    dense = round(DENSE_SHARE.get(name, 0.0) * total)
    phases = Phases(total, dense, round(FINE_TUNE_SHARE * total))
    return FlowSchedule(flow, parse_nm(case.pattern), phases)


def rate(step: int, total: int) -> float:
    """A linear warm-up, then a cosine to zero."""
    warm_up = WARM_UP_SHARE * total
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (total - warm_up)))
