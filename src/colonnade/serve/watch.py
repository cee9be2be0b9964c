"""Hot reload: model files that changed are loaded beside the old ones, and take their place.

A file counts when it has been the same for one whole round: a copy that is still being written does
not. What fails to load leaves the old version answering.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from colonnade.errors import ColonnadeError
from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.folder import find_models, find_versions
from colonnade.serve.repository import Repository

logger = logging.getLogger("colonnade.serve")

Seen = tuple[tuple[str, str, int, int], ...]
"""(version, path, size, time of change) of a model's files."""


async def watch(repository: Repository, config: ServerConfig, every_s: float) -> None:
    """Look every `every_s` seconds, for good."""
    loaded = _look(config)
    before = dict(loaded)
    while True:
        await asyncio.sleep(every_s)
        now = _look(config)
        for name, (model, seen) in now.items():
            is_new = name not in loaded or loaded[name][1] != seen
            is_settled = name in before and before[name][1] == seen
            if is_new and is_settled:
                loaded[name] = (model, seen)
                logger.info("model %s changed: loading it", name)
                await repository.add(model)
        for name in loaded.keys() - now.keys():
            del loaded[name]
            logger.info("model %s is gone: unloading it", name)
            await repository.unload(name)
        before = now


def _look(config: ServerConfig) -> dict[str, tuple[ModelConfig, Seen]]:
    found = {}
    try:
        models = find_models(config)
    except (ColonnadeError, OSError) as error:
        logger.warning("looking for models: %s", error)
        return {}
    for model in models:
        try:
            seen = tuple(_facts(number, path) for number, path in find_versions(model))
        except (ColonnadeError, OSError):
            continue
        found[model.name] = (model, seen)
    return found


def _facts(number: str, path: Path) -> tuple[str, str, int, int]:
    stat = path.stat()
    return number, str(path), stat.st_size, stat.st_mtime_ns
