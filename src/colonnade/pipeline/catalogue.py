"""The table of tasks, and how a name is found in it."""

from __future__ import annotations

from colonnade.errors import InputError
from colonnade.pipeline.options import near_match
from colonnade.pipeline.task import Task
from colonnade.pipeline.tasks import (
    custom,
    embeddings,
    image_classification,
    object_detection,
    question_answering,
    text_classification,
    text_detection,
    text_recognition,
    token_classification,
    voice_activity,
    zero_shot,
)

TASKS = (
    Task(
        "text-classification",
        ("sentiment-analysis", "glue"),
        text_classification.Options,
        text_classification.build,
    ),
    Task(
        "token-classification",
        ("ner",),
        token_classification.Options,
        token_classification.build,
    ),
    Task(
        "zero-shot-classification",
        ("zero-shot", "zero-shot-text-classification"),
        zero_shot.Options,
        zero_shot.build,
    ),
    Task("question-answering", ("qa",), question_answering.Options, question_answering.build),
    Task(
        "embeddings",
        (
            "embedding",
            "feature-extraction",
            "sentence-similarity",
            "transformers-embedding-extraction",
        ),
        embeddings.Options,
        embeddings.build,
    ),
    Task("image-classification", (), image_classification.Options, image_classification.build),
    Task(
        "object-detection",
        ("yolo", "yolov8", "detr"),
        object_detection.Options,
        object_detection.build,
    ),
    Task("text-detection", (), text_detection.Options, text_detection.build),
    Task("text-recognition", (), text_recognition.Options, text_recognition.build),
    Task(
        "voice-activity",
        ("voice-activity-detection", "vad"),
        voice_activity.Options,
        voice_activity.build,
    ),
    Task("custom", (), custom.Options, custom.build),
)
OCR = "ocr"
"""Made of two tasks: text detection and text recognition."""


def find_task(name: object) -> Task:
    """The task of a name or alias; case does not count, nor - against _."""
    if isinstance(name, str):
        word = plain_name(name)
        for task in TASKS:
            if word == task.name or word in task.aliases:
                return task
    raise InputError(f"unknown task {name!r}; {near_match(plain_name(str(name)), task_names())}")


def task_names() -> list[str]:
    """Names and aliases."""
    return [name for task in TASKS for name in (task.name, *task.aliases)] + [OCR]


def plain_name(name: str) -> str:
    """A name as the table writes it."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")
