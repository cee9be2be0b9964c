"""colonnade: sparse models, run in columns."""

from colonnade._core import Runtime
from colonnade.engine.compile import compile, load
from colonnade.engine.engine import Engine, TensorInfo
from colonnade.engine.profile import BenchmarkResult
from colonnade.errors import (
    CapabilityError,
    ColonnadeError,
    InputError,
    ModelError,
    PlanError,
    RunError,
)
from colonnade.planner.explain import Explanation

__version__ = "0.1.0"

__all__ = [
    "BenchmarkResult",
    "CapabilityError",
    "ColonnadeError",
    "Engine",
    "Explanation",
    "InputError",
    "ModelError",
    "PlanError",
    "RunError",
    "Runtime",
    "TensorInfo",
    "compile",
    "load",
]
