"""The text of every error class, its builtin, and its section in docs/errors.md."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from colonnade import errors
from colonnade.errors import (
    CapabilityError,
    CheckpointError,
    ColonnadeError,
    ExportError,
    InputError,
    KnobError,
    ModelError,
    OverloadedError,
    PlanError,
    RecipeError,
    RunError,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"
CLASSES = [value for value in vars(errors).values() if isinstance(value, type)]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ColonnadeError("broken"), "broken [docs/errors.md#colonnadeerror]"),
        (InputError("input 'x': bad"), "input 'x': bad [docs/errors.md#inputerror]"),
        (RunError("index 7"), "index 7 [docs/errors.md#runerror]"),
        (OverloadedError("9 wait"), "9 wait [docs/errors.md#overloadederror]"),
        (PlanError("checksum"), "checksum [docs/errors.md#planerror]"),
        (CapabilityError("no AVX2"), "no AVX2 [docs/errors.md#capabilityerror]"),
        (KnobError("X='1'"), "X='1' [docs/errors.md#knoberror]"),
        (ExportError("differs"), "differs [docs/errors.md#exporterror]"),
        (ModelError("empty"), "empty [docs/errors.md#modelerror]"),
        (CheckpointError("full"), "full [docs/errors.md#checkpointerror]"),
        (RecipeError("bad"), "bad [docs/errors.md#recipeerror]"),
    ],
)
def test_text(error: ColonnadeError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (ModelError("bad", node="conv_3", op="Conv"), "node 'conv_3' (Conv): bad"),
        (ModelError("bad", node="conv_3"), "node 'conv_3': bad"),
        (ModelError("bad", op="Conv"), "node (Conv): bad"),
        (ModelError("bad", node="", op="Conv"), "node (Conv): bad"),
        (
            ModelError("bad", node="c", op="Conv", attribute="pads"),
            "node 'c' (Conv), attribute 'pads': bad",
        ),
    ],
)
def test_model_error_says_where(error: ModelError, where: str) -> None:
    assert str(error).startswith(where + " [")


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (RecipeError("bad", line=3), "line 3: bad"),
        (RecipeError("bad", source="r.yaml"), "r.yaml: bad"),
        (RecipeError("bad", source="r.yaml", line=3), "r.yaml:3: bad"),
        (RecipeError("bad", modifier="m", parameter="p"), "m.p: bad"),
        (RecipeError("bad", source="r", line=3, modifier="m"), "r:3: m: bad"),
    ],
)
def test_recipe_error_says_where(error: RecipeError, where: str) -> None:
    assert str(error).startswith(where + " [")


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (ModelError, ValueError),
        (InputError, ValueError),
        (PlanError, ValueError),
        (KnobError, ValueError),
        (RunError, RuntimeError),
        (OverloadedError, RuntimeError),
        (CapabilityError, RuntimeError),
        (ExportError, RuntimeError),
        (CheckpointError, RuntimeError),
        (RecipeError, ValueError),
    ],
)
def test_each_is_also_its_builtin(cls: type[ColonnadeError], builtin: type[Exception]) -> None:
    assert issubclass(cls, ColonnadeError)
    assert issubclass(cls, builtin)


def test_errors_cross_a_process_border() -> None:
    error = ModelError("bad", node="conv_3", op="Conv", attribute="pads")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ModelError
    assert str(copy) == str(error)
    assert (copy.node, copy.op, copy.attribute) == ("conv_3", "Conv", "pads")


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_has_its_section(cls: type[Exception]) -> None:
    assert f"\n## {cls.__name__}\n" in DOCUMENT.read_text()
