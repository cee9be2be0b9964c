"""Repository: the models of a server by name and version; every front end asks it.

    response = await repository.infer(request)      # raises Refusal
    repository.is_ready                             # every model that should be there is
    repository.served("minilm", "")                 # a ServedModel: signature, statistics, ...
    repository.models()                             # of all models, for indexes and metrics

Used by one event loop; what is slow (compiling, warming up) runs in a thread beside it. A version
is replaced in one step: a request is answered by the version that was there when it arrived.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from colonnade.engine.runtime import Runtime
from colonnade.errors import ColonnadeError
from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.folder import find_models, find_versions
from colonnade.serve.loading import LoadedModel, load_model
from colonnade.serve.protocol import InferRequest, InferResponse
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.served import ServedModel
from colonnade.serve.tracing import Tracing

Load = Callable[[ModelConfig, Path, Runtime], LoadedModel]


class State(enum.Enum):
    """Of a version, as the repository index of the protocol says it."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(slots=True)
class Version:
    """A version of a model that is, was or should be there."""

    state: State = State.LOADING
    reason: str = ""
    served: ServedModel | None = None


@dataclass(slots=True)
class Entry:
    """A model."""

    config: ModelConfig
    versions: dict[str, Version] = field(default_factory=dict)
    is_wanted: bool = True


class Repository:
    """All models of a server; they share one runtime."""

    def __init__(self, runtime: Runtime, load: Load = load_model) -> None:
        self.runtime = runtime
        self._load = load
        self._loader = ThreadPoolExecutor(1, "load")
        self._entries: dict[str, Entry] = {}
        self._latest: dict[str, ServedModel] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self.is_closing = False
        self._is_open = False
        self.tracing: Tracing | None = None

    async def infer(self, request: InferRequest) -> InferResponse:
        """The answer of a model; raises Refusal."""
        if not request.version:
            latest = self._latest.get(request.model)
            if latest is not None:
                return await latest.infer(request)
        return await self.served(request.model, request.version).infer(request)

    def latest(self, name: str) -> ServedModel | None:
        """The version that answers requests which name none."""
        return self._latest.get(name)

    @property
    def is_ready(self) -> bool:
        """Whether every model that is wanted has a version that answers."""
        return (
            self._is_open
            and not self.is_closing
            and all(
                name in self._latest for name, entry in self._entries.items() if entry.is_wanted
            )
        )

    def models(self) -> Mapping[str, Entry]:
        """Every model that the server knows of."""
        return self._entries

    def served(self, name: str, version: str = "") -> ServedModel:
        """The version asked for, or the latest; raises Refusal."""
        entry = self._entries.get(name)
        if entry is None:
            raise Refusal(Kind.NOT_FOUND, f"unknown model {name!r}")
        if not version:
            latest = self._latest.get(name)
            if latest is None:
                raise Refusal(Kind.UNAVAILABLE, f"model {name!r} is not ready", 1.0)
            return latest
        known = entry.versions.get(version)
        if known is None:
            raise Refusal(Kind.NOT_FOUND, f"model {name!r} has no version {version!r}")
        if known.served is None:
            raise Refusal(Kind.UNAVAILABLE, f"model {name!r} version {version} is not ready", 1.0)
        return known.served

    async def open(self, config: ServerConfig) -> None:
        """Load everything that the configuration names."""
        models = find_models(config)
        for model in models:  # all of them are waited for from the start
            self._entries.setdefault(model.name, Entry(model))
        self._is_open = True
        for model in models:
            await self.add(model)

    async def load(self, name: str) -> None:
        """Load a model again, or one that was unloaded; raises Refusal when it fails."""
        entry = self._entries.get(name)
        if entry is None:
            raise Refusal(Kind.NOT_FOUND, f"unknown model {name!r}")
        entry = await self.add(entry.config)
        reasons = [version.reason for version in entry.versions.values() if version.reason]
        if reasons:
            raise Refusal(Kind.INVALID, f"model {name!r} did not load: {'; '.join(reasons)}")

    async def unload(self, name: str) -> None:
        """Let a model answer what it has got, and no more."""
        entry = self._entries.get(name)
        if entry is None:
            raise Refusal(Kind.NOT_FOUND, f"unknown model {name!r}")
        entry.is_wanted = False
        self._latest.pop(name, None)
        for version in entry.versions.values():
            if version.served is not None:
                self._retire(version.served)
            version.served, version.state, version.reason = None, State.UNAVAILABLE, "unloaded"

    async def add(self, config: ModelConfig) -> Entry:
        """Load a model, or load it again. A failure is noted in its entry, not raised."""
        entry = self._entries.get(config.name)
        if entry is None:
            entry = self._entries[config.name] = Entry(config)
        entry.config, entry.is_wanted = config, True
        try:
            versions = find_versions(config)
        except (ColonnadeError, OSError) as error:
            reason = error.reason if isinstance(error, ColonnadeError) else "cannot be read"
            entry.versions.setdefault("1", Version(State.UNAVAILABLE)).reason = reason
            return entry
        for number, path in versions:
            await self._load_version(entry, number, path)
        self._drop_versions(entry, {number for number, _ in versions})
        return entry

    def _drop_versions(self, entry: Entry, kept: set[str]) -> None:
        """Retire what is not wanted any more, once something that is wanted answers."""
        if not any(entry.versions[number].served for number in kept):
            return
        for number in entry.versions.keys() - kept:
            gone = entry.versions.pop(number)
            if gone.served is not None:
                self._retire(gone.served)
        self._choose_latest(entry)

    async def _load_version(self, entry: Entry, number: str, path: Path) -> None:
        version = entry.versions.setdefault(number, Version())
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(
                self._loader, self._load, entry.config, path, self.runtime
            )
        except (ColonnadeError, MemoryError, OSError) as error:
            version.reason = error.reason if isinstance(error, ColonnadeError) else str(error)
            if version.served is None:
                version.state = State.UNAVAILABLE
            return
        before, version.served = version.served, ServedModel(number, loaded)
        version.state, version.reason = State.READY, ""
        self._choose_latest(entry)
        if before is not None:
            self._retire(before)

    def _choose_latest(self, entry: Entry) -> None:
        ready = [v.served for v in entry.versions.values() if v.served is not None]
        if ready:
            self._latest[entry.config.name] = max(ready, key=lambda s: int(s.version))
        else:
            self._latest.pop(entry.config.name, None)

    def _retire(self, served: ServedModel) -> None:
        """Let a version answer what it has got; then it goes."""
        task = asyncio.get_running_loop().create_task(served.drain())
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def close(self) -> None:
        """Drop everything. Callers drain before, if they want to."""
        self.is_closing = True
        for entry in self._entries.values():
            for version in entry.versions.values():
                if version.served is not None:
                    version.served.close()
        for task in list(self._draining):
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        self._loader.shutdown(wait=False)
