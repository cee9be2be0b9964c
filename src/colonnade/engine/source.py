"""Where a graph comes from, so that its weights need not stay in memory once they are packed."""

from __future__ import annotations

import os
from collections.abc import Callable

from colonnade.errors import ModelError
from colonnade.ir import Graph, verify_graph

_Stamp = tuple[int, int, int]
"""Inode, size and modification time of a file."""


class GraphSource:
    """A graph that can be read again from its file.

    Models given as bytes or as a ModelProto cannot be read again: their weights stay.
    """

    def __init__(self, read: Callable[[], Graph], model: object, *, keep_weights: bool) -> None:
        self._read = read
        self._path = os.fspath(model) if isinstance(model, str | os.PathLike) else None
        self._keeps = keep_weights or self._path is None
        self._stamp = self._file_stamp()
        self._graph: Graph | None = read()
        verify_graph(self._graph)
        self.signature = self._graph.with_changes(nodes=(), constants={})
        """Inputs, outputs and types only."""

    def graph(self) -> Graph:
        """The whole graph; read again when it was released."""
        if self._graph is None:
            if self._file_stamp() != self._stamp:
                raise ModelError(
                    f"{self._path} changed since it was compiled, and a new set of input shapes "
                    "needs it; compile it again"
                )
            self._graph = self._read()
        return self._graph

    def release(self) -> None:
        """Forget what can be read again."""
        if not self._keeps:
            self._graph = None

    def _file_stamp(self) -> _Stamp | None:
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)
