"""A small ResNet, dense, then 95 % sparse, then sparse in int8: in torch and in the engine.

The dense network is trained first, to the end of its learning rate. Pruning by magnitude over all
layers together follows, with the dense network as the teacher, both in bfloat16 where autocast
says so; then quantization-aware training in float32.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import colonnade
from accuracy.fashion import Split, accuracy, batches
from accuracy.networks import ResNet
from accuracy.nm import rate
from colonnade.search.folder import run_file
from colonnade.sparsify import Recipe, sparsify
from colonnade.sparsify.export import export_onnx
from colonnade.sparsify.layers import list_layers
from colonnade.sparsify.modifiers.constant_pruning import ConstantPruning
from colonnade.sparsify.modifiers.distillation import Distillation
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.quantization import Quantization

BATCH = 128
EXPORT_IMAGES = 250


@dataclass(frozen=True)
class Budget:
    """Epochs of each stage, and the images of an epoch."""

    images: int = 60_000
    dense: int = 3
    prune: int = 6
    quantize: int = 1


FULL = Budget()
LEARNING_RATES = {"dense": 2e-3, "prune": 2e-3, "quantize": 2e-4}
SPARSITY = 0.95


def run_seed(seed: int, train: Split, test: Split, budget: Budget = FULL) -> dict[str, Any]:
    """The three networks of one seed, and what each keeps."""
    start = time.process_time()
    torch.manual_seed(seed)
    data = train.first(budget.images)
    model = ResNet().to(memory_format=torch.channels_last)
    train_stage(model, data, seed, "dense", budget.dense, None)
    found: dict[str, Any] = {"seed": seed, "dense": accuracy(model, test)}
    recipe = Recipe.of(prune(budget.prune), Distillation(hardness=0.5), epochs=float(budget.prune))
    train_stage(model, data, seed + 1000, "prune", budget.prune, recipe)
    found |= {"sparse": accuracy(model, test), "sparsity": sparsity(model)}
    found |= in_engine(model, test, "sparse")
    model.to(memory_format=torch.contiguous_format)
    recipe = Recipe.of(
        ConstantPruning(),
        Quantization(freeze_observers=0.75 * budget.quantize),
        epochs=float(budget.quantize),
    )
    train_stage(model, data, seed + 2000, "quantize", budget.quantize, recipe)
    found |= {"int8": accuracy(model, test), "int8_sparsity": sparsity(model)}
    found |= in_engine(model, test, "int8")
    return {**found, "cpu_s": round(time.process_time() - start), "torch": torch.__version__}


def prune(epochs: int) -> GradualMagnitude:
    """To 95 % over the first half of the epochs."""
    return GradualMagnitude(
        init_sparsity=0.3,
        final_sparsity=SPARSITY,
        end=epochs / 2,
        update_every=epochs / 64,
        scope="global",
    )


def train_stage(
    model: nn.Module, data: Split, seed: int, stage: str, epochs: int, recipe: Recipe | None
) -> None:
    """Train, under a recipe if there is one; the learning rate rises, then falls to zero."""
    fast = torch.autocast("cpu", torch.bfloat16, enabled=stage != "quantize")
    model.train()
    steps = len(data.labels) // BATCH
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATES[stage], weight_decay=0.01, fused=True
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps * epochs))
    if recipe is None:
        for images, labels in batches(data, BATCH, epochs, seed):
            optimizer.zero_grad()
            with fast:
                loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            rates.step()
        return
    with sparsify(model, optimizer, recipe, steps) as session:
        for batch in batches(data, BATCH, epochs, seed):
            with fast:
                outputs = model(batch[0])
                loss = nn.functional.cross_entropy(outputs, batch[1])
            session.step(loss, outputs, batch)
            rates.step()


def sparsity(model: nn.Module) -> float:
    """Zeros among the weights of linear and convolutional layers."""
    weights = [layer.weight for layer in list_layers(model)]
    num_zeros = sum(int((weight == 0).sum()) for weight in weights)
    return num_zeros / sum(int(weight.numel()) for weight in weights)


def in_engine(model: nn.Module, test: Split, name: str) -> dict[str, Any]:
    """Export, compile, and compare predictions on all test images."""
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        sample = test.images[:EXPORT_IMAGES]
        export_onnx(model, sample, path, runner=run_file)
        engine = colonnade.compile(str(path))
        found, expected, error = [], [], 0.0
        for start in range(0, len(test.labels), EXPORT_IMAGES):
            images = test.images[start : start + EXPORT_IMAGES]
            mine = next(iter(engine.run({engine.inputs[0].name: images.numpy()}).values()))
            theirs = _logits(model, images)
            error = max(error, float(np.abs(mine - theirs).max() / np.abs(theirs).max()))
            found.append(mine.argmax(1))
            expected.append(theirs.argmax(1))
        size = path.stat().st_size
    same = int((np.concatenate(found) == np.concatenate(expected)).sum())
    engine_accuracy = float((np.concatenate(found) == test.labels.numpy()).mean())
    return {
        f"{name}_same_predictions": same,
        f"{name}_engine_accuracy": engine_accuracy,
        f"{name}_engine_error": error,
        f"{name}_onnx_bytes": size,
    }


def _logits(model: nn.Module, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        logits: np.ndarray = model(images).numpy()
    return logits
