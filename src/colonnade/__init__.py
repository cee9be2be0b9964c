"""colonnade: sparse models, run in columns."""

from colonnade.engine.compile import compile, load
from colonnade.engine.engine import Engine, TensorInfo
from colonnade.engine.profile import BenchmarkResult
from colonnade.engine.runtime import Runtime
from colonnade.engine.session import Session
from colonnade.errors import (
    CapabilityError,
    CheckpointError,
    ColonnadeError,
    InputError,
    ModelError,
    OverloadedError,
    PlanError,
    RecipeError,
    RunError,
)
from colonnade.pipeline.pipeline import Pipeline, pipeline
from colonnade.planner.explain import Explanation
from colonnade.quantization.quantize import Quantized, quantize

__version__ = "0.1.0"

__all__ = [
    "BenchmarkResult",
    "CapabilityError",
    "CheckpointError",
    "ColonnadeError",
    "Engine",
    "Explanation",
    "InputError",
    "ModelError",
    "OverloadedError",
    "Pipeline",
    "PlanError",
    "Quantized",
    "RecipeError",
    "RunError",
    "Runtime",
    "Session",
    "TensorInfo",
    "compile",
    "load",
    "pipeline",
    "quantize",
]
