"""Classification losses, in float64."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import has_attr, int_attr, str_attr
from colonnade.reference.failure import EvaluationError
from colonnade.reference.index import wrapped
from colonnade.reference.norm import log_softmax
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow, wide


def _negative_log_likelihood(
    node: Node, log_p: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Classes lie on axis 1; the mean is weighted."""
    is_kept = np.ones(target.shape, np.bool_)
    if has_attr(node, "ignore_index"):
        is_kept = target != int_attr(node, "ignore_index")
    classes = wrapped(np.where(is_kept, target, 0), log_p.shape[1])
    chosen = np.take_along_axis(log_p, classes[:, None], axis=1)[:, 0]
    weights = np.ones(target.shape) if weight is None else wide(weight)[classes]
    weights = np.where(is_kept, weights, 0)
    loss = -chosen * weights
    reduction = str_attr(node, "reduction", "mean")
    if reduction == "none":
        return np.asarray(loss)
    if reduction not in ("sum", "mean"):
        raise EvaluationError(f"reduction {reduction!r} is not none, sum or mean")
    total = loss.sum()
    return np.asarray(total if reduction == "sum" else total / weights.sum())


def _nll_loss(
    node: Node, log_p: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None
) -> Outputs:
    return (narrow(_negative_log_likelihood(node, wide(log_p), target, weight), log_p.dtype),)


def _softmax_cross_entropy(
    node: Node, scores: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None
) -> Outputs:
    log_p = log_softmax(wide(scores), 1)
    loss = _negative_log_likelihood(node, log_p, target, weight)
    return narrow(loss, scores.dtype), narrow(log_p, scores.dtype)


OPS: Operations = {
    ("", "NegativeLogLikelihoodLoss"): _nll_loss,
    ("", "SoftmaxCrossEntropyLoss"): _softmax_cross_entropy,
}
