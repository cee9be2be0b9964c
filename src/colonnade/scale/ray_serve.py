"""Replicas on Ray Serve: each holds an engine, and their number follows the load."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray import serve

from colonnade.scale.shared_model import SharedModel, open_shared


class Replica:
    """One engine. Requests wait in Ray Serve's queue, `max_ongoing_requests` of them here."""

    def __init__(self, model: SharedModel, threads: int) -> None:
        self._engine = open_shared(model, threads)

    async def infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for a request of other deployments: `await handle.infer.remote(inputs)`."""
        return await asyncio.wrap_future(self._engine.submit(inputs))

    def check_health(self) -> None:
        """What Ray Serve asks now and then; it replaces a replica that raises."""
        self._engine.explain()


def deployment(
    model: SharedModel,
    *,
    name: str = "colonnade",
    threads: int = 1,
    replicas: int | tuple[int, int] = 1,
    target_ongoing_requests: float = 2.0,
    max_ongoing_requests: int = 8,
    **options: Any,
) -> serve.Application:
    """An application for `ray.serve.run`: replicas with an engine on `threads` cores each.

    `replicas`: how many, or (fewest, most): then Ray Serve starts and stops them so that each has
    about `target_ongoing_requests` at a time. Further options are those of `serve.deployment`.

    >>> from ray import serve  # doctest: +SKIP
    >>> handle = serve.run(deployment(share("model.colonnade"), replicas=(1, 4)))  # doctest: +SKIP
    >>> handle.infer.remote({"x": x}).result()  # doctest: +SKIP
    """
    if isinstance(replicas, tuple):
        options["autoscaling_config"] = {
            "min_replicas": replicas[0],
            "max_replicas": replicas[1],
            "target_ongoing_requests": target_ongoing_requests,
        }
    else:
        options["num_replicas"] = replicas
    made = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": threads},
        max_ongoing_requests=max_ongoing_requests,
        **options,
    )(Replica)
    return made.bind(model, threads)
