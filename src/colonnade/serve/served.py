"""ServedModel: one version of a model, its queue and the threads that run its batches.

All state belongs to the event loop; only `_run` is in other threads, on a batch that is its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from colonnade.engine.program import LoadedProgram
from colonnade.serve.assembly import Prepared, join, prepare, split
from colonnade.serve.batcher import NEVER, Batch, BatchQueue, Waiting, efficient_rows
from colonnade.serve.cache import ResponseCache, cache_key
from colonnade.serve.loading import LoadedModel
from colonnade.serve.protocol import InferRequest, InferResponse, Timing
from colonnade.serve.refusal import Kind, Refusal, refusal_of
from colonnade.serve.sequences import Sequences
from colonnade.serve.statistics import ModelStatistics

SMOOTHING = 0.1
"""Weight of the newest run in the time that a batch size takes."""

HERE_MAX_S = 200e-6
"""A request that takes less runs in the event loop: a thread would cost more than it brings."""
PROGRAMS_MAX = 64
"""Shapes and batch sizes whose programs are at hand for that."""
SLOWER = 1.02
"""How fast a model may seem to get slower: one run in a loaded process says little."""

Answer = dict[str, np.ndarray]


@dataclass(slots=True)
class _Work:
    """What a request that waits holds."""

    prepared: Prepared
    future: asyncio.Future[Answer]
    started_s: float = 0.0
    timing: Timing | None = None


@dataclass(slots=True)
class _Ran:
    """What came of a batch, and how long its parts took."""

    answers: list[Answer] | None
    failure: BaseException | None
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0


class ServedModel:
    """Answers requests with a loaded model. Used by one event loop."""

    def __init__(self, version: str, loaded: LoadedModel) -> None:
        self.name = loaded.config.name
        self.version = version
        self.loaded = loaded
        self.statistics = ModelStatistics()
        self.queue = BatchQueue(loaded.policy, efficient_rows(loaded.policy, loaded.run_s))
        self.run_s = dict(loaded.run_s)
        config = loaded.config
        self._cache = ResponseCache(config.cache_bytes) if config.cache_bytes else None
        self._sequences = Sequences(loaded.engine, config) if config.states else None
        self._free = loaded.config.instances
        self._ends: list[float] = []
        """When batches that run should be done, on the loop's clock."""
        self._threads = ThreadPoolExecutor(self._free, f"serve-{self.name}")
        self._builder = ThreadPoolExecutor(1, f"plan-{self.name}")
        self._planned: set[Hashable] = set(loaded.planned)
        self._fastest_s: dict[Hashable, float] = {
            (key, size): loaded.run_s[size] for key, size in loaded.planned
        }
        """Of the last runs, by shapes and batch size; those of the warm-up at first, so that a fast
        model is fast from its first request on, also behind a reload."""
        self._programs: dict[Hashable, LoadedProgram] = {}
        """Those that ran in the event loop, by shapes and batch size."""
        self._is_fast = self._has_fast()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()

    async def infer(self, request: InferRequest) -> InferResponse:
        """The answer; raises Refusal. Cancelling the awaiting task drops the request."""
        start = time.perf_counter()
        statistics = self.statistics
        try:
            prepared = prepare(self.loaded.signature, request.inputs, self.queue.policy.rows_max)
            outputs = self._wanted(request)
            timing = None
            if self._sequences is not None:
                answer = await self._step(request, self._sequences)
            elif self._cache is not None:
                answer, timing = await self._answer_once(request, prepared, self._cache)
            else:
                found = self._try_here(prepared, request) if self._is_fast else None
                answer, timing = found or await self._answer(request, prepared)
        except asyncio.CancelledError:
            statistics.add_failure(Kind.CANCELLED.value, time.perf_counter() - start)
            raise
        except Exception as error:
            refusal = refusal_of(error)
            statistics.add_failure(refusal.kind.value, time.perf_counter() - start)
            raise
        statistics.add_success(time.perf_counter() - start, prepared.rows)
        return InferResponse(
            self.name,
            self.version,
            request.id,
            {name: answer[name] for name in outputs},
            timing=timing,
        )

    @property
    def is_fast(self) -> bool:
        """Whether `try_infer` is worth asking now: before a request is read."""
        return self._free > 0 and self._is_fast and not len(self.queue)

    def try_infer(self, request: InferRequest) -> InferResponse | None:
        """The answer at once, of a model that takes hardly any time; None where `infer` has to say
        what comes of it."""
        if not self._is_fast:
            return None
        start = time.perf_counter()
        prepared = prepare(self.loaded.signature, request.inputs, self.queue.policy.rows_max)
        outputs = self._wanted(request)
        found = self._try_here(prepared, request)
        if found is None:
            return None
        answer, timing = found
        self.statistics.add_success(time.perf_counter() - start, prepared.rows)
        wanted = {name: answer[name] for name in outputs}
        return InferResponse(self.name, self.version, request.id, wanted, timing=timing)

    def try_prepared(self, prepared: Prepared) -> Answer | None:
        """As `try_infer`, of a request that went through `prepare` and asks for nothing special."""
        start = time.perf_counter()
        found = self._try_alone(prepared)
        if found is None:
            return None
        self.statistics.add_success(time.perf_counter() - start, prepared.rows)
        return found[0]

    async def drain(self) -> None:
        """Wait until nothing waits or runs, then give the threads back. Nothing new may come."""
        await self._idle.wait()
        self.close()

    def close(self) -> None:
        """Refuse what waits; what runs ends as usual."""
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        for item in self.queue.take_all():
            _refuse(item, Refusal(Kind.UNAVAILABLE, "the model is being unloaded", 1.0))
        self._threads.shutdown(wait=False)
        self._builder.shutdown(wait=False)
        self.loaded.engine.close()

    async def _step(self, request: InferRequest, sequences: Sequences) -> Answer:
        """Of a sequence: its states are in the engine."""
        if self._is_closing:
            raise Refusal(Kind.UNAVAILABLE, "the model is being unloaded", retry_after_s=1.0)
        if self.statistics.pending >= self.queue.policy.queue_depth_max:
            raise Refusal(Kind.OVERLOADED, f"too many requests wait for {self.name!r}", 1.0)
        self._enter()
        start = time.perf_counter()
        try:
            return await sequences.run(request.sequence, request.inputs, self._threads)
        finally:
            self.statistics.add_execution(1, 1, 0.0, time.perf_counter() - start, 0.0)
            self._leave()

    async def _answer_once(
        self, request: InferRequest, prepared: Prepared, cache: ResponseCache
    ) -> tuple[Answer, Timing | None]:
        start = time.perf_counter()
        key = cache_key(request.inputs)
        found = cache.get(key)
        if found is not None:
            self.statistics.cache_hit.add(time.perf_counter() - start)
            return found, None
        answer, timing = await self._answer(request, prepared)
        cache.put(key, answer)
        self.statistics.cache_miss.add(time.perf_counter() - start)
        return answer, timing

    def _wanted(self, request: InferRequest) -> tuple[str, ...]:
        known = tuple(info.name for info in self.loaded.signature.outputs)
        for name in request.outputs:
            if name not in known:
                raise Refusal(
                    Kind.INVALID, f"unknown output {name!r}; the model's outputs are {list(known)}"
                )
        return request.outputs or known

    async def _answer(
        self, request: InferRequest, prepared: Prepared
    ) -> tuple[Answer, Timing | None]:
        if self._is_closing:
            raise Refusal(Kind.UNAVAILABLE, "the model is being unloaded", retry_after_s=1.0)
        now = self._loop.time()
        priority, deadline = self._priority(request), self._deadline(request, now)
        wait_s = self._wait_s(now, priority)
        if self.queue.is_full or not request.is_admitted:
            self._verify_room(wait_s)
        if wait_s and now + wait_s + self.run_s.get(prepared.rows, 0.0) > deadline:
            raise Refusal(Kind.DEADLINE, f"about {wait_s:.3g} s to wait: longer than the deadline")
        future: asyncio.Future[Answer] = self._loop.create_future()
        work = _Work(prepared, future)
        item = Waiting(
            prepared.key, prepared.rows, now, priority, deadline, work,
        )  # fmt: skip
        self.queue.add(item)
        self._enter()
        self._pump()
        try:
            return await future, work.timing
        finally:
            if not future.done() or future.cancelled():
                self.queue.remove(item)
            self._leave()

    def _try_here(
        self, prepared: Prepared, request: InferRequest
    ) -> tuple[Answer, Timing | None] | None:
        """The answer without a queue or thread; None where it has to wait for others, or would let
        them wait."""
        now = self._loop.time()
        self._priority(request)
        if self._deadline(request, now) <= now:
            return None
        found = self._try_alone(prepared)
        if found is None:
            return None
        answer, infer_s = found
        return answer, Timing(now, now, 0.0, infer_s, 0.0, prepared.rows)

    def _try_alone(self, prepared: Prepared) -> tuple[Answer, float] | None:
        """The answer of a request that needs hardly any time, and the time that it took."""
        rows, policy = prepared.rows, self.queue.policy
        key = (prepared.key, rows)
        if self._fastest_s.get(key, NEVER) > HERE_MAX_S or not self._free or len(self.queue):
            return None
        if self._is_closing or (policy.delay_s and rows != policy.rows_max):
            return None
        signature = self.loaded.signature
        start = time.perf_counter()
        made = self._try_run(key, join(signature, (prepared,), rows, rows))
        if made is None:
            return None
        infer_s = time.perf_counter() - start
        self.statistics.queue.add(0.0)
        self._note(key, rows, 1, _Ran(None, None, infer_s=infer_s))
        return split(signature, (prepared,), made)[0], infer_s

    def _priority(self, request: InferRequest) -> int:
        config = self.loaded.config
        if request.priority == 0:
            return config.default_priority
        if not 1 <= request.priority <= config.priority_levels:
            raise Refusal(
                Kind.INVALID,
                f"priority {request.priority}; it is 1 (most urgent) to {config.priority_levels}",
            )
        return request.priority

    def _deadline(self, request: InferRequest, now: float) -> float:
        timeout_ms = self.loaded.config.timeout_ms
        own = NEVER if timeout_ms is None else now + timeout_ms / 1e3
        return own if request.deadline is None else min(own, request.deadline)

    def try_refuse(self) -> Refusal | None:
        """What a request of the default priority hears that came now and would wait too long;
        before it is read. None: it has to be looked at."""
        if not len(self.queue) or self._cache is not None or self._sequences is not None:
            return None
        refusal = self._overloaded(self._default_wait_s())
        if refusal is not None:
            self.statistics.add_failure(refusal.kind.value, 0.0)
        return refusal

    def verify_room(self) -> None:
        """Refuse a request of the default priority that would wait too long."""
        self._verify_room(self._default_wait_s())

    def _default_wait_s(self) -> float:
        return self._wait_s(self._loop.time(), self.loaded.config.default_priority)

    def _verify_room(self, wait_s: float) -> None:
        refusal = self._overloaded(wait_s)
        if refusal is not None:
            raise refusal

    def _overloaded(self, wait_s: float) -> Refusal | None:
        if self.queue.is_full:
            waiting = len(self.queue)
            reason = f"{waiting} requests wait for model {self.name!r} already"
        elif wait_s > self.queue.wait_max_s(self.run_s):
            reason = f"about {wait_s:.3g} s to wait for model {self.name!r}"
        else:
            return None
        return Refusal(Kind.OVERLOADED, reason, retry_after_s=wait_s)

    def _wait_s(self, now: float, priority: int) -> float:
        """How long a request would wait that came now; 0 where a thread is free."""
        if self._free > 0:
            return 0.0
        busy_s = max(0.0, min(self._ends, default=now) - now)
        return self.queue.wait_s(priority, busy_s, self.run_s, self.loaded.config.instances)

    def _enter(self) -> None:
        self.statistics.pending += 1
        self._idle.clear()

    def _leave(self) -> None:
        self.statistics.pending -= 1
        if self.statistics.pending == 0:
            self._idle.set()

    def _pump(self) -> None:
        """Start what is due as long as there are threads for it; come back when more is due."""
        now = self._loop.time()
        for item in self.queue.take_expired(now):
            _refuse(item, Refusal(Kind.DEADLINE, "the deadline passed before the request ran"))
        while self._free:
            batch = self.queue.take_batch(now, self.run_s)
            if batch is None:
                break
            self._start(batch, now)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not len(self.queue):
            return
        queue = self.queue
        wake_at = queue.wake_at(self.run_s) if self._free else queue.next_deadline()
        if wake_at != NEVER and not self._is_closing:
            self._timer = self._loop.call_at(wake_at, self._pump)

    def _start(self, batch: Batch, now: float) -> None:
        for item in batch.items:
            self.statistics.queue.add(now - item.arrived)
            item.work.started_s = now
        key = (batch.items[0].key, batch.size)
        if key not in self._planned:
            self._builder.submit(self._plan, batch, key)
        elif self._fastest_s.get(key, NEVER) > HERE_MAX_S or not self._run_here(key, batch):
            self._submit(batch)

    def _run_here(self, key: Hashable, batch: Batch) -> bool:
        """Run a batch that takes hardly any time in the event loop; False where the engine is busy.
        Otherwise what came in a burst would wait for threads, and all that follows for it."""
        prepared = [item.work.prepared for item in batch.items]
        signature = self.loaded.signature
        start = time.perf_counter()
        try:
            made = self._try_run(key, join(signature, prepared, batch.rows, batch.size))
            if made is None:
                return False
            infer_s = time.perf_counter() - start
            ran = _Ran(split(signature, prepared, made), None, infer_s=infer_s)
        except Exception as error:  # noqa: BLE001  # it is the requests'
            ran = _Ran(None, error)
        self._settle(batch, ran)
        return True

    def _try_run(self, key: Hashable, joined: Mapping[str, np.ndarray]) -> Answer | None:
        """What the engine makes of a batch, unless it is busy or has no plan for it."""
        engine = self.loaded.engine
        arrays = {name: np.asarray(array, order="C") for name, array in joined.items()}
        program = self._programs.get(key)
        if program is None:
            program = engine.find({name: array.shape for name, array in arrays.items()})
            if program is None:
                return None
            if len(self._programs) >= PROGRAMS_MAX:
                self._programs.clear()
            self._programs[key] = program
        return engine.try_run(program, arrays)

    def _shapes(self, batch: Batch) -> Mapping[str, tuple[int, ...]]:
        signature = self.loaded.signature
        prefix = (batch.size,) if signature.is_batched else ()
        prepared: Prepared = batch.items[0].work.prepared
        return {
            info.name: prefix + shape
            for info, shape in zip(signature.inputs, prepared.key, strict=True)
        }

    def _plan(self, batch: Batch, key: Hashable) -> None:
        """Beside the threads that run batches, since it may take seconds."""
        try:
            self.loaded.engine.prepare(self._shapes(batch))
        except BaseException as error:  # noqa: BLE001  # it is the requests'
            self._report(batch, _Ran(None, error), None)
            return
        self._loop.call_soon_threadsafe(self._run_planned, batch, key)

    def _run_planned(self, batch: Batch, key: Hashable) -> None:
        self._planned.add(key)
        self._submit(batch)

    def _submit(self, batch: Batch) -> None:
        self._free -= 1
        end = self._loop.time() + self.run_s.get(batch.size, 0.0)
        self._ends.append(end)
        self._threads.submit(self._run, batch, end)

    def _run(self, batch: Batch, end_s: float) -> None:
        prepared = [item.work.prepared for item in batch.items]
        signature = self.loaded.signature
        start = time.perf_counter()
        try:
            arrays = join(signature, prepared, batch.rows, batch.size)
            joined = time.perf_counter()
            made = self.loaded.engine.run(arrays)
            ran = time.perf_counter()
            answers = split(signature, prepared, made)
            end = time.perf_counter()
            result = _Ran(answers, None, joined - start, ran - joined, end - ran)
        except BaseException as error:  # noqa: BLE001  # it is the requests'
            result = _Ran(None, error)
        self._report(batch, result, end_s)

    def _report(self, batch: Batch, ran: _Ran, end_s: float | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish, batch, ran, end_s)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _finish(self, batch: Batch, ran: _Ran, end_s: float | None) -> None:
        if end_s is not None:
            self._free += 1
            self._ends.remove(end_s)
        self._settle(batch, ran)
        if not self._is_closing:
            self._pump()

    def _settle(self, batch: Batch, ran: _Ran) -> None:
        """Tell those who wait for a batch what came of it."""
        if ran.answers is None:
            assert ran.failure is not None
            for item in batch.items:
                _refuse(item, ran.failure)
        else:
            key = (batch.items[0].key, batch.size)
            self._note(key, batch.rows, len(batch.items), ran)
            for item, answer in zip(batch.items, ran.answers, strict=True):
                if not item.work.future.done():
                    item.work.timing = Timing(
                        item.arrived, item.work.started_s, ran.input_s, ran.infer_s, ran.output_s,
                        batch.rows,
                    )  # fmt: skip
                    item.work.future.set_result(answer)

    def _has_fast(self) -> bool:
        is_plain = self._cache is None and self._sequences is None
        return is_plain and any(took <= HERE_MAX_S for took in self._fastest_s.values())

    def _note(self, key: tuple[Hashable, int], rows: int, requests: int, ran: _Ran) -> None:
        before_s = self._fastest_s.get(key, NEVER)
        fastest_s = self._fastest_s[key] = min(ran.infer_s, SLOWER * before_s)
        if (before_s <= HERE_MAX_S) != (fastest_s <= HERE_MAX_S):
            self._is_fast = self._has_fast()
        size = key[1]
        before = self.run_s.get(size, ran.infer_s)
        self.run_s[size] = before + SMOOTHING * (ran.infer_s - before)
        self.statistics.add_execution(rows, requests, ran.input_s, ran.infer_s, ran.output_s)


def _refuse(item: Waiting, error: BaseException) -> None:
    future: asyncio.Future[Answer] = item.work.future
    if not future.done():
        future.set_exception(error)
