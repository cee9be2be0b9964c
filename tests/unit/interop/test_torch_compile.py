"""torch.compile(backend="colonnade"): the same answers as eager, or eager with a reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from colonnade.interop.torch_compile import (  # noqa: E402  # after the check for torch
    EagerFallbackWarning,
    colonnade_backend,
)
from tolerance import tolerance  # noqa: E402

LONGEST_SUM = 8 * 9

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, 5),
    ).eval()  # fmt: skip


def assert_close(made: torch.Tensor, expected: torch.Tensor) -> None:
    bound = tolerance(LONGEST_SUM, max(1.0, float(expected.abs().max())), 1.0)
    assert made.shape == expected.shape
    assert float((made - expected).abs().max()) <= bound


def test_same_answers_as_eager() -> None:
    model, x = network(), torch.randn(2, 3, 9, 9)
    compiled = torch.compile(model, backend=colonnade_backend)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", EagerFallbackWarning)
        assert_close(compiled(x), model(x))
        assert_close(compiled(-x), model(-x))


def test_changed_parameters_are_seen() -> None:
    model, x = network(), torch.randn(1, 3, 9, 9)
    compiled = torch.compile(model, backend=colonnade_backend)
    with torch.no_grad():
        before = compiled(x).clone()
        model[-1].bias.add_(1.0)
        assert_close(compiled(x), before + 1.0)


def test_transposed_inputs() -> None:
    model, x = torch.nn.Linear(6, 4).eval(), torch.randn(6, 5).t()
    compiled = torch.compile(model, backend=colonnade_backend)
    with torch.no_grad():
        assert_close(compiled(x), model(x))


def test_gradients_run_eagerly_with_a_reason() -> None:
    model, x = network(), torch.randn(1, 3, 9, 9)
    compiled = torch.compile(model, backend=colonnade_backend)
    with pytest.warns(EagerFallbackWarning, match="gradients are wanted"):
        made = compiled(x)
    made.sum().backward()
    assert model[0].weight.grad is not None


def test_what_cannot_be_exported_runs_eagerly_with_a_reason() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x)

    x = torch.randn(4, 4)
    with torch.no_grad(), pytest.warns(EagerFallbackWarning, match="export to ONNX failed"):
        made = torch.compile(function, backend=colonnade_backend)(x)
    assert torch.equal(made, function(x))
