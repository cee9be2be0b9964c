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
