"""Where samples come from: archives, images, text, functions; and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import colonnade
from colonnade.ir import DType, Graph, TensorType
from colonnade.quantization.data.functions import load_function
from colonnade.quantization.data.images import ImageSpec, load_image, read_spec
from colonnade.quantization.data.open import Reading, open_source

IMAGE_GRAPH = Graph(
    "g", ("image",), (), (), {"image": TensorType(DType.FLOAT32, ("N", 3, 8, 8))}, {}
)
TEXT_GRAPH = Graph(
    "g", ("input_ids", "attention_mask", "token_type_ids"), (), (),
    dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), TensorType(DType.INT64, ("N", "S"))
    ), {},
)  # fmt: skip


def write_image(path: Path, width: int, height: int) -> np.ndarray:
    """An RGB gradient; returns its pixels."""
    images = pytest.importorskip("PIL.Image")
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    images.fromarray(pixels).save(path)
    return pixels


def test_archives_are_read_in_order(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        np.savez(tmp_path / f"{number}.npz", image=np.full((1, 3, 8, 8), number, np.float32))
    source = open_source(tmp_path, IMAGE_GRAPH, Reading())
    for _ in range(2):  # as often as one likes
        assert [float(s.arrays["image"][0, 0, 0, 0]) for s in source()] == [0, 1, 2]
    assert [Path(s.label).name for s in source()] == ["0.npz", "1.npz", "2.npz"]


def test_an_image_of_the_right_size_is_only_scaled(tmp_path: Path) -> None:
    pixels = write_image(tmp_path / "a.png", 8, 8)
    spec = ImageSpec(size=(8, 8), crop_share=1.0)
    made = load_image(tmp_path / "a.png", spec)
    assert made.dtype == np.float32
    wanted = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(made[0], wanted.transpose(2, 0, 1), rtol=0, atol=1e-6 * 3)


@pytest.mark.parametrize(
    ("channels", "layout", "shape"),
    [("RGB", "NHWC", (1, 8, 8, 3)), ("BGR", "NCHW", (1, 3, 8, 8)), ("L", "NCHW", (1, 1, 8, 8))],
)
def test_channels_and_layout(
    tmp_path: Path, channels: str, layout: str, shape: tuple[int, ...]
) -> None:
    pixels = write_image(tmp_path / "a.png", 8, 8)
    spec = ImageSpec((8, 8), "stretch", 1.0, "nearest", 1.0, (0.0,), (1.0,), layout, channels)
    made = load_image(tmp_path / "a.png", spec)
    assert made.shape == shape
    if channels == "BGR":
        np.testing.assert_array_equal(made[0], pixels.transpose(2, 0, 1)[::-1])
    if channels == "RGB":
        np.testing.assert_array_equal(made[0], pixels)


def test_resize_modes(tmp_path: Path) -> None:
    write_image(tmp_path / "wide.png", 64, 16)
    plain = {"filter": "nearest", "scale": 1.0, "mean": (0.0,), "std": (1.0,)}

    def made(resize: str) -> np.ndarray:
        spec = ImageSpec(size=(8, 8), resize=resize, crop_share=1.0, **plain)
        return load_image(tmp_path / "wide.png", spec)[0]

    assert made("stretch")[1].max() > 48  # both ends of the 64 columns
    assert made("crop")[1].min() >= 24  # the middle 16 columns
    assert made("crop")[1].max() <= 40
    padded = made("pad")
    assert not padded[:, :3].any()  # two rows of image between black bars
    assert not padded[:, 5:].any()
    assert padded[1, 3:5].max() > 48


def test_the_specification_is_read_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("size: 96\nmean: [0.5]\nstd: [0.5]\nchannels: L\n")
    assert read_spec(path, {}) == ImageSpec(size=(96, 96), mean=(0.5,), std=(0.5,), channels="L")
    made = read_spec(path, {"size": "32x64", "channels": "RGB", "mean": "0.1,0.2,0.3"})
    assert made.size == (32, 64)
    assert made.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"colour": "1"}, "unknown key 'colour'"),
        ({"resize": "squash"}, "resize='squash'; it is one of crop, stretch, pad"),
        ({"size": "wide"}, "expected numbers"),
        ({"size": "0"}, "above 0"),
        ({"mean": "1,2"}, "mean has 2 values; RGB images have 3"),
        ({"std": "0"}, "std may not be 0"),
        ({"crop_share": "2"}, "at most 1"),
    ],
)
def test_specifications_that_mean_nothing(options: dict[str, str], text: str) -> None:
    with pytest.raises(colonnade.InputError, match=text):
        read_spec(None, options)


def test_a_specification_that_is_no_yaml(tmp_path: Path) -> None:
    for content in ("size: [1", "- 3"):
        (tmp_path / "spec.yaml").write_text(content)
        with pytest.raises(colonnade.InputError, match="spec.yaml"):
            read_spec(tmp_path / "spec.yaml", {})


def test_a_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    write_image(tmp_path / "class" / "b.png", 20, 20)
    write_image(tmp_path / "a.jpg", 20, 20)
    source = open_source(tmp_path, IMAGE_GRAPH, Reading(ImageSpec(size=(8, 8))))
    assert [s.arrays["image"].shape for s in source()] == [(1, 3, 8, 8)] * 2
    (tmp_path / "c.png").write_bytes(b"not an image")
    source = open_source(tmp_path, IMAGE_GRAPH, Reading(ImageSpec(size=(8, 8))))
    with pytest.raises(colonnade.InputError, match=r"c\.png: not a readable image"):
        list(source())
    with pytest.raises(colonnade.InputError, match="models with one input"):
        open_source(tmp_path, TEXT_GRAPH, Reading())


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Words of a tiny vocabulary."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "a": 1, "b": 2, "c": 3}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_lines_of_text(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("a b c\n\n" + "b " * 50 + "\n")
    samples = list(open_source(path, TEXT_GRAPH, Reading(tokenizer=tokenizer, length_max=40))())
    assert [s.label.rpartition(" ")[2] for s in samples] == ["1", "3"]
    first, second = (sample.arrays for sample in samples)
    assert first["input_ids"].shape == (1, 32)
    assert first["input_ids"][0, :4].tolist() == [1, 2, 3, 0]
    assert first["attention_mask"].sum() == 3
    assert second["attention_mask"].tolist() == [[1] * 40]
    assert second["input_ids"].dtype == np.int64


def test_text_that_cannot_be_read(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(colonnade.InputError, match="needs a tokenizer"):
        open_source(path, TEXT_GRAPH, Reading())
    with pytest.raises(colonnade.InputError, match="not a tokenizer file"):
        open_source(path, TEXT_GRAPH, Reading(tokenizer=path))
    with pytest.raises(colonnade.InputError, match="not a readable text file"):
        list(open_source(path, TEXT_GRAPH, Reading(tokenizer=tokenizer))())
    with pytest.raises(colonnade.InputError, match="input 'image': not known"):
        open_source(path, IMAGE_GRAPH, Reading(tokenizer=tokenizer))


def test_functions(tmp_path: Path) -> None:
    path = tmp_path / "samples.py"
    path.write_text("def make():\n    yield {'image': 1}\nnumber = 3\n")
    source = open_source(f"{path}:make", IMAGE_GRAPH, Reading())
    assert [s.arrays for s in source()] == [{"image": 1}]
    for text, reason in (
        (f"{path}:other", "no function 'other'; it has"),
        (f"{path}:number", "no function 'number'"),
        ("nothing.here:make", "module 'nothing.here' cannot be imported"),
        ("plain", "expected module:function"),
        (f"{tmp_path}/none.py:make", "no such file"),
    ):
        with pytest.raises(colonnade.InputError, match=reason):
            load_function(text, "calibration")
    assert load_function("math:sqrt", "calibration")(4.0) == 2.0
