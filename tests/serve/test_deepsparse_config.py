"""DeepSparse's YAML: what is read, what is answered with a notice, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from colonnade.errors import InputError
from colonnade.pipeline.results import Answer, Embedding, Entity, Label
from colonnade.serve.deepsparse import (
    body_of_results,
    is_deepsparse,
    items_of_body,
    read_deepsparse,
)

SOURCE = Path("folder/server.yaml")
TEXT = """
num_cores: 2
num_workers: 4
integration: local
loggers: {prometheus: {port: 6100}}
endpoints:
  - task: question_answering
    model: qa
    batch_size: 1
    route: /v2/qa
    kwargs: {version_2_with_negative: true, engine_type: onnxruntime}
  - name: words
    task: ner
    model: ner/model.onnx
    batch_size: 4
    bucketing: {sequence_lengths: [16, 64]}
    middlewares: [a.b]
  - name: vectors
    task: transformers_embedding_extraction
    model: minilm
    kwargs: {extraction_strategy: reduce_max}
"""


def test_what_is_read() -> None:
    given = yaml.safe_load(TEXT)
    assert is_deepsparse(given)
    found = read_deepsparse(given, SOURCE)
    answers, words, vectors = found.endpoints
    assert found.threads == 2
    assert (answers.task.name, answers.route) == ("question-answering-0", "v2/qa")
    assert answers.task.options == {"version_2_with_negative": True}
    assert (words.path, words.batch_size) == (Path("folder/ner/model.onnx"), 4)
    assert words.task.task == "token-classification"
    assert words.task.options == {"sequence_length": [16, 64]}
    assert vectors.task.options == {"pooling": "max"}
    assert found.notices == (
        "num_workers is not supported: requests are batched, not given to workers",
        "integration is not supported: all protocols are served at once",
        "loggers is not supported: metrics are at /metrics",
        "question-answering-0: kwargs.engine_type is not supported",
        "words: middlewares is not supported: code of others does not run in the server",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoints": []}, "expected a list with an endpoint or more"),
        ({"endpoints": [{"task": "ner"}]}, "expected `task` and `model`"),
        ({"endpoints": [{"task": "ner", "model": "zoo:bert"}]}, "models are not downloaded"),
        ({"endpoints": [{"task": "nerr", "model": "m"}]}, "did you mean 'ner'"),
        ({"endpoints": [{"task": "ner", "model": "m", "batch_size": 0}]}, "batch_size=0"),
        ({"endpoints": [{"task": "ner", "model": "m", "name": "a"}] * 2}, "the same name"),
        ({"num_cores": "2", "endpoints": [{"task": "ner", "model": "m"}]}, "num_cores='2'"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_deepsparse(given, SOURCE)
    assert message in str(error.value)


def test_bodies_as_its_clients_know_them() -> None:
    assert items_of_body("text-classification", {"sequences": "a"}) == ["a"]
    assert items_of_body("embeddings", {"inputs": ["a", "b"]}) == ["a", "b"]
    asked = {"sequences": ["a"], "labels": ["x"]}
    assert items_of_body("zero-shot-classification", asked) == [{"text": "a", "labels": ["x"]}]
    question = {"question": "q", "context": "c"}
    assert items_of_body("question-answering", question) == [question]
    with pytest.raises(InputError, match="expected the key 'inputs'"):
        items_of_body("token-classification", {"sequences": "a"})
    with pytest.raises(InputError, match="takes files"):
        items_of_body("image-classification", {"images": ["/etc/passwd"]})


def test_results_as_its_clients_know_them() -> None:
    labels = [[Label("x", 0.9)], [Label("y", 0.8)]]
    assert body_of_results("text-classification", labels) == {
        "labels": ["x", "y"],
        "scores": [0.9, 0.8],
    }
    assert body_of_results("zero-shot-classification", labels)["labels"] == [["x"], ["y"]]
    best = body_of_results("question-answering", [[Answer("a", 0.5, 1, 2), Answer("b", 0, 3, 4)]])
    assert best == {"score": 0.5, "answer": "a", "start": 1, "end": 2}
    (token,) = body_of_results("token-classification", [[Entity("PER", 1.0, "Al", 0, 2)]])[
        "predictions"
    ][0]
    assert (token["entity"], token["word"]) == ("PER", "Al")
    vectors = body_of_results("embeddings", [Embedding(np.ones(2, np.float32), 3)])
    assert vectors == {"embeddings": [[1.0, 1.0]]}
