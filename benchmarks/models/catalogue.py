"""The models of the demo, the tests and the benchmarks, with real inputs for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.cache import cache_dir, written_whole
from models.published import NETWORKS, Network
from models.requirements import require
from models.samples import audio, photos, sentences, text_images
from models.sparse import REVISION as SPARSE_REVISION
from models.sparse import Variant, parse_variant, write_variant

Inputs = dict[str, np.ndarray]

SEAL_NS = 1_000_000_000 * 10**9
"""Modification time of a built file; some engines rewrite a model in place, and that shows."""


@dataclass(frozen=True)
class Model:
    """A model that can be built into an ONNX file, and its inputs."""

    name: str
    summary: str
    write: Callable[[Path], None]
    make_inputs: Callable[[int, int], Inputs]
    seq_means: str
    """What `seq` counts for this model."""
    seq: int
    """Its default."""
    fixed_seq: bool = False
    fixed_batch: bool = False
    trained: bool = True
    revision: int = 1
    """Part of the file's name: raise it when the builder changes."""
    dense_weights: tuple[str, ...] = ()
    """Weights that get no zeros in sparse variants, besides those that never do."""

    @property
    def path(self) -> Path:
        """Where the ONNX file is, or will be."""
        return cache_dir() / "models" / f"{self.name}-r{self.revision}.onnx"

    @property
    def is_built(self) -> bool:
        """The file is there, as its builder left it."""
        return self.path.exists() and self.path.stat().st_mtime_ns == SEAL_NS


def names() -> list[str]:
    """Every model, in the order of the catalogue; networks of published tables and sparse
    variants are known to `find` only."""
    return list(MODELS)


def build(name: str) -> Path:
    """The path of a model's ONNX file; builds it when the cache has none or a changed one.

    Raises PackageUnavailableError (offline), PackageCorruptError, LibraryMissingError.
    """
    model = find(name)
    if not model.is_built:
        with written_whole(model.path) as part:
            model.write(part)
            os.utime(part, ns=(SEAL_NS, SEAL_NS))
    return model.path


def inputs(name: str, batch: int = 1, seq: int | None = None) -> Inputs:
    """Real inputs by name, the same at each call.

    `seq` is the model's other free size (see `seq_means`): tokens, pixels or frames.
    """
    model = find(name)
    seq = model.seq if seq is None else seq
    if (model.fixed_batch and batch != 1) or (model.fixed_seq and seq != model.seq):
        raise ValueError(
            f"{name} takes batch {'1' if model.fixed_batch else 'n'} and "
            f"{model.seq if model.fixed_seq else 'any'} {model.seq_means}; got {batch} and {seq}"
        )
    made = model.make_inputs(batch, seq)
    return {key: np.ascontiguousarray(array) for key, array in made.items()}


def find(name: str) -> Model:
    """The entry of a name; KeyError lists the known names.

    Besides those of the catalogue there are networks of published tables (see published.py) and
    sparse variants of every model (see sparse.py).
    """
    if name in MODELS:
        return MODELS[name]
    if name in NETWORKS:
        return _published_model(name, NETWORKS[name])
    variant = parse_variant(name)
    if variant is None or variant.dense not in MODELS:
        raise KeyError(f"no model {name!r}; the models are {names()}, and sparse variants of them")
    return _sparse_model(MODELS[variant.dense], variant, name)


def _published_model(name: str, network: Network) -> Model:
    return Model(
        name,
        f"{network.summary}, random weights",
        lambda path: network.write(path, network.side),
        photos.resnet_inputs,
        "pixels a side",
        network.side,
        fixed_seq=True,
        trained=False,
    )


def _sparse_model(dense: Model, variant: Variant, name: str) -> Model:
    def write(path: Path) -> None:
        write_variant(build(dense.name), variant, dense.dense_weights, path)

    return replace(
        dense,
        name=name,
        summary=f"{dense.name}, {variant.percent} % zeros imposed ({variant.structure})",
        write=write,
        trained=False,
        revision=dense.revision + SPARSE_REVISION,
    )


def _resnet50(path: Path) -> None:
    require("torch", "building resnet50")
    from models.builders import resnet50

    resnet50.build(path)


def _bert_base(path: Path) -> None:
    require("torch", "building bert_base")
    from models.builders import bert

    bert.build_bert_base(path, "legacy")


def _bert_base_dynamo(path: Path) -> None:
    require("torch", "building bert_base_dynamo")
    from models.builders import bert

    bert.build_bert_base(path, "dynamo")


def _minilm_l6(path: Path) -> None:
    require("torch", "building minilm_l6")
    from models.builders import bert

    bert.build_minilm_l6(path, "legacy")


