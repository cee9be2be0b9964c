"""The sender against a server whose queue theory knows, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from colonnade.bench.load.arrivals import poisson_times
from colonnade.bench.load.outcome import Step
from colonnade.bench.load.pool import Connect, Pool, PoolOptions
from colonnade.bench.load.sender import Traffic, send_closed_loop, send_open_loop
from stub_server import StubServer, listening
from virtual_time import advance, run_virtual

REQUEST = b"POST /infer HTTP/1.1\r\nHost: stub\r\nContent-Length: 2\r\n\r\n{}"
SERVICE_S = 0.01
SEED = 3


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "stub"


def with_server(
    stub: StubServer, address: Path, work: Callable[[Connect], Awaitable[Step]]
) -> Step:
    async def run() -> Step:
        async with listening(stub, address) as connect:
            return await work(connect)

    return run_virtual(run())


def traffic(connect: Connect, **options: float) -> Traffic:
    pool = PoolOptions(int(options.pop("connections_max", 512)), options.pop("timeout_s", 30.0))
    return Traffic(connect, (REQUEST,), pool, warm_up_s=0.0, seed=SEED, **options)


def waits_of_one_worker(arrivals: np.ndarray) -> np.ndarray:
    """Lindley's recursion: each waits for what the one before still needs when it comes."""
    waits = [0.0]
    for gap in np.diff(arrivals):
        waits.append(max(0.0, waits[-1] + SERVICE_S - gap))
    return np.array(waits)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_latency_is_the_wait_of_a_queue_with_poisson_arrivals(address: Path, load: float) -> None:
    rate, seconds = load / SERVICE_S, 3000 * SERVICE_S / load
    step = with_server(
        StubServer(SERVICE_S),
        address,
        lambda connect: send_open_loop(traffic(connect), rate, seconds),
    )
    waits = waits_of_one_worker(poisson_times(rate, seconds, SEED))
    assert step.outcomes == {"200": len(waits)}
    assert step.mean_ms == pytest.approx(1e3 * (waits.mean() + SERVICE_S), rel=1e-6)
    assert step.p99_ms == pytest.approx(1e3 * (np.quantile(waits, 0.99) + SERVICE_S), rel=1e-6)
    # The mean wait of M/D/1; its error from means of batches that hardly know of each other.
    expected_s = load * SERVICE_S / (2.0 * (1.0 - load))
    batches = [batch.mean() for batch in np.array_split(waits, 15)]
    error_s = np.std(batches, ddof=1) / np.sqrt(len(batches))
    assert abs(step.mean_ms / 1e3 - SERVICE_S - expected_s) < 4.0 * error_s


def test_an_overloaded_server_does_not_slow_the_arrivals_down(address: Path) -> None:
    stub = StubServer(SERVICE_S, queue_max=4)
    step = with_server(
        stub, address, lambda connect: send_open_loop(traffic(connect), 2.0 / SERVICE_S, 10.0)
    )
    assert step.sent == len(poisson_times(2.0 / SERVICE_S, 10.0, SEED))
    assert step.goodput_per_s == pytest.approx(1.0 / SERVICE_S, rel=0.02)
    assert step.outcomes["429"] == step.sent - step.outcomes["200"]
    assert step.p99_ms is not None
    assert step.p99_ms <= 1e3 * SERVICE_S * (stub.queue_max + 1) + 1e-3


def test_waiting_for_a_connection_counts_as_latency(address: Path) -> None:
    step = with_server(
        StubServer(SERVICE_S),
        address,
        lambda connect: send_open_loop(
            traffic(connect, connections_max=1), 2.0 / SERVICE_S, 200 * SERVICE_S
        ),
    )
    times = poisson_times(2.0 / SERVICE_S, 200 * SERVICE_S, SEED)
    assert step.mean_ms == pytest.approx(1e3 * (waits_of_one_worker(times).mean() + SERVICE_S))
    assert step.lateness_p99_ms is not None
    assert step.lateness_p99_ms > 1e3 * SERVICE_S


def test_a_sender_that_stalls_counts_from_the_intended_time(address: Path) -> None:
    async def send(connect: Connect) -> Step:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, advance, loop, 5.0)
        return await send_open_loop(traffic(connect), 100.0, 2.0)

    step = with_server(StubServer(), address, send)
    assert step.p99_ms is not None
    assert step.p99_ms > 4e3
    assert step.lateness_p99_ms == step.p99_ms


def test_clients_that_wait_keep_the_worker_busy(address: Path) -> None:
    step = with_server(
        StubServer(SERVICE_S), address, lambda connect: send_closed_loop(traffic(connect), 4, 5.0)
    )
    assert step.goodput_per_s == pytest.approx(1.0 / SERVICE_S, rel=0.01)
    assert step.p50_ms == pytest.approx(4e3 * SERVICE_S, rel=1e-6)
    assert step.clients == 4


def test_a_silent_server_is_given_up_on(address: Path) -> None:
    step = with_server(
        StubServer(is_silent=True),
        address,
        lambda connect: send_open_loop(traffic(connect, timeout_s=1.0), 20.0, 2.0),
    )
    assert step.outcomes == {"timed_out": step.sent}
    assert step.goodput_per_s == 0.0


def test_a_server_that_is_not_there_is_lost(address: Path) -> None:
    async def connect(protocol: Callable[[], asyncio.Protocol]) -> object:
        return await asyncio.get_running_loop().create_unix_connection(protocol, str(address))

    step = run_virtual(send_open_loop(traffic(connect), 20.0, 2.0))
    assert step.outcomes == {"lost": step.sent}


def test_connections_that_the_server_closes_are_replaced(address: Path) -> None:
    stub = StubServer(SERVICE_S, keeps_alive=False)
    step = with_server(stub, address, lambda connect: send_open_loop(traffic(connect), 20.0, 2.0))
    assert step.outcomes == {"200": step.sent}


def test_clients_that_hang_up_are_counted_apart(address: Path) -> None:
    step = with_server(
        StubServer(SERVICE_S),
        address,
        lambda connect: send_open_loop(traffic(connect, abandoned_share=0.3), 20.0, 20.0),
    )
    assert 0.15 < step.outcomes["abandoned"] / step.sent < 0.45
    assert step.outcomes["200"] == step.sent - step.outcomes["abandoned"]


def test_wrong_answers_are_not_goodput(address: Path) -> None:
    stub = StubServer(answer=lambda number: json.dumps({"even": number % 2 == 0}).encode())

    async def send(connect: Connect) -> Step:
        pool = PoolOptions(connections_max=1, check=lambda body: json.loads(body)["even"])
        options = Traffic(connect, (REQUEST,), pool, warm_up_s=0.0, seed=SEED)
        return await send_open_loop(options, 10.0, 10.0)

    step = with_server(stub, address, send)
    assert step.outcomes["wrong"] == (step.sent + 1) // 2
    assert step.goodput_per_s == pytest.approx(step.outcomes["200"] / 10.0)


def test_requests_are_sent_in_turns(address: Path) -> None:
    stub = StubServer()
    bodies = tuple(REQUEST.replace(b"infer", path) for path in (b"one", b"two"))

    async def send(connect: Connect) -> Step:
        outcomes: list[object] = []
        pool = Pool(connect, bodies, PoolOptions(connections_max=1), outcomes.append)
        for _ in range(4):
            pool.send(pool.now())
        await pool.drain()
        pool.close()
        return None  # type: ignore[return-value]

    with_server(stub, address, send)
    assert [seen.split()[1] for seen in stub.seen] == [b"/one", b"/two"] * 2
