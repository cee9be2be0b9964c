"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ModelArgument = Annotated[
    Path, typer.Argument(help="An ONNX file, or a plan saved by `colonnade compile`.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON document on standard output.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        "-ncores",
        "--num_cores",
        min=1,
        max=1024,
        help="Threads; by default the physical cores granted to this process.",
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size", "-b", "--batch_size", min=1, help="Size of the model's batch dimension."
    ),
]
SequenceOption = Annotated[
    int | None,
    typer.Option(
        "--sequence-length",
        "-seq_len",
        "--sequence_length",
        min=1,
        help="Size of a free sequence dimension; 128 by default.",
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        help="NAME=1x3x224x224 for an input, or NAME=128 for a symbolic dimension; repeatable.",
    ),
]
InputShapesOption = Annotated[
    str,
    typer.Option(
        "--input-shapes",
        "-i",
        "-shapes",
        "--input_shapes",
        help="All shapes in input order: '[1,128],[1,128]'.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Input arrays: FILE.npz, NAME=FILE.npy, or FILE.npy for a model with one input; "
        "random values by default.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random inputs.")]
FallbackOption = Annotated[
    Literal["allow", "forbid"],
    typer.Option(
        "--fallback", help="Whether nodes without a native kernel may run in ONNX Runtime."
    ),
]
CalibrationOption = Annotated[
    str,
    typer.Option(
        "--calibration",
        metavar="DATA",
        help="A folder of .npz files (keys are input names), a folder of images, a text file (one "
        "sample a line, with --tokenizer), or module:function or file.py:function that yields "
        "dicts of arrays.",
    ),
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, help="Calibration samples to use at most.")
]
ImageSpecOption = Annotated[
    Path | None, typer.Option("--image-spec", help="YAML file: how images become arrays.")
]
ImageOption = Annotated[
    list[str] | None,
    typer.Option("--image", help="KEY=VALUE of the same, as size=224 or mean=0.5; repeatable."),
]
TokenizerOption = Annotated[
    Path | None, typer.Option("--tokenizer", help="tokenizer.json for a text file.")
]
TokensOption = Annotated[
    int, typer.Option("--sequence-length", min=1, help="Tokens of a text at most.")
]
TextLengthOption = Annotated[
    int | None,
    typer.Option(
        "--sequence-length",
        min=1,
        help="Tokens of a text at most; 128, or what a Hugging Face folder has positions for.",
    ),
]
