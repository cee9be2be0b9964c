"""8-bit files of the benchmarks' models, made once: by ONNX Runtime, by NNCF, rewritten by us.

qdq         ONNX Runtime, static: uint8 activations, int8 weights by channel, calibrated on the
            model's own sample input
qoperator   the same as QLinearConv, QLinearMatMul, ...
integer     the first one's numbers as ConvInteger, MatMulInteger (see integer_form.py)
nncf        OpenVINO's own quantizer, calibrated on the same input; runs in OpenVINO's Python
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

import models
from colonnade import knobs
from colonnade.errors import CapabilityError
from integer_form import to_integer_form
from models.cache import written_whole

FORMS = ("qdq", "qoperator", "integer", "nncf")
LENGTH = 128
"""Tokens of a sentence."""
PRODUCTS = ["MatMul", "Gemm"]
"""What is quantized in models of text: as ONNX Runtime's own tools do."""
NNCF_SCRIPT = Path(__file__).with_name("nncf_quantize.py")


def quantize(name: str, form: str = "qdq") -> Path:
    """The model's 8-bit file in one of FORMS. Raises CapabilityError where NNCF is absent."""
    suffix = "-u8s8.xml" if form == "nncf" else f"-u8s8-{form}.onnx"
    path = models.find(name).path.with_suffix("")
    path = path.with_name(path.name + suffix)
    if not path.exists():
        _write(name, form, path)
    return path


def sample_inputs(name: str, batch: int) -> dict[str, np.ndarray]:
    """The model's own inputs, sentences of LENGTH tokens."""
    return dict(models.inputs(name, batch, None if is_image(models.build(name)) else LENGTH))


def is_image(path: Path) -> bool:
    """True for models of four-dimensional inputs."""
    first = onnx.load(path, load_external_data=False).graph.input[0].type
    return len(first.tensor_type.shape.dim) == 4


def _write(name: str, form: str, path: Path) -> None:
    if form == "nncf":
        _quantize_by_nncf(name, path)
        return
    with written_whole(path) as part:
        if form == "integer":
            onnx.save(to_integer_form(onnx.load(quantize(name, "qdq"))), part)
        else:
            _quantize_by_onnxruntime(name, form, part)
            drop_unused_domains(part)
        onnx.checker.check_model(str(part))


def _quantize_by_onnxruntime(name: str, form: str, path: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    feeds = [sample_inputs(name, 1)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its base has no types
        def __init__(self) -> None:
            self.items: Iterator[dict[str, np.ndarray]] = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.items, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(models.build(name), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, path, Reader(), activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, per_channel=True,
            quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
            op_types_to_quantize=None if is_image(models.build(name)) else PRODUCTS,
        )  # fmt: skip


def drop_unused_domains(path: Path) -> None:
    """Rewrite the file without opsets that no node needs: older engines refuse new ones."""
    model = onnx.load(path)
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, path)


def _quantize_by_nncf(name: str, path: Path) -> None:
    """Write the .xml and its .bin."""
    python = knobs.peer_python("openvino")
    if python is None:
        raise CapabilityError("COLONNADE_PEER_OPENVINO_PYTHON names no interpreter with NNCF")
    kind = "image" if is_image(models.build(name)) else "transformer"
    with tempfile.TemporaryDirectory() as folder:
        feeds = Path(folder) / "feeds.npz"
        np.savez(feeds, **sample_inputs(name, 1))  # type: ignore[arg-type]  # names are inputs'
        command = [str(python), str(NNCF_SCRIPT), str(models.build(name)), str(feeds), kind]
        done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    if done.returncode:
        raise CapabilityError(f"NNCF failed on {name}: {done.stderr.strip()[-500:]}")
