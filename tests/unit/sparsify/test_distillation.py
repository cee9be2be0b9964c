"""Distillation losses with known values, and teachers in a session."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify import Recipe, Session, sparsify
from colonnade.sparsify.distill import mix, output_loss, square_head_loss
from colonnade.sparsify.modifiers.distillation import Distillation


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
