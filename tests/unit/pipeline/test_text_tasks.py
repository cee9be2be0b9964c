"""Text tasks on tiny models, against transformers with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import colonnade
from colonnade.errors import InputError

torch = pytest.importorskip("torch", reason="torch makes the models")
transformers = pytest.importorskip("transformers", reason="transformers is the peer")

from tiny_encoder import make_tokenizer, peer_tokenizer, write_encoder  # noqa: E402

TEXTS = [
    "the film was great and the book is not bad",
    "Alice works at Acme Corp. in Berlin, Bob lived in London!",
    "sparse",
    "",
]
LONG = "Alice lives in Paris and works for the old bank. " * 12
CLOSE = {"rel": 1e-4, "abs": 1e-5}


def made(tmp: pytest.TempPathFactory, head: str, labels: tuple[str, ...] = ()) -> tuple[Path, Any]:
    folder = tmp.mktemp(head)
    return folder, write_encoder(folder, head, labels)


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory, "text", ("negative", "neutral", "positive"))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory, "token", ("O", "B-PER", "I-PER", "B-ORG", "I-ORG"))


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory, "text", ("contradiction", "neutral", "entailment"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory, "answer")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return made(tmp_path_factory, "plain")


def peer(task: str, model: tuple[Path, Any], **options: Any) -> Any:
    return transformers.pipeline(
        task, model=model[1], tokenizer=peer_tokenizer(model[0]), device="cpu", **options
    )


@pytest.mark.parametrize("name", ["text-classification", "sentiment_analysis", "GLUE"])
def test_text_classification(sentiment: tuple[Path, Any], name: str) -> None:
    classify = colonnade.pipeline(name, sentiment[0], top_k=None, threads=1)
    expected = peer("text-classification", sentiment, top_k=None)(TEXTS)
    found = classify(TEXTS)
    for ours, theirs in zip(found, expected, strict=True):
        assert [label.label for label in ours] == [label["label"] for label in theirs]
        assert [label.score for label in ours] == pytest.approx(
            [label["score"] for label in theirs], **CLOSE
        )
    assert [label.label for label in classify(TEXTS[0])] == [label.label for label in found[0]]


def test_pairs_and_cut_texts(sentiment: tuple[Path, Any]) -> None:
    classify = colonnade.pipeline("text-classification", sentiment[0], threads=1)
    theirs = peer("text-classification", sentiment)
    (ours,) = classify(("the film was great", "the book is bad"))
    pair = theirs({"text": "the film was great", "text_pair": "the book is bad"})
    assert (ours.label, ours.score) == (pair["label"], pytest.approx(pair["score"], **CLOSE))
    (ours,) = classify(LONG)
    cut = theirs(LONG, truncation=True, max_length=64)
    assert (ours.label, ours.score) == (cut[0]["label"], pytest.approx(cut[0]["score"], **CLOSE))


def test_sigmoid_and_class_names(sentiment: tuple[Path, Any]) -> None:
    names = ["x", "y", "z"]
    classify = colonnade.pipeline(
        "text-classification", sentiment[0], function_to_apply="sigmoid", top_k=3,
        class_names=names, threads=1,
    )  # fmt: skip
    theirs = peer("text-classification", sentiment, function_to_apply="sigmoid", top_k=3)
    scores = [label.score for label in classify(TEXTS[0])]
    assert scores == pytest.approx([x["score"] for x in theirs([TEXTS[0]])[0]], **CLOSE)
    assert {label.label for label in classify(TEXTS[0])} == set(names)


@pytest.mark.parametrize("lengths", [16, [8, 16, 64]])
def test_buckets_give_the_same(sentiment: tuple[Path, Any], lengths: Any) -> None:
    """Padding is masked: a short text has one answer in every bucket."""
    plain = colonnade.pipeline("text-classification", sentiment[0], threads=1)
    bucketed = colonnade.pipeline(
        "text-classification", sentiment[0], sequence_length=lengths, batch_size=3, threads=1
    )
    texts = ["good", "a bad film", "the old house by the harbour is red and blue"] * 3
    for one, other in zip(plain(texts), bucketed(texts), strict=True):
        assert one[0].label == other[0].label
        assert one[0].score == pytest.approx(other[0].score, **CLOSE)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification(tagger: tuple[Path, Any], strategy: str) -> None:
    find = colonnade.pipeline("ner", tagger[0], aggregation_strategy=strategy, threads=1)
    theirs = peer("token-classification", tagger, aggregation_strategy=strategy)
    for text in TEXTS[:3]:
        found, expected = find(text), theirs(text)
        key = "entity" if strategy == "none" else "entity_group"
        assert [(e.label, e.start, e.end) for e in found] == [
            (e[key], e["start"], e["end"]) for e in expected
        ]
        assert [e.score for e in found] == pytest.approx([e["score"] for e in expected], **CLOSE)
        assert all(e.text == text[e.start : e.end] for e in found)


def test_token_classification_in_windows(tagger: tuple[Path, Any]) -> None:
    options = {"aggregation_strategy": "simple", "stride": 16}
    found = colonnade.pipeline("ner", tagger[0], threads=1, **options)(LONG)
    expected = peer("token-classification", tagger, **options)(LONG)
    assert [(e.label, e.start, e.end) for e in found] == [
        (e["entity_group"], e["start"], e["end"]) for e in expected
    ]
    cut = colonnade.pipeline("ner", tagger[0], threads=1)(LONG)
    assert max(e.end for e in cut) < max(e.end for e in found)


@pytest.mark.parametrize("is_multi", [False, True])
def test_zero_shot(nli: tuple[Path, Any], is_multi: bool) -> None:
    labels = ["politics", "sport", "science"]
    ask = colonnade.pipeline("zero-shot", nli[0], labels=labels, multi_label=is_multi, threads=1)
    theirs = peer("zero-shot-classification", nli)(TEXTS[0], labels, multi_label=is_multi)
    found = ask(TEXTS[0])
    assert [label.label for label in found] == theirs["labels"]
    assert [label.score for label in found] == pytest.approx(theirs["scores"], **CLOSE)
    assert ask({"text": TEXTS[0], "labels": labels}) == found


def test_question_answering(reader: tuple[Path, Any]) -> None:
    """Against all stretches of all windows, scored one by one."""
    question = "Where does Alice live?"
    answer = colonnade.pipeline(
        "qa", reader[0], n_best_size=5, doc_stride=10, max_answer_length=4, threads=1
    )
    found = answer({"question": question, "context": LONG})
    expected = brute_force(reader, question, LONG, stride=10, length_max=4)[:5]
    assert [(a.start, a.end) for a in found] == [span for span, _ in expected]
    assert [a.score for a in found] == pytest.approx([score for _, score in expected], **CLOSE)
    assert all(a.answer == LONG[a.start : a.end] for a in found)
    assert answer((question, LONG)) == found


def test_no_answer(reader: tuple[Path, Any]) -> None:
    options = {"n_best_size": 1000, "threads": 1}
    sure = colonnade.pipeline("qa", reader[0], **options)
    open_ = colonnade.pipeline("qa", reader[0], version_2_with_negative=True, **options)
    item = ("Who lives in Rome?", "Alice lives in Paris.")
    empty = [a for a in open_(item) if not a.answer]
    assert [(a.start, a.end) for a in empty] == [(0, 0)]
    assert empty[0].score > 0
    assert [a for a in open_(item) if a.answer] == sure(item)


def brute_force(
    model: tuple[Path, Any], question: str, context: str, stride: int, length_max: int
) -> list[tuple[tuple[int, int], float]]:
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(64, stride=stride, strategy="only_second")
    first = tokenizer.encode(question, context)
    best: dict[tuple[int, int], float] = {}
    for window in [first, *first.overflowing]:
        with torch.no_grad():
            out = model[1](
                input_ids=torch.tensor([window.ids]),
                attention_mask=torch.tensor([window.attention_mask]),
                token_type_ids=torch.tensor([window.type_ids]),
            )
        inside = [s == 1 for s in window.sequence_ids]
        hidden = torch.tensor([0.0 if i == 0 or ok else -1e9 for i, ok in enumerate(inside)])
        starts = torch.softmax(out.start_logits[0] + hidden, -1).tolist()
        ends = torch.softmax(out.end_logits[0] + hidden, -1).tolist()
        for i, ok in enumerate(inside):
            for j in range(i, min(i + length_max, len(inside))):
                if ok and inside[j]:
                    span = (window.offsets[i][0], window.offsets[j][1])
                    best[span] = max(best.get(span, 0.0), starts[i] * ends[j])
    return sorted(best.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "per_token"])
def test_embeddings(encoder: tuple[Path, Any], pooling: str) -> None:
    embed = colonnade.pipeline(
        "embeddings", encoder[0], pooling=pooling, normalize=False, threads=1
    )
    texts = TEXTS[:3]
    batch = peer_tokenizer(encoder[0])(texts, padding=True, return_tensors="pt")
    batch = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        hidden = encoder[1](**batch).last_hidden_state.numpy()
    for found, vectors, mask in zip(
        embed(texts), hidden, batch["attention_mask"].numpy(), strict=True
    ):
        own = vectors[mask > 0]
        expected = {"mean": own.mean(0), "cls": own[0], "max": own.max(0), "per_token": own}
        np.testing.assert_allclose(found.vector, expected[pooling], rtol=1e-3, atol=1e-4)
        assert found.tokens == mask.sum()
    scaled = colonnade.pipeline("embeddings", encoder[0], pooling=pooling, threads=1)(texts[0])
    np.testing.assert_allclose(np.linalg.norm(scaled.vector, axis=-1), 1.0, rtol=1e-5)


def test_a_folder_says_how_it_pools(encoder: tuple[Path, Any]) -> None:
    config = encoder[0] / "1_Pooling" / "config.json"
    config.parent.mkdir()
    config.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    try:
        auto = colonnade.pipeline("embeddings", encoder[0], threads=1)(TEXTS[0])
    finally:
        config.unlink()
        config.parent.rmdir()
    cls = colonnade.pipeline("embeddings", encoder[0], pooling="cls", threads=1)(TEXTS[0])
    np.testing.assert_array_equal(auto.vector, cls.vector)


@pytest.mark.parametrize(
    ("task", "item", "message"),
    [
        ("text-classification", 7, "expected a text, got int"),
        ("text-classification", ("a", "b", "c"), "a pair of texts, got 3 values"),
        ("text-classification", "\ud800", "cannot be tokenized"),
        ("text-classification", "a" * 1_000_001, "1000001 characters; at most 1000000"),
        ("zero-shot", "a", "expected a list of 1 to 256 texts"),
        ("zero-shot", {"text": "a", "labels": [1]}, "expected a label, got int"),
        ("zero-shot", {"txt": "a"}, "got the keys ['txt']"),
    ],
)
def test_bad_texts(nli: tuple[Path, Any], task: str, item: object, message: str) -> None:
    ask = colonnade.pipeline(task, nli[0], threads=1)
    with pytest.raises(InputError) as error:
        ask(item)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"question": "", "context": "a"}, "the question is empty"),
        ({"question": "a", "context": " "}, "the context is empty"),
        ({"question": "a"}, "got the keys ['question']"),
        ("who?", "a pair of texts, got str"),
        (("a", 7), "expected a context, got int"),
    ],
)
def test_bad_questions(reader: tuple[Path, Any], item: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        colonnade.pipeline("qa", reader[0], threads=1)(item)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 3}, "unknown option 'topk'; did you mean 'top_k'?"),
        ({"top_k": "3"}, "top_k='3'; expected int"),
        ({"function_to_apply": "tanh"}, "it is one of auto, softmax, sigmoid, none"),
        ({"sequence_length": 65}, "expected lengths from 2 to 64"),
        ({"batch_size": 0}, "batch_size=0; expected a number above 0"),
        ({"class_names": "abc"}, "expected a list"),
    ],
)
def test_bad_options(sentiment: tuple[Path, Any], options: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        colonnade.pipeline("text-classification", sentiment[0], threads=1, **options)
    assert message in str(error.value)


def test_class_names_of_another_model(sentiment: tuple[Path, Any]) -> None:
    classify = colonnade.pipeline(
        "text-classification", sentiment[0], class_names=("a",), threads=1
    )
    with pytest.raises(InputError, match="1 names for 3 classes"):
        classify("good")


def test_bad_folders(tmp_path: Path, sentiment: tuple[Path, Any]) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        colonnade.pipeline("ner", tmp_path / "absent")
    with pytest.raises(InputError, match=r"expected model\.onnx"):
        colonnade.pipeline("ner", tmp_path)
    (tmp_path / "model.onnx").symlink_to(sentiment[0] / "model.onnx")
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        colonnade.pipeline("ner", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer file"):
        colonnade.pipeline("ner", tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="expected an object"):
        colonnade.pipeline("ner", tmp_path)


def test_a_model_and_its_folder_apart(sentiment: tuple[Path, Any]) -> None:
    """An Engine is shared: two tasks run on it."""
    with colonnade.compile(sentiment[0] / "model.onnx", threads=1) as engine:
        one = colonnade.pipeline("text-classification", engine, folder=sentiment[0])
        two = colonnade.pipeline("sentiment-analysis", engine, folder=sentiment[0], top_k=2)
        assert one.engine is two.engine is engine
        assert one("good")[0] == two("good")[0]
