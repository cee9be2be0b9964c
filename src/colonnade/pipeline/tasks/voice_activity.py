"""Voice activity: a recording to the stretches with speech, as silero-vad hears them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.engine.session import Session
from colonnade.errors import InputError
from colonnade.pipeline.results import Speech
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row, Work
from colonnade.pipeline.task import Prepared

FRAME, CONTEXT = 512, 64
"""Samples that a frame brings, and those of the frame before that go with it."""
RATE_HZ = 16_000
STATES = {"h": "hn", "c": "cn"}
SAMPLES_MAX = RATE_HZ * 3600
LENGTH_STEP = 128
"""Recordings are padded to a multiple of so many frames: few lengths mean few plans."""


@dataclass(frozen=True)
class Options:
    """When speech begins and ends."""

    threshold: float = 0.5
    """Probability at which speech begins; it ends below 0.15 less."""
    min_speech_s: float = 0.25
    """Shorter stretches are left out."""
    min_silence_s: float = 0.1
    """Shorter pauses are bridged."""
    pad_s: float = 0.03
    """Added at both ends."""


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """Samples from -1 to 1 at 16 kHz: a float array."""
    del sizes  # The first axis is time: recordings do not share a batch.
    _verify(model)

    def prepare(item: object) -> Work[list[Speech]]:
        samples = check_samples(item)
        frames = cut_frames(samples, np.zeros(CONTEXT, np.float32))
        state = {name: np.zeros((1, 1, 128), np.float32) for name in STATES}

        def finish(rows: Sequence[Row]) -> list[Speech]:
            shares = rows[0]["speech_probs"].reshape(-1)[: len(frames)]
            return find_speech(shares, samples.size / RATE_HZ, options)

        padded = np.pad(frames, ((0, -len(frames) % LENGTH_STEP), (0, 0)))
        return Work([{"input": padded, **state}], finish)

    return Prepared(prepare, Batching(is_batched=False), lambda: Listener(model))


class Listener:
    """Voice activity of a recording that is still going on; one for each recording.

    The network's memory stays in the engine between calls.
    """

    def __init__(self, model: Model) -> None:
        _verify(model)
        self._session: Session = model.engine.session(STATES)
        self._waiting = np.zeros(0, np.float32)
        self._context = np.zeros(CONTEXT, np.float32)

    def hear(self, samples: np.ndarray) -> np.ndarray:
        """Probabilities of speech for the frames of 32 ms that are full now; may be none."""
        waiting = np.concatenate([self._waiting, check_samples(samples, least=0)])
        count = waiting.size // FRAME
        full, self._waiting = waiting[: count * FRAME], waiting[count * FRAME :]
        if not count:
            return np.zeros(0, np.float32)
        frames = cut_frames(full, self._context)
        self._context = full[-CONTEXT:]
        # One frame at a time: one plan, whatever the size of the pieces.
        made = [self._session.run({"input": frame[None]})["speech_probs"] for frame in frames]
        return np.concatenate([probability.reshape(-1) for probability in made])


def cut_frames(samples: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Frames [count, CONTEXT + FRAME] that overlap by the context; the last one is filled up."""
    filled = np.concatenate([context, samples, np.zeros(-samples.size % FRAME, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(filled, CONTEXT + FRAME)
    return np.ascontiguousarray(windows[::FRAME])


def find_speech(shares: np.ndarray, seconds: float, options: Options) -> list[Speech]:
    """Stretches from the probability of each frame."""
    frame_s = FRAME / RATE_HZ
    found: list[tuple[float, float]] = []
    start: float | None = None
    for place, share in enumerate([*shares.tolist(), 0.0]):
        now = min(place * frame_s, seconds)
        if start is None and share >= options.threshold:
            start = now
        elif start is not None and (share < options.threshold - 0.15 or place == len(shares)):
            found.append((start, now))
            start = None
    joined: list[tuple[float, float]] = []
    for begin, end in found:
        if joined and begin - joined[-1][1] < options.min_silence_s:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    long = [stretch for stretch in joined if stretch[1] - stretch[0] >= options.min_speech_s]
    return _padded(long, seconds, options.pad_s)


def _padded(found: Sequence[tuple[float, float]], seconds: float, pad_s: float) -> list[Speech]:
    """Both ends moved out, at most to the middle of the pause."""
    made = []
    for place, (start, end) in enumerate(found):
        before = start - found[place - 1][1] if place else 2 * start
        after = found[place + 1][0] - end if place + 1 < len(found) else 2 * (seconds - end)
        made.append(Speech(start - min(pad_s, before / 2), end + min(pad_s, after / 2)))
    return made


def check_samples(item: object, least: int = 1) -> np.ndarray:
    """The item as float32 samples; InputError when it is not."""
    array = np.asarray(item) if isinstance(item, list | tuple | np.ndarray) else None
    if array is None or array.ndim != 1 or array.dtype.kind != "f":
        found = type(item).__name__ if array is None else f"{array.dtype} {list(array.shape)}"
        raise InputError(f"expected samples from -1 to 1 at 16 kHz, a float array, got {found}")
    if not least <= array.size <= SAMPLES_MAX:
        raise InputError(f"{array.size} samples; expected {least} to {SAMPLES_MAX} (an hour)")
    if not np.isfinite(array).all():
        raise InputError("the samples hold values that are not finite")
    return array.astype(np.float32)


def _verify(model: Model) -> None:
    outputs = [info.name for info in model.engine.outputs]
    if model.inputs != ("input", "h", "c") or "speech_probs" not in outputs:
        raise InputError(
            f"voice activity needs silero-vad's sequence model (inputs input, h, c; output "
            f"speech_probs); this one has {list(model.inputs)} and {outputs}"
        )
