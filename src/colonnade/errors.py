"""The exception tree, split by what the caller can do about it.

Every message ends with the section of docs/errors.md that explains the class.
"""

from __future__ import annotations


class ColonnadeError(Exception):
    """Base of everything that colonnade raises on purpose."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self._where()}{self.reason} [docs/errors.md#{type(self).__name__.lower()}]"

    def _where(self) -> str:
        return ""


class ModelError(ColonnadeError, ValueError):
    """The model is invalid, or uses something unsupported: change the model or the options.

    >>> print(ModelError("group=3 does not divide 64 channels", node="conv_3", op="Conv"))
    node 'conv_3' (Conv): group=3 does not divide 64 channels [docs/errors.md#modelerror]
    """

    def __init__(
        self,
        reason: str,
        *,
        node: str | None = None,
        op: str | None = None,
        attribute: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.node = node
        self.op = op
        self.attribute = attribute

    def _where(self) -> str:
        if self.node is None and self.op is None and self.attribute is None:
            return ""
        node = "node" if not self.node else f"node {self.node!r}"
        op = "" if self.op is None else f" ({self.op})"
        attribute = "" if self.attribute is None else f", attribute {self.attribute!r}"
        return f"{node}{op}{attribute}: "


class InputError(ColonnadeError, ValueError):
    """A request does not fit the model: change the arrays given to `run`."""


class RunError(ColonnadeError, RuntimeError):
    """The values met during a run made it fail; the engine stays usable."""


class OverloadedError(ColonnadeError, RuntimeError):
    """Too many requests wait already: try again when some of them are done."""


class PlanError(ColonnadeError, ValueError):
    """A saved plan is damaged, or made for another CPU or version: compile the model again."""


class CapabilityError(ColonnadeError, RuntimeError):
    """This machine or installation lacks something that the call needs."""


class KnobError(ColonnadeError, ValueError):
    """An environment knob has a value that it does not take: change the environment."""


class ExportError(ColonnadeError, RuntimeError):
    """A trained model cannot be written as asked, or not so that its answers stay: nothing was
    written."""


class RecipeError(ColonnadeError, ValueError):
    """A sparsification recipe is wrong, or does not fit the model: change the recipe.

    >>> print(RecipeError("expected a number, got 'a'", source="r.yaml", line=4, parameter="end"))
    r.yaml:4: end: expected a number, got 'a' [docs/errors.md#recipeerror]
    """

    def __init__(
        self,
        reason: str,
        *,
        source: str | None = None,
        line: int | None = None,
        modifier: str | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.source = source
        self.line = line
        self.modifier = modifier
        self.parameter = parameter

    def _where(self) -> str:
        place = ":".join(str(part) for part in (self.source, self.line) if part is not None)
        if self.source is None and self.line is not None:
            place = f"line {self.line}"
        what = ".".join(part for part in (self.modifier, self.parameter) if part is not None)
        return "".join(f"{part}: " for part in (place, what) if part)


class CheckpointError(ColonnadeError, RuntimeError):
    """A checkpoint cannot be written or read; what was there before is still there."""
