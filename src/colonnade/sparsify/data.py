"""Where in its data a run is, so that a resumed one sees the batches that it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from colonnade.errors import RunError
from colonnade.sparsify.checkpoint.randomness import capture_randomness, restore_randomness

Batch = TypeVar("Batch")


class DataPosition:
    """Batches taken from the loader in this pass, and the random states at the pass's start.

    A resumed pass starts from the same states, which gives the same order, drops the batches that
    were taken, and goes on with the states of the checkpoint.
    """

    def __init__(self) -> None:
        self._num_taken = 0
        self._start: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None
        self._between: dict[str, Any] | None = None
        self._loader: Any = None

    def passes(
        self, loader: Iterable[Batch], is_over: Callable[[], bool], epoch: int
    ) -> Iterator[Batch]:
        """Batches until `is_over`; passes over the loader as often as that needs."""
        self._loader = loader
        set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        while not is_over():
            num_new = 0
            num_skipped = self._num_taken
            for batch in self._one_pass(loader):
                num_new += 1
                yield batch
                if is_over():
                    break
            if not num_new and not num_skipped:
                raise RunError("the loader has no batches: is the data empty?")
            self._num_taken = 0
        # What the user draws between two epochs, as an evaluation does, shall not matter.
        self._between = capture_randomness(loader)

    def state_dict(self, *, is_epoch_over: bool) -> dict[str, Any]:
        """The position and all random states of now."""
        is_fresh = is_epoch_over or not self._num_taken
        return {
            "taken": 0 if is_fresh else self._num_taken,
            "start": None if is_fresh else self._start,
            "now": capture_randomness(self._loader),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there with the next pass; the random states are those of the checkpoint."""
        self._num_taken, self._start = state["taken"], state["start"]
        self._resumed = state["now"]
        restore_randomness(state["now"])

    def _one_pass(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        iterator = self._start_pass(loader)
        try:
            for batch in iterator:
                self._num_taken += 1
                yield batch
        except GeneratorExit:
            # The user left the epoch early: the next one is a new pass.
            self._num_taken = 0
            raise

    def _start_pass(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        resumed, between = self._resumed, self._between
        self._resumed = self._between = None
        if not self._num_taken or self._start is None:
            known = between if resumed is None else resumed
            if known is not None:
                restore_randomness(known, loader)
            self._start = capture_randomness(loader)
            return iter(loader)
        restore_randomness(self._start, loader)
        iterator = iter(loader)
        for _ in range(self._num_taken):
            next(iterator)
        if resumed is not None:
            restore_randomness(resumed, loader)
        return iterator
