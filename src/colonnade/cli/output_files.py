"""Files that `colonnade benchmark` writes besides the screen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OutputFiles:
    """Where results go; None for nowhere."""

    json: Path | None = None
    csv: Path | None = None
    plot: Path | None = None
    trace: Path | None = None


def write_json(path: Path | None, document: Mapping[str, Any]) -> None:
    """Write plain data, where there is a path."""
    if path is not None:
        path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
