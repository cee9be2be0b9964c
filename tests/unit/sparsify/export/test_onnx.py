"""export_onnx(): the file gives torch's answers, says what is sparse, and holds integers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.ao.quantization import (
    FakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torch.nn.utils import parametrize, prune

import colonnade
from colonnade.errors import ExportError
from colonnade.sparsify.export import export_onnx
from colonnade.sparsity.structure import SPARSITY_KEY


def engine(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The runner that users have."""
    return colonnade.compile(path, fallback="forbid").run(dict(feed))


class Small(nn.Module):
    """A convolution and two linear layers, one of them over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        """Tokens are pixels; the answer is their mean."""
        pixels = self.norm(self.conv(image)).relu().flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.hidden(pixels).relu().mean(1))
        return logits


IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def two_of_four(weight: Tensor) -> Tensor:
    """A mask, another one in each row; of a convolution along its last axis, padded."""
    pairs = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 0]])
    rows, columns = weight.shape[0], weight[0].numel()
    mask = torch.stack([pairs[row % 3].repeat(-(-columns // 4))[:columns] for row in range(rows)])
    return mask.reshape(weight.shape)


def load(path: Path) -> onnx.ModelProto:
    """The file, checked."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_a_pruned_model_with_its_metadata(tmp_path: Path) -> None:
    model = Small()
    prune.custom_from_mask(model.hidden, "weight", two_of_four(model.hidden.weight))
    prune.l1_unstructured(model.head, "weight", 0.75)
    found = export_onnx(model, IMAGE, tmp_path / "m.onnx", runner=engine)
    assert prune.is_pruned(model.hidden)
    assert model.training
    file = load(tmp_path / "m.onnx")
    assert file.ir_version == 10
    assert {entry.domain: entry.version for entry in file.opset_import} == {"": 20}
    stated = json.loads({p.key: p.value for p in file.metadata_props}[SPARSITY_KEY])
    assert sorted(entry["structure"] for entry in stated.values()) == ["2:4", "unstructured"]
    assert stated["head.weight"]["sparsity"] == pytest.approx(0.75)
    tensors = {tensor.name: tensor for tensor in file.graph.initializer}
    for name, entry in stated.items():
        own = {p.key: p.value for p in tensors[name].metadata_props}
        assert json.loads(own[SPARSITY_KEY]) == entry
        zeros = float((numpy_helper.to_array(tensors[name]) == 0).mean())
        assert zeros == pytest.approx(entry["sparsity"])
    assert found.zeros.keys() == stated.keys()


def test_the_reference_evaluator_is_the_default_runner(tmp_path: Path) -> None:
    found = export_onnx(Small(), (IMAGE,), tmp_path / "m.onnx")
    assert 0 < found.max_error < 1e-5
    assert found.inputs == ("image",)


