"""Shapes from declarations and options."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.bench.peers import InputSpec
from colonnade.bench.shapes import (
    OTHER_DEFAULT,
    SEQUENCE_DEFAULT,
    SIDE_DEFAULT,
    ShapeRequest,
    parse_bracketed_shapes,
    parse_shape_option,
    resolve_shapes,
    split_shape_options,
)
from colonnade.errors import InputError

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)
IMAGE = [InputSpec("input", FLOAT, ("batch", 3, 224, 224))]
ENCODER = [
    InputSpec("input_ids", INT, ("batch", "sequence")),
    InputSpec("attention_mask", INT, ("batch", "sequence")),
]


def test_batch_by_name() -> None:
    found = resolve_shapes(IMAGE, ShapeRequest(batch_size=16))
    assert found.shapes == {"input": (16, 3, 224, 224)}
    assert found.batch_size == 16
    assert found.notes == ()


def test_batch_is_one_by_default() -> None:
    assert resolve_shapes(IMAGE, ShapeRequest()).batch_size == 1


def test_sequence_by_option_and_by_default() -> None:
    found = resolve_shapes(ENCODER, ShapeRequest(batch_size=2, sequence_length=77))
    assert found.shapes == {"input_ids": (2, 77), "attention_mask": (2, 77)}
    found = resolve_shapes(ENCODER, ShapeRequest())
    assert found.shapes["attention_mask"] == (1, SEQUENCE_DEFAULT)
    assert any("sequence" in note for note in found.notes)


def test_one_whole_shape_binds_the_symbols_of_the_others() -> None:
    found = resolve_shapes(ENCODER, ShapeRequest(by_name={"input_ids": (4, 9)}))
    assert found.shapes["attention_mask"] == (4, 9)
    assert found.batch_size == 4


def test_a_symbol_has_one_size() -> None:
    shapes = {"input_ids": (4, 9), "attention_mask": (4, 8)}
    with pytest.raises(InputError, match="'sequence' is 8, elsewhere 9"):
        resolve_shapes(ENCODER, ShapeRequest(by_name=shapes))


def test_shapes_by_position() -> None:
    found = resolve_shapes(ENCODER, ShapeRequest(by_position=((2, 5), (2, 5))))
    assert found.shapes == {"input_ids": (2, 5), "attention_mask": (2, 5)}
    with pytest.raises(InputError, match="1 shapes for 2 inputs"):
        resolve_shapes(ENCODER, ShapeRequest(by_position=((2, 5),)))


def test_symbols_by_name() -> None:
    found = resolve_shapes(ENCODER, ShapeRequest(symbols={"sequence": 33}))
    assert found.shapes["input_ids"] == (1, 33)


def test_the_first_dimension_is_the_batch_whatever_its_name() -> None:
    specs = [InputSpec("x", FLOAT, ("unk__7", 43, 1))]
    found = resolve_shapes(specs, ShapeRequest(batch_size=3))
    assert (found.shapes["x"], found.batch_size) == ((3, 43, 1), 3)


def test_a_leading_sequence_is_not_the_batch() -> None:
    specs = [InputSpec("x", FLOAT, ("sequence_length", 576)), InputSpec("h", FLOAT, (1, 1, 128))]
    found = resolve_shapes(specs, ShapeRequest(batch_size=1, sequence_length=64))
    assert found.shapes == {"x": (64, 576), "h": (1, 1, 128)}
    assert found.batch_size == 1


def test_fixed_batch_refuses_another() -> None:
    specs = [InputSpec("x", FLOAT, (8, 3))]
    assert resolve_shapes(specs, ShapeRequest()).batch_size == 8
    with pytest.raises(InputError, match="fixed batch of 8"):
        resolve_shapes(specs, ShapeRequest(batch_size=2))


def test_free_sides_of_an_image_and_other_free_dimensions() -> None:
    specs = [
        InputSpec("image", FLOAT, ("N", 3, None, "width")),
        InputSpec("extra", FLOAT, (1, "unknown")),
    ]
    found = resolve_shapes(specs, ShapeRequest())
    assert found.shapes == {
        "image": (1, 3, SIDE_DEFAULT, SIDE_DEFAULT),
        "extra": (1, OTHER_DEFAULT),
    }
    assert len(found.notes) == 3


@pytest.mark.parametrize("shape", [(1, 3, 224), (1, 4, 224, 224)])
def test_a_shape_that_does_not_fit_the_declaration(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"does not fit the declared input float32 \[batch, 3"):
        resolve_shapes(IMAGE, ShapeRequest(by_name={"input": shape}))


def test_an_unknown_rank_needs_a_shape() -> None:
    specs = [InputSpec("x", FLOAT, None)]
    with pytest.raises(InputError, match="declares no shape"):
        resolve_shapes(specs, ShapeRequest())
    assert resolve_shapes(specs, ShapeRequest(by_name={"x": (2, 2)})).shapes == {"x": (2, 2)}


def test_scalars_and_no_inputs() -> None:
    assert resolve_shapes([InputSpec("s", FLOAT, ())], ShapeRequest()).shapes == {"s": ()}
    assert resolve_shapes([], ShapeRequest()).batch_size == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1x2", ("x", (1, 2))),
        ("a=b=3", ("a=b", (3,))),
        ("x=", ("x", ())),
        ("n:0=1,2", ("n:0", (1, 2))),
    ],
)
def test_shape_option(text: str, expected: tuple[str, tuple[int, ...]]) -> None:
    assert parse_shape_option(text) == expected


@pytest.mark.parametrize("text", ["1x2", "=1x2", "x=1xa", "x=-1", f"x={1 << 40}", "x=1x"])
def test_bad_shape_option(text: str) -> None:
    with pytest.raises(InputError, match="shape"):
        parse_shape_option(text)


def test_bracketed_shapes() -> None:
    assert parse_bracketed_shapes("[1,2,3], [4]") == ((1, 2, 3), (4,))
    assert parse_bracketed_shapes("[]") == ((),)
    for text in ("1,2", "[1,2", "[1],x", "[a]", "[[1]]", "[1][2]"):
        with pytest.raises(InputError):
            parse_bracketed_shapes(text)


def test_options_name_inputs_or_symbols() -> None:
    options = [("input_ids", (1, 5)), ("sequence", (5,))]
    assert split_shape_options(options, ENCODER) == ({"input_ids": (1, 5)}, {"sequence": 5})
    for wrong in (("other", (5,)), ("sequence", (5, 6))):
        with pytest.raises(InputError, match="no input or dimension"):
            split_shape_options([wrong], ENCODER)


def test_a_saved_plan_runs_its_own_shapes_unless_asked_for_others() -> None:
    specs = [InputSpec("x", FLOAT, ("batch", 3), planned=(4, 3))]
    assert resolve_shapes(specs, ShapeRequest()).batch_size == 4
    assert resolve_shapes(specs, ShapeRequest(batch_size=2)).shapes == {"x": (2, 3)}
