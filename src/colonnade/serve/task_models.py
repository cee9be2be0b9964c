"""The models of a repository, as tasks see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from colonnade.pipeline.stages import Row
from colonnade.serve.protocol import InferRequest
from colonnade.serve.repository import Repository
from colonnade.serve.tasks import ServedEngine


class RepositoryModels:
    """Finds a model's version of now; a batch is a request like any other."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def find(self, name: str) -> ServedEngine:
        """The version that answers now; raises Refusal."""
        served = self._repository.served(name)
        served.verify_room()
        is_batched = served.loaded.signature.is_batched
        return ServedEngine(served.loaded.engine, served.queue.policy.rows_max if is_batched else 0)

    async def submit(self, name: str, feeds: Row) -> Mapping[str, np.ndarray]:
        """Run a batch when its turn comes; raises Refusal."""
        response = await self._repository.infer(InferRequest(name, dict(feeds), is_admitted=True))
        return response.outputs

    def folder_of(self, name: str) -> Path | None:
        """Where the model's file is, or its versions are."""
        entry = self._repository.models().get(name)
        if entry is None:
            return None
        path = entry.config.path
        return path if path.is_dir() else path.parent
