"""What tasks return: frozen data, which `dataclasses.asdict` turns into JSON."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Label:
    """A class and how sure the model is of it."""

    label: str
    score: float


@dataclass(frozen=True)
class Entity:
    """A stretch of the text with a label; `text` is characters `start` to `end` of the input."""

    label: str
    score: float
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """A stretch of the context; empty, with start and end 0, when there is no answer in it."""

    answer: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Embedding:
    """A vector [features], or one for each token [tokens, features]."""

    vector: np.ndarray
    tokens: int
    """Of the text, with the special ones that the model wants."""


@dataclass(frozen=True)
class Box:
    """An object and where it is, in pixels of the image that was given."""

    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class TextBox:
    """A line of text: its corners from top left clockwise, in pixels of the image."""

    corners: tuple[Point, Point, Point, Point]
    score: float


@dataclass(frozen=True)
class Text:
    """What a line reads; the score is the mean over its characters."""

    text: str
    score: float


@dataclass(frozen=True)
class TextLine:
    """A line of text, where it is and what it reads."""

    text: str
    score: float
    corners: tuple[Point, Point, Point, Point]


@dataclass(frozen=True)
class Speech:
    """A stretch of a recording in which somebody speaks, in seconds."""

    start_s: float
    end_s: float
