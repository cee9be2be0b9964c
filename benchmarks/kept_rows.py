"""Rows of a results file that stay when a later run, on the same machine, measures others.

A table takes longer to measure than a machine stays quiet: it may be filled in parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class KeptRows:
    """The rows of a JSON document {"machine": ..., "rows": [...]}; `keys` tell them apart."""

    def __init__(self, path: Path, machine: Mapping[str, Any], keys: Sequence[str]) -> None:
        self._path = path
        self._machine = machine
        self._keys = tuple(keys)
        document = json.loads(path.read_text()) if path.exists() else {}
        earlier = document["rows"] if document.get("machine") == machine else []
        self._rows: dict[tuple[Any, ...], Row] = {self._key(row): row for row in earlier}

    @property
    def rows(self) -> list[Row]:
        """In the order in which they were first measured."""
        return list(self._rows.values())

    @property
    def document(self) -> dict[str, Any]:
        """What the file holds."""
        return {"machine": self._machine, "rows": self.rows}

    def keep(self, row: Row) -> None:
        """Add the row, or replace the one with the same keys, and write the file."""
        self._rows[self._key(row)] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.document, indent=2) + "\n")

    def _key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[key] for key in self._keys)
