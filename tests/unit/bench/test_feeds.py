"""Random inputs that suit, and inputs from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colonnade.bench.feeds import ID_MAX, load_feeds, random_feeds
from colonnade.bench.peers import InputSpec
from colonnade.errors import InputError


def make(name: str, dtype: str, shape: tuple[int, ...] = (2, 50)) -> np.ndarray:
    spec = InputSpec(name, np.dtype(dtype), shape)
    array = random_feeds([spec], {name: shape})[name]
    assert array.dtype == spec.dtype
    assert array.shape == shape
    return array


def test_floats_are_normal_and_seeded() -> None:
    array = make("x", "float32", (50, 50))
    assert abs(float(array.mean())) < 0.1
    assert abs(float(array.std()) - 1) < 0.1
    np.testing.assert_array_equal(array, make("x", "float32", (50, 50)))
    assert make("x", "float16").dtype == np.float16


@pytest.mark.parametrize("name", ["attention_mask", "mask", "encoder_attention_mask"])
def test_masks_are_ones(name: str) -> None:
    assert (make(name, "int64") == 1).all()
    assert (make(name, "float32") == 1).all()


def test_token_numbers_are_small() -> None:
    ids = make("input_ids", "int64", (4, 500))
    assert ids.min() >= 0
    assert 100 < ids.max() < ID_MAX


def test_type_numbers_and_other_integers_are_zero() -> None:
    assert not make("token_type_ids", "int64").any()
    assert not make("beam_index", "int32").any()


def test_positions_count() -> None:
    np.testing.assert_array_equal(make("position_ids", "int64")[1], np.arange(50))


def test_bytes_use_their_range() -> None:
    assert make("pixels", "uint8", (100, 100)).max() > 200
    assert make("q", "int8", (100, 100)).min() < -100


def test_booleans_strings_scalars() -> None:
    assert make("use_it", "bool").all()
    assert make("words", "O").tolist()[0][0] == ""
    assert make("scale", "float32", ()).shape == ()


def test_npz_and_npy(tmp_path: Path) -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4)
    np.savez(tmp_path / "all.npz", a=a, b=b)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    both = load_feeds([str(tmp_path / "all.npz")], ["a", "b"])
    np.testing.assert_array_equal(both["a"], a)
    named = load_feeds([f"b={tmp_path / 'b.npy'}", f"a={tmp_path / 'a.npy'}"], ["a", "b"])
    assert list(named) == ["a", "b"]
    single = load_feeds([str(tmp_path / "a.npy")], ["only"])
    np.testing.assert_array_equal(single["only"], a)
    assert load_feeds([], ["a"]) == {}


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    array = tmp_path / "a.npy"
    np.save(array, np.zeros(3))
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    cases = [
        ([str(array)], "say which input"),
        ([f"a={array}"], r"missing \['b'\]"),
        ([f"a={array}", f"b={array}", f"c={array}"], r"unknown \['c'\]"),
        ([f"a={tmp_path / 'none.npy'}", f"b={array}"], "no such file"),
        ([f"a={tmp_path / 'text.npy'}"], "not a numpy file"),
        ([str(tmp_path / "text.npz")], "not a numpy file"),
        ([f"a={tmp_path / 'pickled.npy'}"], "not a numpy file"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            load_feeds(options, ["a", "b"])
