"""The empirical Fisher of a layer in blocks, and what it says of removing weights.

The loss near a minimum is L + 1/2 d^T F d, where F is the mean of g g^T over samples, plus damping
(Hassibi & Stork 1992; in blocks: arXiv 2203.07259; from gradients alone: arXiv 2107.03356). A
matrix of weights is cut along its rows into blocks of `size` columns, the last one padded with
zeros.

Damping is many times smaller than the squares of large gradients, and float32 would not see it
beside them: what is inverted here is computed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from colonnade.errors import RecipeError
from colonnade.sparsify.layers import Layer
from colonnade.sparsify.run import Run

VALUES_AT_ONCE = 1 << 22
"""Of stored gradients that are held in float64 at a time: 32 MiB."""


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
    """The Fisher blocks of `samples` gradients, summed up one after the other."""

    def __init__(self, matrix: Tensor, size: int, damping: float, samples: int) -> None:
        self._size = min(size, matrix.shape[1])
        self._damping = damping
        self._samples = samples
        blocks = exact(to_blocks(matrix, self._size))
        self._sum = blocks.new_zeros(len(blocks), self._size, self._size)

    def add(self, gradient: Tensor) -> None:
        """One sample, a matrix."""
        g = to_blocks(gradient, self._size).to(self._sum)
        self._sum.baddbmm_(g[:, :, None], g[:, None, :])

    def inverse(self) -> Tensor:
        """[blocks, size, size]"""
        return torch.cholesky_inverse(_factor(self._sum / self._samples, self._damping))


def exact(values: Tensor) -> Tensor:
    """In float64, or the best that the device has."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


@contextmanager
def sampling(run: Run) -> Iterator[None]:
    """Around forwards that are no part of a training step: what they do to buffers (statistics of
    normalisations, ranges of activations) is undone."""
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in run.model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    run.is_sampling = True
    try:
        yield
    finally:
        run.is_sampling = False
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                buffer.copy_(before)
                setattr(module, name, buffer)


def sample_gradients(run: Run, layers: Sequence[Layer], count: int) -> Iterator[dict[str, Tensor]]:
    """Gradients of `count` fresh losses; those of the training step under way are not touched.

    They are zero for a weight that is frozen, and in a sample that is not finite.
    """
    assert run.sample_losses is not None
    num_bad = 0
    with sampling(run):
        losses = run.sample_losses()
        for _ in range(count):
            found = _gradients_of_next(losses, layers, count)
            is_finite = all(bool(gradient.isfinite().all()) for gradient in found.values())
            num_bad += not is_finite
            yield {
                layer.name: found[layer.name]
                if is_finite and layer.name in found
                else torch.zeros_like(layer.weight)
                for layer in layers
            }
    if num_bad:
        run.note(
            f"step {run.step}: {num_bad} of {count} sampled gradients were not finite and count as "
            "zero"
        )


def _gradients_of_next(
    losses: Iterator[Tensor], layers: Sequence[Layer], count: int
) -> dict[str, Tensor]:
    trained = [layer for layer in layers if layer.weight.requires_grad]
    with torch.enable_grad():
        loss = next(losses, None)
        if loss is None:
            raise RecipeError(
                f"sample_losses ended before {count} losses; lower num_grads or give more",
                parameter="num_grads",
            )
        if not trained:
            return {}
        weights = [layer.weight for layer in trained]
        found = torch.autograd.grad(loss, weights, allow_unused=True)
    return {
        layer.name: gradient
        for layer, gradient in zip(trained, found, strict=True)
        if gradient is not None
    }


def removal_costs(weights: Tensor, inverse: Tensor, width: int) -> Tensor:
    """By how much the loss rises when a weight goes: w^2 / 2 [F^-1]_ii. With `width` > 1, when that
    many consecutive columns go together, dealt out evenly among them."""
    blocks = to_blocks(weights, inverse.shape[-1]).to(inverse)
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
    blocks = to_blocks(weights, inverse.shape[-1]).to(inverse)
    gone = 1.0 - to_blocks(mask, inverse.shape[-1]).to(inverse)
    among = inverse * gone[:, :, None] * gone[:, None, :] + torch.diag_embed(1 - gone)
    solved = torch.linalg.solve(among, (blocks * gone).unsqueeze(-1))
    moved = blocks - (inverse @ (solved * gone.unsqueeze(-1))).squeeze(-1)
    return from_blocks(moved * (1 - gone), weights).to(weights.dtype)


def costs_by_gradients(weights: Tensor, gradients: Tensor, damping: float) -> Tensor:
    """As removal_costs for single weights, from gradients [blocks, samples, size]."""
    diagonal = torch.cat(
        [_inverse_diagonal(exact(g), damping) for g in gradients.split(_count(gradients))]
    )
    blocks = to_blocks(weights, gradients.shape[2]).to(diagonal)
    return from_blocks(blocks.square() / (2 * diagonal), weights)


def repair_by_gradients(weights: Tensor, mask: Tensor, gradients: Tensor, damping: float) -> Tensor:
    """As repair: those that stay solve F_ss d = F_sg w, with F = damping + G^T G / samples. That is
    d = G_s^T (samples * damping + G_s G_s^T)^-1 G_g w, in which nothing cancels."""
    size = gradients.shape[2]
    blocks, stays = exact(to_blocks(weights, size)), exact(to_blocks(mask, size))
    count = _count(gradients)
    moved = torch.cat(
        [
            _moved(exact(g), w, kept, damping)
            for g, w, kept in zip(
                gradients.split(count), blocks.split(count), stays.split(count), strict=True
            )
        ]
    )
    return from_blocks((blocks + moved) * stays, weights).to(weights.dtype)


def _moved(gradients: Tensor, blocks: Tensor, stays: Tensor, damping: float) -> Tensor:
    kept = gradients * stays[:, None, :]
    pushed = gradients @ (blocks * (1 - stays)).unsqueeze(-1)
    solved = torch.cholesky_solve(pushed, _factor(kept @ kept.mT, len(gradients[0]) * damping))
    return (kept.mT @ solved).squeeze(-1)


def _inverse_diagonal(gradients: Tensor, damping: float) -> Tensor:
    """Of damping + G^T G / samples: by itself if it is smaller than G G^T, else from that (the
    lemma of Woodbury)."""
    samples, size = gradients.shape[1:]
    if size <= samples:
        factor = _factor(gradients.mT @ gradients / samples, damping)
        return torch.cholesky_inverse(factor).diagonal(0, 1, 2)
    factor = _factor(gradients @ gradients.mT, samples * damping)
    seen = (gradients * torch.cholesky_solve(gradients, factor)).sum(1)
    return (1 - seen).clamp_min(torch.finfo(seen.dtype).eps) / damping


def _factor(products: Tensor, damping: float) -> Tensor:
    """The Cholesky factors of products + damping * I. The products are overwritten. Damping below
    their rounding error is raised to it, so that there always are factors."""
    diagonal = products.diagonal(0, 1, 2)
    rounding = torch.finfo(products.dtype).eps * products.shape[-1] * diagonal.sum(1, keepdim=True)
    diagonal.add_(rounding.clamp_min(damping))
    return torch.linalg.cholesky(products)


def _count(gradients: Tensor) -> int:
    return max(1, VALUES_AT_ONCE // int(gradients[0].numel()))
