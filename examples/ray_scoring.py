"""Embed texts with MiniLM on a Ray cluster, and compare with one engine.

    python examples/ray_scoring.py --texts 10000 --nodes 2
    python examples/ray_scoring.py --address auto         # a cluster that runs already

`--nodes` starts a cluster of that many nodes on this machine. With `--lose-one` a node is killed
after the first results: none is lost. Needs `pip install 'colonnade[ray]'`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import colonnade
import models
from colonnade.scale.ray_data import pad_rows, score
from colonnade.scale.shared_model import share
from models.builders import minilm_files
from models.packages import read
from models.samples import sentences

BATCH, LENGTH = 32, 32
NODE = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
CHECKED = 512
"""Rows that one engine computes as well."""

Prepare = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, report, compare; 0 when every text has the result that one engine gives it."""
    chosen = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder, _cluster(chosen) as cluster:
        plan = _compile(Path(folder) / "minilm.colonnade")
        prepare = _make_prepare(read(minilm_files.PACKAGE, minilm_files.FOLDER + "tokenizer.json"))
        rows = _score(plan, prepare, chosen.texts, cluster if chosen.lose_one else None)
        return _compare(plan, prepare, rows, chosen.texts)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=2, help="of a cluster on this machine")
    parser.add_argument("--address", help="of a cluster that runs already")
    parser.add_argument("--lose-one", action="store_true", help="kill a node on the way")
    return parser.parse_args(arguments)


@contextmanager
def _cluster(chosen: argparse.Namespace) -> Iterator[Any]:
    """The running cluster, or one of several nodes on this machine."""
    if chosen.address:
        ray.init(address=chosen.address)
        yield None
        ray.shutdown()
        return
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    for _ in range(chosen.nodes - 1):
        cluster.add_node(**NODE)
    ray.init(address=cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def _compile(path: Path) -> Path:
    """A plan for the one shape that is scored; all engines of a node map this file."""
    with colonnade.compile(models.build("minilm_l6"), threads=1) as engine:
        engine.prepare({info.name: (BATCH, LENGTH) for info in engine.inputs})
        engine.save(path)
    return path


def _make_prepare(tokenizer_file: bytes) -> Prepare:
    """Texts to tokens; made once in each actor, at its first batch."""
    made: list[Any] = []

    def prepare(batch: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        if not made:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_str(tokenizer_file.decode())
            tokenizer.enable_truncation(LENGTH)
            tokenizer.enable_padding(length=LENGTH)
            made.append(tokenizer)
        found = made[0].encode_batch([str(text) for text in batch["text"]])
        return {
            "input_ids": np.array([row.ids for row in found], np.int64),
            "attention_mask": np.array([row.attention_mask for row in found], np.int64),
            "token_type_ids": np.array([row.type_ids for row in found], np.int64),
        }

    return prepare


def _embed(
    inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """The mean over a text's tokens."""
    mask = inputs["attention_mask"][:, :, None].astype(np.float32)
    hidden = next(iter(outputs.values()))
    return {"embedding": (hidden * mask).sum(axis=1) / mask.sum(axis=1)}


def _score(plan: Path, prepare: Prepare, texts: int, losing: Any) -> dict[int, np.ndarray]:
    rows = [{"id": number, "text": _text(number)} for number in range(texts)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, texts // 256))
    scored = score(
        dataset, share(plan), batch_size=BATCH, engines=max(1, len(ray.nodes())),
        prepare=prepare, finish=_embed,
    )  # fmt: skip
    found: dict[int, np.ndarray] = {}
    start = time.monotonic()
    for batch in scored.iter_batches(batch_size=BATCH, batch_format="numpy"):
        found.update(zip(batch["id"].tolist(), batch["embedding"], strict=True))
        print(f"\r{len(found)} of {texts} texts", end="", file=sys.stderr, flush=True)
        if losing is not None:
            losing.remove_node(list(losing.worker_nodes)[-1], allow_graceful=False)
            print(" (killed a node)", file=sys.stderr)
            losing = None
    seconds = time.monotonic() - start
    print(f"\n{len(found)} texts in {seconds:.1f} s: {len(found) / seconds:.0f} per second")
    return found


def _text(number: int) -> str:
    return f"{number}: {sentences.text(number % 400)[:300]}"


def _compare(plan: Path, prepare: Prepare, rows: Mapping[int, np.ndarray], texts: int) -> int:
    """Every text is there; the first ones are what one engine makes of them, bit for bit."""
    if sorted(rows) != list(range(texts)):
        print(f"results of {texts - len(rows)} texts are missing", file=sys.stderr)
        return 1
    with colonnade.load(plan, threads=1) as engine:
        for start in range(0, min(texts, CHECKED), BATCH):
            numbers = range(start, min(start + BATCH, texts))
            inputs = prepare({"text": [_text(number) for number in numbers]})
            outputs = engine.run({k: pad_rows(v, BATCH) for k, v in inputs.items()})
            outputs = {name: array[: len(numbers)] for name, array in outputs.items()}
            expected = _embed(inputs, outputs)["embedding"]
            if not np.array_equal(expected, np.stack([rows[number] for number in numbers])):
                print(f"texts {numbers}: other results than one engine's", file=sys.stderr)
                return 1
    print(f"the first {min(texts, CHECKED)} results are those of one engine, bit for bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