class Batched(nn.Module):
    """A product with two matrices of 2:4 zeros along their inputs, stored in any order of axes."""

    def __init__(self, order: tuple[int, int, int]) -> None:
        super().__init__()
        weight = (torch.ones(16, 8) * two_of_four(torch.ones(8, 16)).T).expand(2, 16, 8)
        self.order = order
        self.weight = nn.Parameter(weight.permute(tuple(np.argsort(order))).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """[2, n, 16] to [2, n, 8]."""
        return torch.matmul(x, self.weight.permute(self.order))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_a_batch_of_weight_matrices(tmp_path: Path, order: tuple[int, int, int]) -> None:
    found = export_onnx(Batched(order), torch.ones(2, 4, 16), tmp_path / "m.onnx", runner=engine)
    (zeros,) = found.zeros.values()
    assert (zeros.sparsity, zeros.structure) == (0.5, "2:4")


def test_axes_that_vary(tmp_path: Path) -> None:
    model = Small().eval()
    export_onnx(
        model,
        {"image": IMAGE},
        tmp_path / "m.onnx",
        dynamic={"image": {0: "batch"}},
        output_names=["logits"],
        opset=23,
    )
    more = torch.cat([IMAGE, IMAGE, IMAGE])
    answer = colonnade.compile(tmp_path / "m.onnx").run({"image": more.numpy()})
    np.testing.assert_allclose(answer["logits"], model(more).detach().numpy(), atol=1e-5)


def test_a_mismatch_is_loud_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")

    def wrong(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {name: array + 0.1 for name, array in engine(path, feed).items()}

    with pytest.raises(ExportError, match=r"output 'linear_1': the file's answers differ"):
        export_onnx(Small(), IMAGE, target, runner=wrong)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_nan_in_the_file_only_is_a_mismatch(tmp_path: Path) -> None:
    def broken(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {name: array * np.nan for name, array in engine(path, feed).items()}

    with pytest.raises(ExportError, match="differ from torch's by inf"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", runner=broken)


class MaskedLogits(nn.Module):
    """Logits of which one is masked."""

    def __init__(self, value: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.value = nn.Linear(8, 8), value

    def forward(self, x: Tensor) -> Tensor:
        """With the first one masked."""
        logits: Tensor = self.linear(x)
        return logits.masked_fill(torch.arange(8) == 0, self.value)


@pytest.mark.parametrize("value", [-np.inf, np.nan, torch.finfo(torch.float32).min])
def test_masked_elements_do_not_hide_the_others(tmp_path: Path, value: float) -> None:
    def wrong(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {
            name: np.where(np.abs(array) < 1e30, array + np.float32(0.1), array)
            for name, array in engine(path, feed).items()
        }

    def unmasked(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {
            name: np.where(np.abs(array) < 1e30, array, np.float32(np.inf))
            for name, array in engine(path, feed).items()
        }

    model = MaskedLogits(value)
    assert export_onnx(model, X, tmp_path / "m.onnx", runner=engine).max_error < 1e-6
    for runner in (wrong, unmasked):
        with pytest.raises(ExportError, match="the file's answers differ"):
            export_onnx(model, X, tmp_path / "m.onnx", runner=runner)


def test_nothing_but_nan_is_alike(tmp_path: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.nan

    assert export_onnx(Nothing(), X, tmp_path / "m.onnx", runner=engine).max_error == 0.0


def test_a_model_that_branches_on_values_is_refused(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(
        ExportError,
        match=r"torch\.onnx\.export refused the model: Could not guard on data-dependent",
    ) as caught:
        export_onnx(Branching(), IMAGE, tmp_path / "m.onnx")
    assert "\x1b" not in str(caught.value)


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="opset=25; this export writes 18 to 24"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", opset=25)
    with pytest.raises(ExportError, match="tolerance=-1; expected a share"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", tolerance=-1)
    with pytest.raises(ExportError, match=r"no argument \['images'\]"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", dynamic={"images": {0: "n"}})


@pytest.mark.parametrize(
    ("axes", "reason"),
    [({5: "n"}, "axis 5 of 'image', which has 4"), ({-1: "n"}, "axis -1 of 'image', which has 4")],
)
def test_axes_that_are_not_there(tmp_path: Path, axes: dict[int, str], reason: str) -> None:
    with pytest.raises(ExportError, match=f"dynamic: {reason}"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", dynamic={"image": axes})


def test_as_many_names_as_outputs(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"output_names: 2 for an answer of 1 tensors"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", output_names=["a", "b"])


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (IMAGE.numpy(), "the sample is ndarray"),
        (None, "the sample is NoneType"),
        ((IMAGE, None), "argument 1 of the sample is NoneType"),
        ((IMAGE, 2.0), "argument 1 of the sample is float"),
        ({"image": IMAGE.numpy()}, "argument 'image' of the sample is ndarray"),
    ],
)
def test_samples_are_tensors(tmp_path: Path, sample: Any, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        export_onnx(Small(), sample, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=reason):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", further=[sample])


def test_more_than_one_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colonnade.sparsify.export.onnx.BYTES_MAX", 1000)
    with pytest.raises(ExportError, match=r"weights take \d+ bytes, and one ONNX file holds 1000"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_tolerance_of_nothing(tmp_path: Path) -> None:
    def near(path: Path, feed: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {name: array * np.float32(1 + 1e-6) for name, array in engine(path, feed).items()}

    export_onnx(Small(), IMAGE, tmp_path / "m.onnx", runner=near)
    with pytest.raises(ExportError, match="allowed 0;"):
        export_onnx(Small(), IMAGE, tmp_path / "m.onnx", runner=near, tolerance=0.0)


class Quantized(nn.Module):
    """A linear layer between torch's own fake-quantize modules."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.linear = nn.Linear(8, 6)
        with torch.no_grad():
            self.linear.weight[:, ::2] = 0
        self.input_fake_quant = FakeQuantize(
            MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8
        )
        self.weight_fake_quant = FakeQuantize(
            MovingAveragePerChannelMinMaxObserver,
            quant_min=-127,
            quant_max=127,
            dtype=torch.qint8,
            qscheme=torch.per_channel_symmetric,
        )

    def forward(self, x: Tensor) -> Tensor:
        """With the weight rounded on the way, as in torch.ao.nn.qat."""
        weight = self.weight_fake_quant(self.linear.weight)
        return nn.functional.linear(self.input_fake_quant(x), weight, self.linear.bias)


def calibrated(model: nn.Module, x: Tensor) -> nn.Module:
    """With observers switched off after one look."""
    model(x)
    for module in model.modules():
        if isinstance(module, FakeQuantize):
            module.disable_observer()
    return model.eval()


X = torch.randn(4, 8, generator=torch.Generator().manual_seed(3))


def test_fake_quantize_becomes_integers(tmp_path: Path) -> None:
    model = calibrated(Quantized(), X)
    found = export_onnx(model, X, tmp_path / "m.onnx", runner=engine)
    file = load(tmp_path / "m.onnx")
    assert sorted(node.op_type for node in file.graph.node) == [
        *("DequantizeLinear", "DequantizeLinear", "Gemm", "QuantizeLinear")
    ]
    weight = next(
        t
        for t in file.graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and t.dims == [6, 8]
    )
    integers = numpy_helper.to_array(weight)
    assert (integers[:, ::2] == 0).all()
    assert np.abs(integers).max() == 127
    assert found.zeros[weight.name].sparsity == pytest.approx(0.5, abs=0.05)
    assert isinstance(model.weight_fake_quant, FakeQuantize)


def test_fake_quantize_that_is_off_is_left_out(tmp_path: Path) -> None:
    model = calibrated(Quantized(), X)
    model.input_fake_quant.disable_fake_quant()
    model.weight_fake_quant.disable_fake_quant()
    export_onnx(model, X, tmp_path / "m.onnx", runner=engine)
    assert [node.op_type for node in load(tmp_path / "m.onnx").graph.node] == ["Gemm"]


class Rounding(nn.Module):
    """A fake-quantize module of another make, for a parametrization; seven bits."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale, self.zero_point = scale, torch.zeros_like(scale)
        self.quant_min, self.quant_max, self.axis = -63, 63, 0

    def forward(self, x: Tensor) -> Tensor:
        """Rounded."""
        scale = self.scale.reshape(-1, *[1] * (x.ndim - 1))
        return (x / scale).round().clamp(self.quant_min, self.quant_max) * scale


class Masked(nn.Module):
    """A mask as a parametrization."""

    def forward(self, x: Tensor) -> Tensor:
        """Half of the weights."""
        return x * two_of_four(x)


def test_parametrizations_over_a_sequence(tmp_path: Path) -> None:
    model = Small()
    for layer in (model.conv, model.hidden):
        largest = layer.weight.detach().abs().flatten(1).max(1).values
        parametrize.register_parametrization(layer, "weight", Masked())
        parametrize.register_parametrization(layer, "weight", Rounding(largest / 63), unsafe=True)
    found = export_onnx(model, IMAGE, tmp_path / "m.onnx", runner=engine)
    integers = {
        t.name: numpy_helper.to_array(t)
        for t in load(tmp_path / "m.onnx").graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1
    }
    assert sorted(array.shape for array in integers.values()) == [(8, 3, 3, 3), (16, 8)]
    assert all(np.abs(array).max() == 63 for array in integers.values())
    assert [found.zeros[n].structure for n, a in integers.items() if a.ndim == 2] == ["2:4"]


def test_integers_beyond_eight_bits_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 6))
    step = Rounding(torch.ones(6))
    step.quant_max = 1000
    parametrize.register_parametrization(model[0], "weight", step, unsafe=True)
    with pytest.raises(ExportError, match=r"0\.weight: integers from -63 to 1000"):
        export_onnx(model, X, tmp_path / "m.onnx")


@pytest.mark.parametrize("bounds", [(0, 127), (0, 255), (-128, 127), (-10, 20)])
def test_activations_of_few_bits_saturate_alike(tmp_path: Path, bounds: tuple[int, int]) -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.zero_point = torch.tensor([0.02]), torch.tensor([5])
            self.quant_min, self.quant_max = bounds

        def forward(self, x: Tensor) -> Tensor:
            return torch.fake_quantize_per_tensor_affine(x, 0.02, 5, *bounds)

    model = nn.Sequential(Step(), nn.Linear(8, 6))
    assert export_onnx(model, X, tmp_path / "m.onnx").max_error < 1e-5
