"""Results by key in a JSON file, written whole after each case, so that a set can be continued."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.cache import written_whole

FOLDER = Path(__file__).parent.parent / "results" / "accuracy"


@dataclass
class Results:
    """One file."""

    path: Path
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, key: str, entry: dict[str, Any]) -> None:
        """Keep one result, and what other runs of the set have added meanwhile."""
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.entries = {**known, **self.entries, key: entry}
        with written_whole(self.path) as part:
            part.write_text(json.dumps(self.entries, indent=1, sort_keys=True) + "\n")


def open_results(name: str) -> Results:
    """What is there of a set."""
    path = FOLDER / f"{name}.json"
    return Results(path, json.loads(path.read_text()) if path.exists() else {})
