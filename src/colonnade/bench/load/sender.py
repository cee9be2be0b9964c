"""Two ways to load a server: at given times whatever it does, or by clients that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from colonnade.bench.load.arrivals import poisson_times
from colonnade.bench.load.outcome import Outcome, Step, summarise
from colonnade.bench.load.pool import Connect, Pool, PoolOptions


@dataclass(frozen=True)
class Traffic:
    """What is sent, and how it gets there. The first `warm_up_s` of a step are not counted."""

    connect: Connect
    requests: Sequence[bytes]
    pool: PoolOptions = field(default_factory=PoolOptions)
    warm_up_s: float = 0.5
    seed: int = 0
    abandoned_share: float = 0.0


async def send_open_loop(traffic: Traffic, rate_per_s: float, seconds: float) -> Step:
    """Poisson arrivals: a late answer delays no later request."""
    outcomes: list[Outcome] = []
    pool = Pool(traffic.connect, traffic.requests, traffic.pool, outcomes.append)
    times = poisson_times(rate_per_s, traffic.warm_up_s + seconds, traffic.seed)
    leaves = np.random.default_rng(traffic.seed + 1).random(len(times)) < traffic.abandoned_share
    start_s = pool.now()
    for time_s, is_abandoned in zip(times.tolist(), leaves.tolist(), strict=True):
        intended_s = start_s + time_s
        await asyncio.sleep(max(0.0, intended_s - pool.now()))
        pool.send(intended_s, is_abandoned=is_abandoned)
    await pool.drain()
    pool.close()
    counted_s = start_s + traffic.warm_up_s
    return summarise(outcomes, counted_s, counted_s + seconds)


async def send_closed_loop(traffic: Traffic, clients: int, seconds: float) -> Step:
    """`clients` that send the next request as soon as they have their answer."""
    outcomes: list[Outcome] = []
    loop = asyncio.get_running_loop()
    end_s = loop.time() + traffic.warm_up_s + seconds

    def on_done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.done_s < end_s:
            # Not before the connection is free again, nor deeper in the stack with every answer.
            loop.call_soon(lambda: pool.send(pool.now()))

    pool = Pool(traffic.connect, traffic.requests, traffic.pool, on_done)
    for _ in range(clients):
        pool.send(pool.now())
    await asyncio.sleep(end_s - loop.time())
    await pool.drain()
    pool.close()
    return summarise(outcomes, end_s - seconds, end_s, clients)
