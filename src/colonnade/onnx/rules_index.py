"""Rules for operators that index, and for those whose inputs must agree in rank or size."""

from __future__ import annotations

import numpy as np

from colonnade.onnx.node_view import KnownShape, NodeView

_REDUCTIONS = {
    "Scatter": ("none",),
    "ScatterElements": ("none", "add", "mul", "max", "min"),
    "ScatterND": ("none", "add", "mul", "max", "min"),
    "NegativeLogLikelihoodLoss": ("none", "mean", "sum"),
    "SoftmaxCrossEntropyLoss": ("none", "mean", "sum"),
}


def check_gather_elements(view: NodeView) -> None:
    """GatherElements: indices of the data's rank, no larger beside the axis."""
    data, indices = view.shape(0), view.shape(1)
    _check_same_rank(view, data, indices, "indices")
    _check_inside(view, data, indices)


def check_scatter_elements(view: NodeView) -> None:
    """ScatterElements: indices of the data's rank, updates of the indices' shape."""
    _check_reduction(view)
    data, indices, updates = view.shape(0), view.shape(1), view.shape(2)
    _check_same_rank(view, data, indices, "indices")
    _check_same_rank(view, indices, updates, "updates")
    _check_inside(view, data, indices)
    for a, b in zip(indices or (), updates or (), strict=False):
        if a is not None and b is not None and a != b:
            raise view.error(f"indices of shape {_text(indices)}, updates of {_text(updates)}")


def check_gather_nd(view: NodeView) -> None:
    """GatherND: an index no longer than the data's rank."""
    data, indices = view.shape(0), view.shape(1)
    if data is None or indices is None:
        return
    batch = view.int_attribute("batch_dims", 0)
    if not data or not indices or batch >= min(len(data), len(indices)):
        raise view.error(f"data of {len(data)} dimensions, indices of {len(indices)}", "batch_dims")
    length = indices[-1]
    if length is not None and not 1 <= length <= len(data) - batch:
        raise view.error(f"an index of {length} numbers for data of {len(data)} dimensions")


def check_scatter_nd(view: NodeView) -> None:
    """ScatterND: an index no longer than the data's rank, updates of what it leaves."""
    _check_reduction(view)
    data, indices, updates = view.shape(0), view.shape(1), view.shape(2)
    if data is None or indices is None or not indices or indices[-1] is None:
        return
    length = indices[-1]
    if length > len(data):
        raise view.error(f"an index of {length} numbers for data of {len(data)} dimensions")
    wanted = (*indices[:-1], *data[length:])
    if updates is not None and not _agree(wanted, updates):
        raise view.error(f"updates of shape {_text(updates)}, expected {_text(wanted)}")


def check_loss(view: NodeView) -> None:
    """Loss functions: classes as second dimension of the scores, one label for the others."""
    _check_reduction(view)
    scores, labels = view.shape(0), view.shape(1)
    if scores is None or labels is None:
        return
    if len(scores) < 2 or not _agree((scores[0], *scores[2:]), labels):
        raise view.error(f"labels of shape {_text(labels)} for scores of {_text(scores)}")


def check_tf_idf(view: NodeView) -> None:
    """TfIdfVectorizer: lengths and positions that its tables have."""
    low, high = view.int_attribute("min_gram_length", 1), view.int_attribute("max_gram_length", 1)
    if not 1 <= low <= high <= _MAX_GRAM:
        raise view.error(f"grams of {low} to {high}, expected 1 to {_MAX_GRAM}", "max_gram_length")
    if not 0 <= view.int_attribute("max_skip_count", 0) <= _MAX_GRAM:
        raise view.error(f"expected 0 to {_MAX_GRAM}", "max_skip_count")
    starts = view.ints_attribute("ngram_counts") or ()
    pools = (view.attributes.get("pool_int64s"), view.attributes.get("pool_strings"))
    size = max(len(pool.ints) + len(pool.strings) if pool else 0 for pool in pools)
    if sorted(starts) != list(starts) or any(not 0 <= start <= size for start in starts):
        raise view.error(f"{list(starts)[:8]} are not places in a pool of {size}", "ngram_counts")
    places = view.ints_attribute("ngram_indexes") or ()
    if any(place < 0 for place in places):
        raise view.error("negative place", "ngram_indexes")
    view.check_size((max(places, default=0) + 1,), np.dtype(np.float32).itemsize)


_MAX_GRAM = 1 << 10


def _check_reduction(view: NodeView) -> None:
    allowed = _REDUCTIONS[view.op]
    found = view.text_attribute("reduction", allowed[0])
    if found not in allowed:
        raise view.error(f"{found[:40]!r}, expected one of {', '.join(allowed)}", "reduction")


def _check_same_rank(
    view: NodeView, data: KnownShape | None, other: KnownShape | None, name: str
) -> None:
    if data is not None and other is not None and len(data) != len(other):
        raise view.error(f"{name} of {len(other)} dimensions, expected {len(data)}")


def _check_inside(view: NodeView, data: KnownShape | None, indices: KnownShape | None) -> None:
    """Beside the axis, indices must not reach past the data."""
    if not data or not indices:
        return
    axis = view.int_attribute("axis", 0) % len(data)
    for i, (size, count) in enumerate(zip(data, indices, strict=True)):
        if i != axis and size is not None and count is not None and count > size:
            raise view.error(f"indices of shape {_text(indices)} for data of {_text(data)}")


def _agree(wanted: KnownShape, given: KnownShape) -> bool:
    return len(wanted) == len(given) and all(
        a is None or b is None or a == b for a, b in zip(wanted, given, strict=True)
    )


def _text(shape: KnownShape | None) -> str:
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape or ()) + "]"
