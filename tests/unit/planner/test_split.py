"""How work is cut: in whole tiles, enough pieces for every thread, none where one thread runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colonnade.planner.split import (
    TILES_PER_BLOCK_MIN,
    UNITS_PER_THREAD,
    choose_blocks,
    choose_recurrent_items,
)

SIZES = st.integers(1, 5000)
THREADS = st.integers(1, 64)


@given(SIZES, SIZES, THREADS)
def test_blocks_hold_enough_tiles(panels: int, tiles: int, threads: int) -> None:
    blocks = choose_blocks(panels, tiles, threads)
    assert 1 <= blocks <= max(1, tiles // TILES_PER_BLOCK_MIN)


@given(SIZES, SIZES)
def test_one_thread_keeps_its_columns(panels: int, tiles: int) -> None:
    assert choose_blocks(panels, tiles, 1) == 1


@given(SIZES, THREADS)
def test_many_panels_are_not_cut(tiles: int, threads: int) -> None:
    assert choose_blocks(UNITS_PER_THREAD * threads, tiles, threads) == 1


@given(st.integers(1, 7), st.integers(2, 64))
def test_few_panels_feed_every_thread(panels: int, threads: int) -> None:
    many_tiles = UNITS_PER_THREAD * threads * TILES_PER_BLOCK_MIN
    assert choose_blocks(panels, many_tiles, threads) * panels >= UNITS_PER_THREAD * threads


def test_a_balanced_cut_is_preferred() -> None:
    assert choose_blocks(3, 1000, 2) == 6  # 18 units for 2 threads
    assert choose_blocks(1, 1000, 6) == 48


def test_large_recurrent_weights_are_read_once() -> None:
    assert choose_recurrent_items(1, 1, 512 * 2048, 2) == 0
    assert choose_recurrent_items(2, 32, 512 * 2048, 2) == 0
    assert choose_recurrent_items(1, 32, 512 * 2048, 1) == 0


def test_small_recurrent_weights_are_read_by_each_thread() -> None:
    assert choose_recurrent_items(1, 32, 64 * 256, 2) == 16
    assert choose_recurrent_items(2, 32, 64 * 256, 2) == 32
    assert choose_recurrent_items(2, 32, 64 * 256, 8) == 8


def test_little_recurrent_work_stays_on_one_thread() -> None:
    assert choose_recurrent_items(1, 1, 32 * 128, 8) == 1
    assert choose_recurrent_items(1, 2, 32 * 128, 1) == 2
