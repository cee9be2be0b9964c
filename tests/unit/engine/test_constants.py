"""Packed constants: one array per key in an engine, one per content in the process."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from colonnade.engine.constants import SHARED_BYTES_MIN, ConstantStore, SharedArrays
from colonnade.planner.choice import Const

LARGE = SHARED_BYTES_MIN // 4


def _constant(key: str, fill: float) -> Const:
    return Const((key,), lambda: np.full(LARGE, fill, np.float32))


def test_a_key_is_packed_once() -> None:
    store = ConstantStore(SharedArrays())
    assert store.pack(_constant("w", 1.0)) is store.pack(_constant("w", 2.0))


def test_equal_arrays_of_two_engines_are_one() -> None:
    shared = SharedArrays()
    one, two = ConstantStore(shared), ConstantStore(shared)
    assert one.pack(_constant("w", 1.0)) is two.pack(_constant("v", 1.0))
    assert one.pack(_constant("u", 2.0)) is not two.pack(_constant("t", 3.0))


def test_arrays_that_differ_between_the_samples_are_not_shared() -> None:
    shared = SharedArrays()
    first = shared.share(np.zeros(1 << 20, np.uint8))
    second = np.zeros(1 << 20, np.uint8)
    second[1] = 1
    assert shared.share(second) is second is not first


def test_not_a_number_is_shared_and_signed_zeros_are_told_apart() -> None:
    shared = SharedArrays()
    nan = shared.share(np.full(LARGE, np.nan, np.float32))
    assert shared.share(np.full(LARGE, np.nan, np.float32)) is nan
    zero = shared.share(np.zeros(LARGE, np.float32))
    assert shared.share(np.full(LARGE, -0.0, np.float32)) is not zero


def test_an_array_goes_with_its_last_engine() -> None:
    shared = SharedArrays()
    store = ConstantStore(shared)
    held = weakref.ref(store.pack(_constant("w", 1.0)))
    del store
    gc.collect()
    assert held() is None


def test_peek_does_not_keep() -> None:
    store = ConstantStore(SharedArrays())
    store.peek(_constant("w", 1.0))
    assert store.nbytes == 0
    store.pack(_constant("w", 1.0))
    assert store.peek(_constant("w", 1.0)) is store.pack(_constant("w", 1.0))
