"""Session: calls of an engine whose states go from one call to the next."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from colonnade.engine.inputs import check_array, check_inputs, resolve_shape, shapes_of
from colonnade.engine.program import LoadedProgram, verify_outputs
from colonnade.errors import InputError
from colonnade.ir import DType, Graph, is_static


class Runner(Protocol):
    """What a session needs of an engine."""

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> LoadedProgram:
        """The program for these input shapes."""

    def run_program(
        self,
        program: LoadedProgram,
        arrays: Mapping[str, np.ndarray],
        into: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Run it when its turn comes."""


class Session:
    """Made by `Engine.session`. Calls of one session from several threads go one after the other.

    Each state has two buffers: a call reads one and writes the other, then they change places. No
    state is copied, converted or checked between calls.
    """

    def __init__(
        self,
        engine: Runner,
        graph: Graph,
        states: Mapping[str, str],
        initial: Mapping[str, np.ndarray] | None,
    ) -> None:
        _verify_states(graph, states)
        self._engine = engine
        self._graph = graph
        self._names = dict(states)
        self._given = tuple(name for name in graph.inputs if name not in states)
        self._outputs = tuple(name for name in graph.outputs if name not in states.values())
        self._lock = threading.Lock()
        self._now: dict[str, np.ndarray] = {}
        """By input: what the next call reads."""
        self._next: dict[str, np.ndarray] = {}
        """By output: where the next call writes."""
        self._shapes: tuple[tuple[int, ...], ...] | None = None
        """Of the inputs for which the buffers and the program are right."""
        self._program: LoadedProgram | None = None
        self.reset(initial)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that `run` takes, in order."""
        return self._given

    @property
    def states(self) -> dict[str, np.ndarray]:
        """Copies of what the next call will read, by input; empty before the first call unless
        `reset` gave them."""
        with self._lock:
            return {name: array.copy() for name, array in self._now.items()}

    def reset(self, initial: Mapping[str, np.ndarray] | None = None) -> None:
        """Forget the states: they start at `initial` (copied, by input), or at zeros.

        Raises InputError for names that are no states, and arrays that do not fit them.
        """
        given = dict(initial or {})
        unknown = [name for name in given if name not in self._names]
        if unknown:
            raise InputError(f"unknown states {unknown}; the states are {list(self._names)}")
        symbols: dict[str, tuple[int, str]] = {}
        arrays = {
            name: check_array(self._graph, name, array, symbols).copy()
            for name, array in given.items()
        }
        with self._lock:
            self._now, self._shapes = arrays, None

    def run(
        self,
        inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Engine.run` on the inputs that are no states; returns the outputs that are none.

        When it raises, the states are as before.
        """
        with self._lock:
            given = check_inputs(self._graph, inputs, self._given)
            shapes = tuple(array.shape for array in given.values())
            if shapes != self._shapes:
                self._program = self._prepare(given)
                self._shapes = shapes
            assert self._program is not None
            made = self._engine.run_program(self._program, {**given, **self._now}, self._next)
            self._swap(made)
            return self._pick(made, outputs)

    def _prepare(self, given: Mapping[str, np.ndarray]) -> LoadedProgram:
        """The program for these inputs, and states of the shapes that go with them."""
        arrays = dict(given)
        for name in self._names:
            arrays[name] = self._now[name] if name in self._now else self._zeros(name, given)
        checked = check_inputs(self._graph, arrays)
        program = self._engine.prepare(shapes_of(checked))
        for name, output in self._names.items():
            _verify_shape(program.program.graph, name, arrays[name].shape, output)
        self._now = {name: arrays[name] for name in self._names}
        self._next = {self._names[name]: np.empty_like(array) for name, array in self._now.items()}
        return program

    def _zeros(self, name: str, given: Mapping[str, np.ndarray]) -> np.ndarray:
        shape = resolve_shape(self._graph, name, given)
        if shape is None:
            raise InputError(
                f"state {name!r}: its shape {self._graph.shape(name)} does not follow from the "
                "other inputs; give an array of zeros to reset()"
            )
        return np.zeros(shape, self._graph.dtype(name).numpy)

    def _swap(self, made: Mapping[str, np.ndarray]) -> None:
        """What a part made elsewhere than in our buffer (by fallback) is the state all the same."""
        for name, output in self._names.items():
            before = self._now[name]
            self._now[name] = made[output]
            if made[output] is self._next[output]:
                self._next[output] = before

    def _pick(
        self, made: Mapping[str, np.ndarray], outputs: Sequence[str] | None
    ) -> dict[str, np.ndarray]:
        """A state that was asked for is copied: later calls write over it."""
        if outputs is None:
            return {name: made[name] for name in self._outputs}
        verify_outputs(made, outputs)
        return {
            name: made[name] if name in self._outputs else made[name].copy() for name in outputs
        }


def _verify_states(graph: Graph, states: Mapping[str, str]) -> None:
    if not states:
        raise InputError("a session needs states: {input: the output that it gets next}")
    if len(set(states.values())) < len(states):
        raise InputError(f"states {dict(states)}: an output feeds one input")
    for name, output in states.items():
        for kind, value, known in (
            ("input", name, graph.inputs), ("output", output, graph.outputs),
        ):  # fmt: skip
            if value not in known:
                raise InputError(f"states: no {kind} named {value!r}; there are {list(known)}")
        ours, theirs = graph.dtype(name), graph.dtype(output)
        if ours is not theirs or ours in (DType.OTHER, DType.STRING):
            raise InputError(
                f"state {name!r}: element type {ours.value}, but {theirs.value} comes back from "
                f"{output!r}; numbers of one type go from call to call"
            )
        shapes = graph.shape(name), graph.shape(output)
        if is_static(shapes[0]) and is_static(shapes[1]):
            _verify_shape(graph, name, shapes[0], output)


def _verify_shape(graph: Graph, name: str, shape: tuple[int, ...], output: str) -> None:
    found = graph.shape(output)
    if found != shape:
        raise InputError(
            f"state {name!r}: shape {list(shape)}, but {found if found is None else list(found)} "
            f"comes back from {output!r}; a state keeps its shape from call to call"
        )
