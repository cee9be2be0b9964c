"""From selected calls to stripes: what `stripes.py` needs to know of each."""

from __future__ import annotations

from collections.abc import Sequence

from colonnade.planner.choice import Const, In
from colonnade.planner.select import (
    PackConstant,
    Selected,
    Selection,
    Storage,
    StripeRecord,
    Target,
)
from colonnade.planner.stripe_body import PanelRead, StripeCall, Tensor
from colonnade.planner.stripes import (
    FLOPS_PER_BYTE,
    FLOPS_PER_BYTE_BEST,
    Cache,
    Group,
    find_groups,
)


def find_stripes(
    selection: Selection, outputs: Sequence[int], target: Target, pack: PackConstant
) -> tuple[Group, ...]:
    """Groups of the selection's calls; `outputs`: storages that are read after them."""
    if not target.stripes:
        return ()
    calls = [_stripe_call(call, selection.storages, pack) for call in selection.calls]
    tensors = {
        number: Tensor(max(held.panels, 1), held.nbytes // max(held.panels, 1), held.panels == 0)
        for number, held in enumerate(selection.storages)
    }
    speed = FLOPS_PER_BYTE.get(target.isa, FLOPS_PER_BYTE_BEST)
    cache = Cache(target.l2_bytes, target.l3_bytes, target.threads, speed)
    return find_groups(calls, tensors, frozenset(outputs), cache)


def _stripe_call(
    selected: Selected, storages: Sequence[Storage], pack: PackConstant
) -> StripeCall | None:
    """What the stripes' planner needs of a call, or None when it cannot be in one."""
    striped = selected.choice.striped
    if striped is None:
        return None
    reads: list[PanelRead] = []
    whole: set[int] = set()
    for i, operand in enumerate(selected.operands):
        source = selected.choice.operands[i]
        if not isinstance(operand, int) or not isinstance(source, In):
            continue
        if not source.layout.is_columns:
            whole.add(operand)
        elif storages[operand].panels:
            reads.append(PanelRead(operand, striped.reach if i == 0 else None))
        else:
            return None
    writes = tuple(sorted(selected.writes))
    # columns_to_rows makes no panels: its units are those that it reads.
    panels = storages[writes[0]].panels or storages[reads[0].storage].panels
    constants = [pack(operand) for operand in selected.operands if isinstance(operand, Const)]
    return StripeCall(
        panels, tuple(reads), frozenset(whole), writes,
        sum(array.nbytes for array in constants), striped.scratch_bytes, int(selected.choice.flops * selected.choice.work_share),
    )  # fmt: skip


def stripe_record(group: Group, selection: Selection) -> StripeRecord:
    """What `explain` says of a group."""
    calls = selection.calls[group.first : group.last]
    return StripeRecord(
        tuple(call.label for call in calls), group.panels, group.stripe_panels, group.segments,
        group.window_bytes, group.saved_bytes, group.recomputed,
    )  # fmt: skip