def _minilm_l6_dynamo(path: Path) -> None:
    require("torch", "building minilm_l6_dynamo")
    from models.builders import bert

    bert.build_minilm_l6(path, "dynamo")


def _bert_base_eager(path: Path) -> None:
    require("torch", "building bert_base_eager")
    from models.builders import bert

    bert.build_bert_base(path, "legacy", attention="eager")


def _minilm_l6_eager(path: Path) -> None:
    require("torch", "building minilm_l6_eager")
    from models.builders import bert

    bert.build_minilm_l6(path, "legacy", attention="eager")


def _efficientnet_lite0(path: Path) -> None:
    require("torch", "building efficientnet_lite0")
    from models.builders import efficientnet

    efficientnet.build(path)


def _efficientnet_lite0_direct(path: Path) -> None:
    require("onnx", "building efficientnet_lite0_direct")
    from models.builders import efficientnet_direct

    efficientnet_direct.build(path)


def _crnn_english_g2(path: Path) -> None:
    require("torch", "building crnn_english_g2")
    from models.builders import crnn

    crnn.build(path)


def _shipped(package: str, member: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from models import packages

        path.write_bytes(packages.read(package, member))

    return write


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "resnet50",
            "ResNet-50 v1.5, random weights",
            _resnet50,
            photos.resnet_inputs,
            "pixels a side",
            224,
            fixed_seq=True,
            trained=False,
            dense_weights=("classify.weight",),
        ),
        Model(
            "efficientnet_lite0",
            "EfficientNet-Lite0, ImageNet",
            _efficientnet_lite0,
            photos.efficientnet_inputs,
            "pixels a side",
            224,
            fixed_seq=True,
            dense_weights=("_fc.weight",),
        ),
        Model(
            "efficientnet_lite0_direct",
            "EfficientNet-Lite0, written without torch",
            _efficientnet_lite0_direct,
            photos.efficientnet_inputs,
            "pixels a side",
            224,
            fixed_seq=True,
        ),
        Model(
            "minilm_l6",
            "MiniLM-L6 sentence encoder, legacy exporter",
            _minilm_l6,
            sentences.encoder_inputs,
            "tokens",
            128,
        ),
        Model(
            "minilm_l6_eager",
            "MiniLM-L6 sentence encoder, legacy exporter, plain softmax",
            _minilm_l6_eager,
            sentences.encoder_inputs,
            "tokens",
            128,
        ),
        Model(
            "minilm_l6_dynamo",
            "MiniLM-L6 sentence encoder, dynamo exporter",
            _minilm_l6_dynamo,
            sentences.encoder_inputs,
            "tokens",
            128,
        ),
        Model(
            "bert_base",
            "BERT-base, random weights, legacy exporter",
            _bert_base,
            sentences.encoder_inputs,
            "tokens",
            128,
            trained=False,
        ),
        Model(
            "bert_base_eager",
            "BERT-base, random weights, legacy exporter, plain softmax",
            _bert_base_eager,
            sentences.encoder_inputs,
            "tokens",
            128,
            trained=False,
        ),
        Model(
            "bert_base_dynamo",
            "BERT-base, random weights, dynamo exporter",
            _bert_base_dynamo,
            sentences.encoder_inputs,
            "tokens",
            128,
            trained=False,
        ),
        Model(
            "silero_vad",
            "voice activity detector, LSTM with carried state",
            _shipped("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx"),
            audio.voice_detector_inputs,
            "frames of 32 ms",
            64,
            fixed_batch=True,
        ),
        Model(
            "rapidocr_det",
            "PP-OCR text detector",
            _shipped("rapidocr", "rapidocr/models/PP-OCRv6_det_small.onnx"),
            text_images.detector_inputs,
            "pixels a side, a multiple of 32",
            320,
        ),
        Model(
            "rapidocr_rec",
            "PP-OCR text recogniser, convolution and attention",
            _shipped("rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx"),
            text_images.recogniser_inputs,
            "pixels of width",
            320,
        ),
        Model(
            "rapidocr_cls",
            "PP-OCR text angle classifier",
            _shipped("rapidocr", "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
            text_images.recogniser_inputs,
            "pixels of width",
            192,
        ),
        Model(
            "crnn_english_g2",
            "text recogniser, convolutions and bidirectional LSTM",
            _crnn_english_g2,
            text_images.crnn_inputs,
            "pixels of width",
            320,
        ),
        Model(
            "basic_pitch",
            "note detector, small audio CNN",
            _shipped("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
            audio.note_detector_inputs,
            "samples",
            audio.MUSIC_SAMPLES,
            fixed_seq=True,
        ),
    )
}
