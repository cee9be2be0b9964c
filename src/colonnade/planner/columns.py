"""When a tensor in column panels can be seen under another shape without moving a byte.

Columns(axis f) holds features x columns: the features are axis f, the columns all other axes in
order. The bytes stay right as long as one axis holds exactly the features and the columns keep
their order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def reshaped_feature_axis(
    shape: Sequence[int], feature_axis: int, new_shape: Sequence[int]
) -> int | None:
    """The feature axis after a reshape, or None when the bytes would have to move.

    >>> reshaped_feature_axis((2, 7, 64), 2, (14, 64))
    1
    >>> reshaped_feature_axis((8, 64, 1, 1), 1, (8, 64))
    1
    >>> reshaped_feature_axis((2, 64, 3, 3), 1, (2, 64, 9))
    1
    """
    features = shape[feature_axis]
    after = math.prod(shape[feature_axis + 1 :])
    for axis, dim in enumerate(new_shape):
        # A single feature leaves the columns alone, wherever its axis stands.
        if dim == features and (dim == 1 or math.prod(new_shape[axis + 1 :]) == after):
            return axis
    return None


def transposed_feature_axis(
    shape: Sequence[int], feature_axis: int, perm: Sequence[int]
) -> int | None:
    """The feature axis after a transpose, or None when the columns change their order.

    >>> transposed_feature_axis((2, 64, 5, 5), 1, (0, 2, 3, 1))
    3
    """
    columns = [axis for axis in perm if axis != feature_axis and shape[axis] != 1]
    return list(perm).index(feature_axis) if columns == sorted(columns) else None
