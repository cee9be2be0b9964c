"""Distillation losses with known values, and teachers in a session."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Recipe, Session, sparsify
from colonnade.sparsify.distill import logits_of, mix, output_loss, square_head_loss
from colonnade.sparsify.modifiers.distillation import Distillation
from colonnade.sparsify.modifiers.quantization import Quantization


def test_equal_outputs_cost_nothing() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert float(output_loss(logits, logits + 3.0, 2.0)) == pytest.approx(0, abs=1e-6)


def test_output_loss_of_known_distributions() -> None:
    teacher = torch.tensor([[0.0, math.log(3.0)]])  # 1/4, 3/4
    student = torch.tensor([[0.0, 0.0]])
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(output_loss(student, teacher)) == pytest.approx(expected, rel=1e-6)
    # Twice the logits at twice the temperature: the same distributions, times 4.
    assert float(output_loss(student, 2 * teacher, 2.0)) == pytest.approx(4 * expected, rel=1e-6)


def test_square_head_is_relative() -> None:
    teacher = torch.tensor([[1.0, -3.0]])
    assert float(square_head_loss(torch.zeros(1, 2), teacher)) == 1.0
    assert float(square_head_loss(5 * teacher, teacher)) == 16.0


def test_hardness_mixes() -> None:
    assert float(mix(torch.tensor(2.0), torch.tensor(10.0), 0.25)) == 4.0


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def make_session(model: nn.Module, given: nn.Module | None, **changes: Any) -> Session:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = Recipe.of(Distillation(**changes), epochs=10.0)
    return sparsify(model, optimizer, recipe, 10, teacher=given)


def make_batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=generator), torch.zeros(16, dtype=torch.int64)


def train(session: Session, model: nn.Module, steps: range) -> None:
    for step in steps:
        batch = make_batch(step)
        outputs = model(batch[0])
        session.step(nn.functional.cross_entropy(outputs, batch[1]), outputs, batch)


def test_a_student_becomes_its_teacher() -> None:
    student, teacher = make_model(0), make_model(1)
    kept = copy.deepcopy(teacher.state_dict())
    inputs, _ = make_batch(99)
    before = output_loss(student(inputs), teacher(inputs))
    session = make_session(student, teacher, teacher="given", hardness=1.0, layers=("0",))
    train(session, student, range(100))
    session.finalize()
    assert output_loss(student(inputs), teacher(inputs)) < before / 10
    assert all(torch.equal(kept[key], value) for key, value in teacher.state_dict().items())
    assert not student[0]._forward_hooks
    assert not teacher[0]._forward_hooks


def test_a_model_that_is_its_own_teacher_stays() -> None:
    model = make_model()
    start = copy.deepcopy(model.state_dict())
    session = make_session(model, None, hardness=1.0, layers=("re:0",))
    train(session, model, range(5))
    for name, value in model.state_dict().items():
        assert torch.allclose(value, start[name], atol=1e-6)


class Wrapped(nn.Module):
    """A layer that returns its tensor in something else."""

    def __init__(self, inner: nn.Module, wrap: Any) -> None:
        super().__init__()
        self.inner = inner
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.inner(x))


class Unwrapped(nn.Module):
    """A layer with such an output in it, and one that reads it."""

    def __init__(self, wrap: Any, unwrap: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = Wrapped(nn.Linear(6, 8), wrap)
        self.head = nn.Linear(8, 3)
        self.unwrap = unwrap

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(torch.relu(self.unwrap(self.encoder(x)))))


@dataclass
class Output:
    """As transformers returns them."""

    last_hidden_state: Tensor
    attentions: None = None


OUTPUTS = {
    "tuple": (lambda h: (None, h), lambda made: made[1]),
    "list": (lambda h: [h], lambda made: made[0]),
    "mapping": (lambda h: {"mask": None, "states": h}, lambda made: made["states"]),
    "output": (Output, lambda made: made.last_hidden_state),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_hidden_states_are_found_in_what_a_layer_returns(kind: str) -> None:
    student, teacher = (Unwrapped(*OUTPUTS[kind]) for _ in range(2))
    teacher.encoder.inner.weight.data.zero_()
    recipe = {"teacher": "given", "hardness": 0.0, "layers": ("encoder",), "hidden_gain": 1.0}
    x = make_batch(0)[0]
    session = make_session(student, teacher, **recipe)
    loss = session.run.model(x).sum() * 0
    expected = square_head_loss(student.encoder.inner(x), teacher.encoder.inner(x))
    found = session.modify_loss(loss, student(x), (x,))
    assert found.item() == pytest.approx(expected.item())


def test_what_is_no_hidden_state_is_refused() -> None:
    model = Unwrapped(lambda h: Hidden(h), lambda made: made.values)
    session = make_session(model, None, layers=("encoder",))
    with pytest.raises(
        RecipeError, match="output with one, from 'encoder' of the model, got a Hid"
    ):
        train(session, model, range(1))


@dataclass
class Hidden:
    """Says nothing of where its tensor is."""

    values: Tensor


def test_a_layer_that_does_not_run_is_named() -> None:
    model = make_model()
    model.add_module("spare", nn.Identity())
    model.forward = lambda x: model[2](model[1](model[0](x)))
    session = make_session(model, None, layers=("spare",))
    with pytest.raises(RecipeError, match="the model did not run 'spare'"):
        train(session, model, range(1))


def test_an_evaluation_before_the_step_does_not_count() -> None:
    first, second = make_model(), make_model()
    sessions = [make_session(model, make_model(1), teacher="given", layers=("0",))
                for model in (first, second)]  # fmt: skip
    x, target = make_batch(0)
    for model, session in zip((first, second), sessions, strict=True):
        outputs = model(x)
        if model is second:
            with torch.no_grad():
                model(make_batch(1)[0])
        session.step(nn.functional.cross_entropy(outputs, target), outputs, (x, target))
    assert torch.equal(first[0].weight, second[0].weight)


def test_a_session_that_breaks_off_leaves_no_hooks() -> None:
    model, teacher = make_model(), make_model(1)
    changes = {"teacher": "given", "layers": ("0",)}
    with (
        pytest.raises(RuntimeError, match="the loss is nan"),
        make_session(model, teacher, **changes) as session,
    ):
        outputs = model(make_batch(0)[0])
        session.step(outputs.sum() * math.nan, outputs, make_batch(0))
    modules = [*model.modules(), *teacher.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_a_layer_that_is_replaced_later_is_still_compared() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    modifiers = (Distillation(layers=("0",)), Quantization(start=1.0))
    session = sparsify(model, optimizer, Recipe.of(*modifiers, epochs=2.0), 2)
    plain = model[0]
    train(session, model, range(4))
    assert model[0] is not plain
    assert len(model[0]._forward_hooks) == 1
    session.finalize()
    assert not model[0]._forward_hooks


LOGITS = torch.zeros(2, 3)


@pytest.mark.parametrize("outputs", [LOGITS, (LOGITS, None), [LOGITS], {"logits": LOGITS}])
def test_logits_are_found(outputs: Any) -> None:
    assert logits_of(outputs) is LOGITS


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.tensor(1.0), "got a scalar, which is a loss"),
        ({"loss": torch.tensor(1.0)}, "got a dict of loss"),
        ((), "got a tuple"),
        ("logits", "got a str"),
    ],
)
def test_what_are_no_logits_is_refused(outputs: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=f"expected logits, {message}"):
        logits_of(outputs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", math.nan),
        ("temperature", -1.0),
        ("temperature", math.inf),
        ("hidden_gain", math.nan),
        ("hidden_gain", -0.5),
        ("hardness", math.nan),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(RecipeError, match=name):
        Distillation(**{name: value})


def test_the_model_is_not_its_own_given_teacher() -> None:
    model = make_model()
    for teacher in (model, nn.Sequential(model)):
        with pytest.raises(RecipeError, match="the given teacher is the model that is trained"):
            make_session(model, teacher, teacher="given")
    assert model.training


def test_the_frozen_teacher_is_part_of_the_state() -> None:
    model = make_model()
    session = make_session(model, None, hardness=0.5)
    train(session, model, range(5))
    other = copy.deepcopy(model)
    resumed = make_session(other, None, hardness=0.5)
    resumed.load_state_dict(copy.deepcopy(session.state_dict()))
    train(session, model, range(5, 8))
    train(resumed, other, range(5, 8))
    assert torch.equal(model[0].weight, other[0].weight)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecipeError, match="expected a teacher, got none"):
        make_session(make_model(), None, teacher="given")
    with pytest.raises(RecipeError, match="the teacher has no module '2'"):
        make_session(make_model(), nn.Linear(6, 3), teacher="given", layers=("2",))
    model = make_model()
    session = make_session(model, None)
    with pytest.raises(RecipeError, match=r"call step\(loss, outputs, batch\)"):
        session.step(model(make_batch(0)[0]).sum())


def test_a_given_teacher_can_be_copied_and_trained_afterwards() -> None:
    given = make_model(1)
    first = make_model(2)
    with make_session(first, given, teacher="given") as session:
        train(session, first, range(2))
    assert all(parameter.grad is None for parameter in given.parameters())
    second = copy.deepcopy(given)
    session = make_session(second, given, teacher="given")
    train(session, second, range(2))
    session.close()
    assert any(not torch.equal(a, b) for a, b in zip(second.parameters(), given.parameters()))
