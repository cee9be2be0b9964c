"""Stripes of any size on any model, to compare with the same plan without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from unittest import mock

from colonnade.planner import stripe_selection
from colonnade.planner.stripe_body import StripeCall, Tensor, try_body
from colonnade.planner.stripes import CALLS_MAX, Cache, Group, StripeChoice, make_group


@contextmanager
def forced_stripes(stripe_panels: int, segments: int) -> Iterator[None]:
    """Every group that can be made is made, the longest first, with these sizes."""

    def find(
        calls: Sequence[StripeCall | None],
        tensors: Mapping[int, Tensor],
        kept: Set[int],
        cache: Cache,
    ) -> tuple[Group, ...]:
        return tuple(_all_groups(calls, tensors, kept, stripe_panels, segments))

    with mock.patch.object(stripe_selection, "find_groups", find):
        yield


def _all_groups(
    calls: Sequence[StripeCall | None],
    tensors: Mapping[int, Tensor],
    kept: Set[int],
    stripe_panels: int,
    segments: int,
) -> Iterator[Group]:
    uses = [
        {*call.whole, *call.writes, *(read.storage for read in call.reads)} if call else set()
        for call in calls
    ]
    last_use = {s: i for i, used in enumerate(uses) for s in used} | dict.fromkeys(kept, len(uses))
    first = 0
    while first < len(calls):
        ends = range(min(len(calls), first + CALLS_MAX), first + 1, -1)
        bodies = (
            try_body(calls, first, end, last_use, tensors) for end in ends if all(calls[first:end])
        )
        body = next(filter(None, bodies), None)
        if body is None:
            first += 1
            continue
        choice = StripeChoice(stripe_panels, min(segments, body.panels), 0.0, 0.0, 0)
        yield make_group(body, choice, tensors)
        first += len(body.calls)
