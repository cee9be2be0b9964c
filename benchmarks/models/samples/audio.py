"""Recorded speech in frames, and synthetic music."""

from __future__ import annotations

import io
import wave
from functools import cache

import numpy as np

from models import packages

SPEECH_PACKAGE = "pyannote.audio"
SPEECH_FILE = "pyannote/audio/sample/sample.wav"
SPEECH_RATE_HZ = 16_000
SPEECH_START_S = 10.0
"""From here on nearly every frame holds speech."""
FRAME, CONTEXT = 512, 64
STATE = (1, 1, 128)

MUSIC_RATE_HZ = 22_050
MUSIC_SAMPLES = 43_844
CHORDS_HZ = ((220.0, 277.18, 329.63), (246.94, 311.13, 369.99), (196.0, 246.94, 293.66))
CHORD_S = 0.5
HARMONICS = 6
NOISE = 0.05
"""The network takes the logarithm of the power: digital silence would amplify rounding."""


@cache
def speech() -> np.ndarray:
    """The recording as samples in -1..1."""
    with wave.open(io.BytesIO(packages.read(SPEECH_PACKAGE, SPEECH_FILE))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / np.float32(32768)


def voice_detector_inputs(batch: int, frames: int) -> dict[str, np.ndarray]:
    """Overlapping frames of one recording, and zero states."""
    if batch != 1:
        raise ValueError(f"silero_vad follows one recording: batch is 1, got {batch}")
    start = int(SPEECH_START_S * SPEECH_RATE_HZ)
    starts = start + FRAME * np.arange(frames)[:, None]
    samples = speech()
    window = starts + np.arange(-CONTEXT, FRAME)
    state = np.zeros(STATE, np.float32)
    return {"input": samples[window % samples.size], "h": state, "c": state.copy()}


def note_detector_inputs(batch: int, samples: int) -> dict[str, np.ndarray]:
    """Chords with decaying harmonics over a little room noise, another order in each row."""
    time_s = np.arange(samples) / MUSIC_RATE_HZ
    rng = np.random.default_rng(0)
    rows = [_music(time_s, i) + NOISE * rng.standard_normal(samples) for i in range(batch)]
    return {"serving_default_input_2:0": np.stack(rows)[..., None].astype(np.float32)}


def _music(time_s: np.ndarray, first: int) -> np.ndarray:
    chord_idx = (time_s // CHORD_S).astype(int) + first
    since_s = time_s % CHORD_S
    sound = np.zeros_like(time_s)
    for chord, notes in enumerate(CHORDS_HZ):
        playing = chord_idx % len(CHORDS_HZ) == chord
        for note in notes:
            for harmonic in range(1, HARMONICS + 1):
                wave_form = np.sin(2 * np.pi * note * harmonic * since_s) / harmonic
                sound += playing * wave_form * np.exp(-4.0 * since_s)
    return 0.1 * sound
