"""What the processes of one run agree on. Alone, a process agrees with itself at no cost."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def is_distributed() -> bool:
    """Whether there are other processes."""
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def rank() -> int:
    """The number of this process, from 0."""
    return torch.distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return torch.distributed.get_world_size() if is_distributed() else 1


def gather(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """The value of the first process."""
    if not is_distributed():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def any_rank(*, flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true in some process; `device` is one that they can exchange tensors of."""
    if not is_distributed():
        return flag
    seen = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX)
    return bool(seen)


def sum_ranks(values: Tensor, device: torch.device | None = None) -> Tensor:
    """The sum over all processes, where `values` are; exchanged on `device`, or where they are."""
    if not is_distributed():
        return values
    total = values.to(device or values.device, copy=True)
    torch.distributed.all_reduce(total)
    return total.to(values.device)


def mean_ranks(values: Tensor) -> Tensor:
    """The mean over all processes."""
    return sum_ranks(values) / world_size() if is_distributed() else values


def max_ranks(values: Tensor) -> Tensor:
    """The greatest of each element over all processes."""
    if not is_distributed():
        return values
    greatest = values.clone()
    torch.distributed.all_reduce(greatest, torch.distributed.ReduceOp.MAX)
    return greatest
