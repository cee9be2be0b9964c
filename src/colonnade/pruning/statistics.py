"""Statistics of what layers read, over the calibration data; the engine computes the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.pruning.columns import to_columns
from colonnade.pruning.layers import Layer
from colonnade.quantization.calibrate import compile_graph, run_samples
from colonnade.quantization.data.source import Source


@dataclass
class Statistics:
    """Sums over all positions of all samples, by group; float64."""

    products: np.ndarray
    """x x^T, [groups, cols, cols]."""
    sums: np.ndarray
    """x, [groups, cols]."""
    count: int = 0

    def add(self, columns: np.ndarray) -> None:
        """Count [groups, positions, cols]."""
        self.products += columns.transpose(0, 2, 1) @ columns
        self.sums += columns.sum(axis=1, dtype=np.float64)
        self.count += columns.shape[1]

    @property
    def means(self) -> np.ndarray:
        """Of each input."""
        return self.sums / max(self.count, 1)

    def centred(self) -> np.ndarray:
        """The products of deviations from the mean: what is left when a bias takes up the mean."""
        outer = self.sums[:, :, None] * self.sums[:, None, :]
        return np.asarray(self.products - outer / max(self.count, 1))


def collect(
    graph: Graph, layers: Sequence[Layer], source: Source, threads: int | None
) -> dict[str, Statistics]:
    """The statistics of each layer, by its name; layers that read the same share them."""
    made: dict[tuple[object, ...], Statistics] = {}
    found = {layer.name: made.setdefault(_key(layer), _empty(layer)) for layer in layers}
    firsts = list({_key(layer): layer for layer in reversed(layers)}.values())
    values = tuple(dict.fromkeys(value for layer in layers for value in layer.values))
    inner = tuple(value for value in values if value not in graph.inputs)
    with compile_graph(graph.with_changes(outputs=inner or graph.outputs), threads) as engine:
        for sample, arrays in run_samples(engine, values, source):
            _check_finite(sample.label, arrays)
            for layer in firsts:
                for node in layer.nodes:
                    made[_key(layer)].add(to_columns(layer, node, arrays[node.inputs[0]]))
    return found


def _key(layer: Layer) -> tuple[object, ...]:
    """Equal for layers that multiply the same matrix."""
    where = tuple(tuple(sorted((k, str(v)) for k, v in n.attrs.items())) for n in layer.nodes)
    is_conv = layer.op == "Conv"
    return (layer.values, layer.groups, layer.cols, is_conv and (where, layer.shape[2:]))


def _empty(layer: Layer) -> Statistics:
    return Statistics(
        np.zeros((layer.groups, layer.cols, layer.cols)), np.zeros((layer.groups, layer.cols))
    )


def _check_finite(label: str, arrays: Mapping[str, np.ndarray]) -> None:
    for value, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(
                f"{label}: value {value!r} of the model is not finite on this sample, so nothing "
                "can be learned from it; leave the sample out"
            )
