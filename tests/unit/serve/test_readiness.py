"""A server is not ready before all of its models are, not even while it knows of none."""

from __future__ import annotations

import asyncio
from pathlib import Path

from colonnade.engine.runtime import Runtime
from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.loading import LoadedModel, load_model
from colonnade.serve.repository import Repository
from tiny_model import write_tiny_model


def test_ready_only_when_the_last_model_is_loaded(tmp_path: Path) -> None:
    seen: list[bool] = []

    def load(config: ModelConfig, path: Path, runtime: Runtime) -> LoadedModel:
        seen.append(repository.is_ready)
        return load_model(config, path, runtime)

    path = write_tiny_model(tmp_path / "tiny.onnx")
    models = [ModelConfig(name=name, path=path, save_plan=False) for name in ("a", "b")]
    repository = Repository(Runtime(threads=1), load)

    async def work() -> None:
        seen.append(repository.is_ready)
        await repository.open(ServerConfig(models=models))
        seen.append(repository.is_ready)
        await repository.close()

    asyncio.run(work())
    assert seen == [False, False, False, True]
