"""Every environment knob: its name, what it takes, its default.

A knob is read when it is called, so that a process may set one before its first use. An unset or
empty variable means the default; any other text that the knob does not take raises KnobError.

>>> os.environ["COLONNADE_THREADS"] = "2"
>>> threads()
2
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from colonnade.errors import KnobError

T_co = TypeVar("T_co", covariant=True)

ISAS = ("portable", "avx2", "avx512", "avx512_vnni", "amx")
"""Instruction sets in rising order, as the native core names them."""

MAX_THREADS = 1024

StripeMode = Literal["auto", "off"]


@dataclass(frozen=True)
class Knob(Generic[T_co]):
    """A declared environment variable; calling it reads it."""

    name: str
    takes: str
    meaning: str
    parse: Callable[[str], T_co]
    default: Callable[[], T_co]

    def __call__(self) -> T_co:
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.default()
        try:
            return self.parse(text)
        except ValueError as error:
            raise KnobError(f"{self.name}={text!r}: expected {self.takes}") from error


def _parse_isa(text: str) -> str | None:
    return _one_of(ISAS, text)


def _parse_threads(text: str) -> int | None:
    count = int(text)
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(text)
    return count


def _parse_names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _parse_stripes(text: str) -> StripeMode:
    return "off" if _one_of(("auto", "off"), text) == "off" else "auto"


def _parse_directory(text: str) -> Path:
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError(text)
    return path


def _parse_program(text: str) -> Path | None:
    path = Path(text).expanduser()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ValueError(text)
    return path


def _one_of(values: tuple[str, ...], text: str) -> str:
    if text not in values:
        raise ValueError(text)
    return text


def _default_cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "colonnade"


max_isa: Knob[str | None] = Knob(
    "COLONNADE_MAX_ISA",
    f"one of {', '.join(ISAS)}",
    "Highest instruction set to use; the best one of this CPU by default.",
    _parse_isa,
    lambda: None,
)
threads: Knob[int | None] = Knob(
    "COLONNADE_THREADS",
    f"a whole number from 1 to {MAX_THREADS}",
    "Threads of a new runtime; the physical cores granted to the process by default.",
    _parse_threads,
    lambda: None,
)
disabled_passes: Knob[frozenset[str]] = Knob(
    "COLONNADE_DISABLE_PASSES",
    "names of passes, separated by commas",
    "Passes that the compiler leaves out.",
    _parse_names,
    frozenset,
)
dump_passes: Knob[Path | None] = Knob(
    "COLONNADE_DUMP_PASSES",
    "a directory, made if it does not exist",
    "Where to print the graph after every pass; nowhere by default.",
    _parse_directory,
    lambda: None,
)
cache_dir: Knob[Path] = Knob(
    "COLONNADE_CACHE_DIR",
    "a directory, made if it does not exist",
    "Where fetched models and measured choices are kept; $XDG_CACHE_HOME/colonnade by default.",
    _parse_directory,
    _default_cache_dir,
)
stripes: Knob[StripeMode] = Knob(
    "COLONNADE_STRIPES",
    "auto or off",
    "Run several layers over cache-sized sets of columns where that pays; auto by default.",
    _parse_stripes,
    lambda: "auto",
)

KNOBS: tuple[Knob[object], ...] = (
    max_isa,
    threads,
    disabled_passes,
    dump_passes,
    cache_dir,
    stripes,
)
"""All knobs with a fixed name; `peer_python` makes the ones whose name depends on the peer."""


def peer_python(peer: str) -> Path | None:
    """The interpreter in which a peer engine lives, from COLONNADE_PEER_<NAME>_PYTHON."""
    return _peer_knob(peer)()


def _peer_knob(peer: str) -> Knob[Path | None]:
    name = peer.upper().replace("-", "_")
    return Knob(
        f"COLONNADE_PEER_{name}_PYTHON",
        "the path of a Python interpreter",
        f"Interpreter that has {peer}; this one by default.",
        _parse_program,
        lambda: None,
    )
