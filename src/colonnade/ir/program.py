"""Element-wise programs: a short list of scalar operations applied to every element.

Values are numbered: 0 .. num_inputs-1 are the operands, num_inputs + i is the result of
instruction i. The last instruction's result is the output. A program with no instruction
returns its input 0. All arithmetic is float32; comparisons give 0.0 or 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass

ARITY: dict[str, int] = {
    **dict.fromkeys(
        "abs neg sqrt rsqrt reciprocal exp log erf tanh sigmoid relu softplus softsign hardswish "
        "silu mish gelu_erf gelu_tanh floor ceil round sign sin cos tan asin acos atan sinh cosh "
        "asinh acosh atanh not isnan isinf leaky_relu elu celu thresholded_relu hardsigmoid selu "
        "clip".split(),
        1,
    ),
    **dict.fromkeys(
        "add sub mul div min max pow mod fmod prelu gt ge lt le eq and or xor".split(), 2
    ),
    **dict.fromkeys("where fma".split(), 3),
}
"""Number of value operands of each opcode. Immediates (`imm`): leaky_relu (alpha), elu (alpha),
celu (alpha), thresholded_relu (alpha), hardsigmoid (alpha, beta), selu (alpha, gamma),
clip (low, high)."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation: opcode, operand value numbers, immediates."""

    op: str
    args: tuple[int, ...]
    imm: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """An element-wise program over `num_inputs` operands."""

    num_inputs: int
    instructions: tuple[Instruction, ...] = ()

    def then(self, op: str, *extra: int, imm: tuple[float, ...] = ()) -> Program:
        """Append `op(result, *extra)`."""
        instruction = Instruction(op, (self.result, *extra), imm)
        return Program(self.num_inputs, (*self.instructions, instruction))

    @property
    def result(self) -> int:
        """The value number of the output."""
        return self.num_inputs + len(self.instructions) - 1 if self.instructions else 0

    def __str__(self) -> str:
        lines = []
        for i, ins in enumerate(self.instructions):
            operands = [f"%{a}" for a in ins.args] + [f"{value:g}" for value in ins.imm]
            lines.append(f"%{self.num_inputs + i}={ins.op}({', '.join(operands)})")
        return "; ".join(lines) or "identity"


def verify_program(program: Program) -> None:
    """Raise ValueError when an instruction is unknown or reads a value not yet made."""
    for i, ins in enumerate(program.instructions):
        if ins.op not in ARITY:
            raise ValueError(f"unknown opcode {ins.op!r}")
        if len(ins.args) != ARITY[ins.op]:
            raise ValueError(f"{ins.op} takes {ARITY[ins.op]} operands, got {len(ins.args)}")
        if any(not 0 <= arg < program.num_inputs + i for arg in ins.args):
            raise ValueError(f"instruction {i} ({ins.op}) reads a value that is not made yet")
