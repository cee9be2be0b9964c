"""Batch scoring on Ray Data: actors that each hold an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import ray.data

from colonnade.errors import InputError
from colonnade.scale.shared_model import SharedModel, open_shared

Batch = dict[str, np.ndarray]
Prepare = Callable[[Batch], Mapping[str, np.ndarray]]
Finish = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Scorer:
    """What Ray Data calls with batches: adds the model's outputs to each row.

    Every run has `batch_size` rows, the last ones repeated where a batch is shorter: so one saved
    plan is enough, and a row's result does not depend on how rows were dealt to batches.
    """

    def __init__(
        self,
        model: SharedModel,
        batch_size: int,
        threads: int = 1,
        prepare: Prepare | None = None,
        finish: Finish | None = None,
    ) -> None:
        self._engine = open_shared(model, threads)
        self._batch_size = batch_size
        self._prepare = prepare or self._columns
        self._finish = finish or _outputs

    def __call__(self, batch: Batch) -> Batch:
        inputs = self._prepare(batch)
        rows = len(next(iter(batch.values())))
        padded = {name: pad_rows(array, self._batch_size) for name, array in inputs.items()}
        made = self._engine.run(padded)
        outputs = {name: array[:rows] for name, array in made.items()}
        return {**batch, **self._finish(inputs, outputs)}

    def _columns(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """The columns that are named like the inputs, in the inputs' element types."""
        missing = [info.name for info in self._engine.inputs if info.name not in batch]
        if missing:
            raise InputError(
                f"the data has no columns {missing}, only {sorted(batch)}; rename them, or give "
                "`prepare`, which makes the inputs from a batch"
            )
        return {i.name: np.asarray(batch[i.name], i.dtype) for i in self._engine.inputs}


def _outputs(
    _: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    return outputs


def score(
    dataset: ray.data.Dataset,
    model: SharedModel,
    *,
    batch_size: int = 32,
    threads: int = 1,
    engines: int | tuple[int, int] = 1,
    prepare: Prepare | None = None,
    finish: Finish | None = None,
) -> ray.data.Dataset:
    """The data set with the model's outputs as further columns, computed by several engines.

    `engines`: how many, or (fewest, most); each asks Ray for `threads` CPUs. `prepare` makes the
    model's inputs from a batch, `finish` columns from inputs and outputs. The work starts when the
    result is read, with Ray Data's progress bars. What a lost node had done is done again.
    """
    fewest, most = engines if isinstance(engines, tuple) else (engines, engines)
    return dataset.map_batches(
        Scorer,
        fn_constructor_args=(model, batch_size, threads, prepare, finish),
        batch_size=batch_size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
        num_cpus=threads,
    )


def pad_rows(array: np.ndarray, rows: int) -> np.ndarray:
    """The last row repeated, until there are `rows`.

    >>> pad_rows(np.array([[1], [2]]), 4).tolist()
    [[1], [2], [2], [2]]
    """
    missing = rows - len(array)
    if missing <= 0:
        return array
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
