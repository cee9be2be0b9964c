"""The empirical Fisher of a layer in blocks, and what it says of removing weights.

The loss near a minimum is L + 1/2 d^T F d, where F is the mean of g g^T over samples, plus damping
(Hassibi & Stork 1992; in blocks: arXiv 2203.07259; from gradients alone: arXiv 2107.03356). A
matrix of weights is cut along its rows into blocks of `size` columns, the last one padded with
zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from colonnade.errors import RecipeError
from colonnade.sparsify.layers import Layer
from colonnade.sparsify.ranks import mean_ranks
from colonnade.sparsify.run import Run


def to_blocks(matrix: Tensor, size: int) -> Tensor:
    """[rows, columns] as [blocks, size]."""
    return torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % size)).reshape(-1, size)


def from_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """The inverse of to_blocks, in the shape of the matrix `like`."""
    rows, columns = like.shape
    return blocks.reshape(rows, -1)[:, :columns]


def in_blocks(matrices: Sequence[Tensor], size: int) -> Tensor:
    """Gradients as [blocks, samples, size]."""
    size = min(size, matrices[0].shape[1])
    return torch.stack([to_blocks(matrix, size) for matrix in matrices], 1)


class BlockFisher:
    """Inverse Fisher blocks of `samples` gradients, one after the other (Sherman and Morrison)."""

    def __init__(self, matrix: Tensor, size: int, damping: float, samples: int) -> None:
        self._size = min(size, matrix.shape[1])
        self._samples = samples
        eye = torch.eye(self._size, dtype=torch.float32, device=matrix.device) / damping
        self.inverse = eye.expand(len(to_blocks(matrix, self._size)), -1, -1).clone()
        """[blocks, size, size]"""

    def add(self, gradient: Tensor) -> None:
        """One sample, a matrix."""
        g = to_blocks(gradient, self._size)
        moved = torch.einsum("bij,bj->bi", self.inverse, g)
        scale = self._samples + torch.einsum("bi,bi->b", g, moved)
        self.inverse -= moved[:, :, None] * (moved / scale[:, None])[:, None, :]


def sample_gradients(run: Run, layers: Sequence[Layer], count: int) -> Iterator[dict[str, Tensor]]:
    """Gradients of `count` fresh losses; those of the training step under way are not touched."""
    assert run.sample_losses is not None
    losses = run.sample_losses()
    for _ in range(count):
        with torch.enable_grad():
            loss = next(losses, None)
            if loss is None:
                raise RecipeError(
                    f"sample_losses ended before {count} losses; lower num_grads or give more",
                    parameter="num_grads",
                )
            found = torch.autograd.grad(loss, [layer.weight for layer in layers], allow_unused=True)
        yield {
            layer.name: mean_ranks(torch.zeros_like(layer.weight) if gradient is None else gradient)
            for layer, gradient in zip(layers, found, strict=True)
        }


def removal_costs(weights: Tensor, inverse: Tensor, width: int) -> Tensor:
    """By how much the loss rises when a weight goes: w^2 / 2 [F^-1]_ii. With `width` > 1, when that
    many consecutive columns go together, dealt out evenly among them."""
    blocks = to_blocks(weights, inverse.shape[-1])
    if width == 1 or inverse.shape[-1] % width:
        return from_blocks(blocks.square() / (2 * torch.diagonal(inverse, 0, 1, 2)), weights)
    parts = inverse.shape[-1] // width
    square = inverse.reshape(-1, parts, width, parts, width)
    own = torch.diagonal(square, 0, 1, 3).permute(0, 3, 1, 2)
    together = blocks.reshape(-1, parts, width)
    solved = torch.linalg.solve(own, together.unsqueeze(-1)).squeeze(-1)
    cost = (together * solved).sum(-1, keepdim=True) / (2 * width)
    return from_blocks(cost.expand(-1, -1, width).reshape(blocks.shape), weights)


def repair(weights: Tensor, mask: Tensor, inverse: Tensor) -> Tensor:
    """The weights after those outside `mask` went, with the least rise of the loss: all that go in
    a block are taken together, -F^-1 E (E^T F^-1 E)^-1 w."""
    blocks = to_blocks(weights, inverse.shape[-1])
    gone = 1.0 - to_blocks(mask.to(weights.dtype), inverse.shape[-1])
    among = inverse * gone[:, :, None] * gone[:, None, :] + torch.diag_embed(1 - gone)
    solved = torch.linalg.solve(among, (blocks * gone).unsqueeze(-1))
    moved = blocks - (inverse @ (solved * gone.unsqueeze(-1))).squeeze(-1)
    return from_blocks(moved * (1 - gone), weights)


def costs_by_gradients(weights: Tensor, gradients: Tensor, damping: float) -> Tensor:
    """As removal_costs for single weights, from gradients [blocks, samples, size] (Woodbury)."""
    samples = gradients.shape[1]
    inner = _inner(gradients, damping)
    solved = torch.linalg.solve(inner, gradients)
    diagonal = (1 - (gradients * solved).sum(1)) / damping
    blocks = to_blocks(weights, gradients.shape[2])
    assert samples > 0
    return from_blocks(blocks.square() / (2 * diagonal.clamp_min(1e-30)), weights)


def repair_by_gradients(weights: Tensor, mask: Tensor, gradients: Tensor, damping: float) -> Tensor:
    """As repair: those that stay solve F_ss d = F_sg w, with F = damping + G^T G / samples."""
    samples, size = gradients.shape[1:]
    blocks = to_blocks(weights, size)
    stays = to_blocks(mask.to(weights.dtype), size)
    kept = gradients * stays[:, None, :]
    pushed = torch.einsum("bsk,bk->bs", gradients * (1 - stays)[:, None, :], blocks) / samples
    wanted = torch.einsum("bsk,bs->bk", kept, pushed)
    solved = torch.linalg.solve(
        _inner(kept, damping), torch.einsum("bsk,bk->bs", kept, wanted).unsqueeze(-1)
    )
    moved = (wanted - torch.einsum("bsk,bs->bk", kept, solved.squeeze(-1))) / damping
    return from_blocks((blocks + moved) * stays, weights)


def _inner(gradients: Tensor, damping: float) -> Tensor:
    samples = gradients.shape[1]
    eye = torch.eye(samples, dtype=gradients.dtype, device=gradients.device)
    return samples * damping * eye + gradients @ gradients.transpose(1, 2)
