"""Tables of Resize: what every coordinate mode and filter promises."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.planner.index_table import FILL
from colonnade.planner.resample_table import (
    ResizedAxis,
    cubic_taps,
    linear_taps,
    nearest_table,
    source_positions,
)

MODES = (
    "half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
)  # fmt: skip
AXES = [
    ResizedAxis(4, 8, 2.0),
    ResizedAxis(8, 4, 0.5),
    ResizedAxis(5, 1, 0.2),
    ResizedAxis(1, 3, 3.0),
]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_weights_sum_to_one_and_indices_fit(axis: ResizedAxis, mode: str) -> None:
    for taps in (
        linear_taps(axis, mode), linear_taps(axis, mode, antialias=True),
        cubic_taps(axis, mode, a=-0.75), cubic_taps(axis, mode, a=-0.5, exclude_outside=True),
        cubic_taps(axis, mode, a=-0.75, antialias=True),
    ):  # fmt: skip
        assert not isinstance(taps, str)
        assert taps.indices.shape == taps.weights.shape == (axis.out_dim, taps.indices.shape[1])
        assert taps.indices.min() >= 0
        assert taps.indices.max() < axis.in_dim
        np.testing.assert_allclose(taps.weights.sum(axis=1), 1.0, rtol=1e-12)


def test_align_corners_keeps_the_corners() -> None:
    positions = source_positions(ResizedAxis(4, 10, 2.5), "align_corners")
    assert positions is not None
    assert (positions[0], positions[-1]) == (0, 3)


def test_linear_between_two_pixels() -> None:
    taps = linear_taps(ResizedAxis(2, 4, 2.0), "half_pixel")
    assert not isinstance(taps, str)
    values = (taps.weights * np.array([0.0, 1.0])[taps.indices]).sum(axis=1)
    assert values.tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize(
    ("rounding", "want"),
    [
        ("round_prefer_floor", [0, 0, 1, 1, 2, 2]),
        ("round_prefer_ceil", [0, 1, 1, 2, 2, 2]),
        ("floor", [0, 0, 1, 1, 2, 2]),
        ("ceil", [0, 1, 1, 2, 2, 2]),
    ],
)
def test_nearest_at_half_positions(rounding: str, want: list[int]) -> None:
    table = nearest_table(ResizedAxis(3, 6, 2.0), "asymmetric", rounding)
    assert not isinstance(table, str)
    assert table.tolist() == want


def test_a_crop_marks_what_lies_outside() -> None:
    axis = ResizedAxis(4, 5, 1.25, roi=(-0.5, 1.5))
    table = nearest_table(axis, "tf_crop_and_resize", "floor")
    taps = linear_taps(axis, "tf_crop_and_resize")
    assert not isinstance(table, str)
    assert not isinstance(taps, str)
    outside = [True, False, False, False, True]
    assert (table == FILL).tolist() == outside
    assert (taps.indices[:, 0] == FILL).tolist() == outside


def test_unknown_modes_are_refused() -> None:
    axis = AXES[0]
    assert linear_taps(axis, "sideways") == "coordinate transformation 'sideways'"
    assert nearest_table(axis, "asymmetric", "guess") == "nearest mode 'guess'"
