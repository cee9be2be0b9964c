"""The fetcher and the catalogue of real models."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import models
from models import packages, sparse
from models.__main__ import main
from models.builders import state_dict
from models.cache import written_whole
from tiny_model import write_tiny_model

WHEEL = "silero-vad"
"""The package that the fetcher's tests pretend to download."""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "RETRY_PAUSE_S", 0.0)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    return tmp_path


def index_answers(monkeypatch: pytest.MonkeyPatch, *answers: bytes | str) -> list[str]:
    """Replace the download: bytes are a file, a string is a failure. Returns the calls made."""
    calls: list[str] = []

    def answer(package: packages.Package, folder: Path) -> str | None:
        given = answers[len(calls)]
        calls.append(package.name)
        if isinstance(given, str):
            return given
        (folder / "file-1.0-py3-none-any.whl").write_bytes(given)
        return None

    monkeypatch.setattr(packages, "_run_pip", answer)
    return calls


def pin(monkeypatch: pytest.MonkeyPatch, sha256: str) -> None:
    package = packages.Package(WHEEL, "1.0", sha256, "a test", "none")
    monkeypatch.setitem(packages.PACKAGES, WHEEL, package)


def small_wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("folder/a.txt", "one")
        archive.writestr("folder/b.bin", "two")
    return file.getvalue()


def test_a_download_is_kept_and_read_as_a_zip(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_wheel()
    pin(monkeypatch, hashlib.sha256(data).hexdigest())
    calls = index_answers(monkeypatch, data)
    assert packages.read(WHEEL, "folder/a.txt") == b"one"
    assert packages.members(WHEEL, r"\.bin$") == ["folder/b.bin"]
    assert (packages.extract(WHEEL, "folder/") / "b.bin").read_bytes() == b"two"
    assert calls == [WHEEL]


def test_a_failed_download_is_tried_again(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_wheel()
    pin(monkeypatch, hashlib.sha256(data).hexdigest())
    calls = index_answers(monkeypatch, "connection reset", data)
    assert packages.wheel(WHEEL).exists()
    assert len(calls) == 2


def test_offline_names_the_package_and_leaves_nothing(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_answers(monkeypatch, *["no network"] * packages.ATTEMPTS)
    with pytest.raises(models.PackageUnavailableError, match=r"silero-vad==.*no network"):
        models.build("silero_vad")
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_another_file_is_refused(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, "0" * 64)
    index_answers(monkeypatch, small_wheel())
    with pytest.raises(models.PackageCorruptError, match="expected 0000"):
        packages.wheel(WHEEL)
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"

    def interrupted() -> None:
        with written_whole(path) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with written_whole(path) as part:
        part.write_bytes(b"whole")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"whole"]


def test_a_changed_file_is_built_again(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_wheel()
    pin(monkeypatch, hashlib.sha256(data).hexdigest())
    index_answers(monkeypatch, data)
    model = dataclasses.replace(
        models.find("silero_vad"),
        write=lambda path: path.write_bytes(packages.read(WHEEL, "folder/a.txt")),
    )
    monkeypatch.setitem(models.MODELS, "silero_vad", model)
    path = models.build("silero_vad")
    path.write_bytes(b"rewritten in place")
    assert not model.is_built
    assert models.build("silero_vad").read_bytes() == b"one"


def test_a_state_dict_executes_nothing() -> None:
    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    stream = pickle.dumps(state_dict.MAGIC) + pickle.dumps(state_dict.VERSION) + pickle.dumps({})
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print has no place"):
        state_dict.read_state_dict(stream + pickle.dumps(Call()))


def test_a_state_dict_with_strides() -> None:
    torch = pytest.importorskip("torch")
    tensors = {"a": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1), "b": torch.tensor(7)}
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    read = state_dict.read_state_dict(file.getvalue())
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor.numpy(), strict=True)


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(KeyError, match=r"no model 'resnet'.*resnet50"):
        models.build("resnet")
    with pytest.raises(ValueError, match="silero_vad takes batch 1"):
        models.inputs("silero_vad", batch=2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50_s95", ("resnet50", 95, "unstructured")),
        ("bert_base_s90_1x4", ("bert_base", 90, "1x4")),
        ("minilm_l6_s50_2of4", ("minilm_l6", 50, "2:4")),
        ("resnet50", None),
        ("resnet50_s9", None),
        ("resnet50_s90_2x2", None),
    ],
)
def test_names_of_sparse_variants(name: str, expected: tuple[str, int, str] | None) -> None:
    found = sparse.parse_variant(name)
    parts = None if found is None else (found.dense, found.percent, found.structure)
    assert parts == expected


def test_a_sparse_variant_is_made_of_the_dense_model(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path) -> None:
        write_tiny_model(path, features=64, outputs=32)

    tiny = dataclasses.replace(models.find("resnet50"), name="tiny", write=write)
    monkeypatch.setitem(models.MODELS, "tiny", tiny)
    path = models.build("tiny_s75_1of4")
    assert models.find("tiny").is_built
    assert models.find("tiny_s75_1of4").path == path
    (weights,) = (t for t in onnx.load(path).graph.initializer if t.name == "w")
    assert (onnx.numpy_helper.to_array(weights) == 0).sum() == 64 * 32 * 3 // 4
    keep_w = dataclasses.replace(tiny, name="tiny2", dense_weights=("w",))
    monkeypatch.setitem(models.MODELS, "tiny2", keep_w)
    (weights,) = (
        t for t in onnx.load(models.build("tiny2_s90")).graph.initializer if t.name == "w"
    )
    assert (onnx.numpy_helper.to_array(weights) != 0).all()
    with pytest.raises(KeyError, match="sparse variants"):
        models.build("huge_s90")


def test_list_needs_nothing(empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.count("not built") == len(models.names())
    assert main(["path", "resnet50"]) == 1


@pytest.mark.models
@pytest.mark.parametrize("name", models.names())
def test_inputs_fit_the_model_and_repeat(name: str) -> None:
    try:
        graph = onnx.load(models.build(name), load_external_data=False).graph
        first, second = models.inputs(name), models.inputs(name)
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))
    constants = {tensor.name for tensor in graph.initializer}
    declared = {value.name: value.type.tensor_type for value in graph.input}
    assert first.keys() == declared.keys() - constants
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key], strict=True)
        assert array.dtype == onnx.helper.tensor_dtype_to_np_dtype(declared[key].elem_type)
        sizes = [dim.dim_value for dim in declared[key].shape.dim]
        assert len(sizes) == array.ndim
        fits = [want in (have, 0, -1) for want, have in zip(sizes, array.shape, strict=True)]
        assert all(fits), (key, sizes, array.shape)


@pytest.mark.models
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite0_direct"])
def test_photos_are_recognised(name: str) -> None:
    """17 of 20 first and 20 of 20 in five: wrong pre-processing loses some of both."""
    ort = pytest.importorskip("onnxruntime")
    from models.samples.photos import photos

    try:
        session = ort.InferenceSession(models.build(name), providers=["CPUExecutionProvider"])
        labels = np.array([photo.label for photo in photos()])
        logits = session.run(None, models.inputs(name, batch=len(labels)))[0]
        names = models.imagenet_names()
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))
    ranked = np.argsort(-logits, axis=1)
    assert np.sum(ranked[:, 0] == labels) == 17
    assert np.sum(ranked[:, :5] == labels[:, None]) == 20
    assert names[labels[0]] == "bull mastiff"
    assert len(names) == logits.shape[1]
