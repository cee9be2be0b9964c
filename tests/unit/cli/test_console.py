"""Plain text, JSON and progress of the commands' way out."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from colonnade.cli.console import Console, mib, plain_data, plain_table


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def make_console(is_json: bool = False, is_quiet: bool = False, screen: bool = False) -> Console:
    kind = Screen if screen else io.StringIO
    ticks = iter(range(0, 1000, 2))
    return Console(is_json, is_quiet, kind(), kind(), now=lambda: float(next(ticks)))


def text(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_tables_are_plain_and_whole_when_not_at_a_terminal() -> None:
    console = make_console()
    console.table(("name", "n"), [("x" * 200, "1"), ("y", "10")], numeric=("n",))
    lines = text(console.out).splitlines()
    assert lines == [
        "name" + " " * 196 + "   n",
        "x" * 200 + "   1",
        "y" + " " * 199 + "  10",
    ]


def test_tables_have_lines_at_a_terminal() -> None:
    console = make_console(screen=True)
    console.table(("name",), [("[red]x[/red]",)])
    assert "[red]x[/red]" in text(console.out)  # a model's text is no markup
    assert "──" in text(console.out)


def test_json_is_the_only_thing_on_standard_output() -> None:
    console = make_console(is_json=True)
    console.line("words")
    console.table(("a",), [("b",)])
    console.note("beside")
    console.document({"n": np.float32(1.5), "shape": (1, 2), "bad": float("nan")})
    assert json.loads(text(console.out)) == {"n": 1.5, "shape": [1, 2], "bad": "nan"}
    assert text(console.err) == "note: beside\n"


def test_documents_need_json_mode() -> None:
    console = make_console()
    console.document({"a": 1})
    assert text(console.out) == ""


def test_failures_are_one_text_and_a_document() -> None:
    console = make_console(is_json=True)
    console.fail("it broke", "ModelError", 3)
    assert json.loads(text(console.out)) == {
        "error": {"kind": "ModelError", "message": "it broke", "exit_code": 3}
    }
    assert text(console.err) == "error: it broke\n"


def test_plain_progress_tells_of_slow_stages_only() -> None:
    console = make_console()
    times = iter([0.0, 0.5, 0.5, 3.0])
    console.now = lambda: next(times)
    with console.progress() as progress:
        progress("quick", None)
        progress("slow", 0.1)
        progress("slow", 0.9)
    assert text(console.err) == "slow: 2.5 s\n"


def test_quiet_has_no_progress_and_no_notes() -> None:
    console = make_console(is_quiet=True)
    with console.progress() as progress:
        progress("slow", None)
    console.note("beside")
    assert text(console.err) == ""


def test_live_progress_at_a_terminal() -> None:
    console = make_console(screen=True)
    with console.progress() as progress:
        progress("measuring [x]", 0.5)
    assert "measuring [x]" in text(console.err)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.array([[1, 2]]), [[1, 2]]),
        ({1: np.float64("inf")}, {"1": "inf"}),
        ((None, True, "a"), [None, True, "a"]),
    ],
)
def test_plain_data(value: object, expected: object) -> None:
    assert plain_data(value) == expected


def test_empty_table_and_units() -> None:
    assert plain_table(("a", "b"), []) == ["a  b"]
    assert mib(1 << 19) == "0.50"
