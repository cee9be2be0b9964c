"""numpy semantics of every operation: the oracle, the constant folder, and a slow runtime."""

from colonnade.reference.evaluation import evaluate, has_reference, run_graph
from colonnade.reference.failure import EvaluationError, OverBudgetError, UnsupportedNodeError

__all__ = [
    "EvaluationError",
    "OverBudgetError",
    "UnsupportedNodeError",
    "evaluate",
    "has_reference",
    "run_graph",
]
