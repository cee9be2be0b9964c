"""Why an operation was not evaluated. Each is a builtin's subclass, so callers need no import."""

from __future__ import annotations


class UnsupportedNodeError(NotImplementedError):
    """No reference for this operation, or not for these types."""


class OverBudgetError(MemoryError):
    """The outputs, or what it takes to compute them, would be larger than allowed."""


class EvaluationError(ValueError):
    """The inputs or attributes do not fit the operation: bad shapes, index out of range."""
