"""Plans saved beside their models, so that a restart does not compile again.

A plan belongs to one content of the model file, by size and time of change; older ones are removed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from colonnade.engine.engine import Engine
from colonnade.errors import ColonnadeError

logger = logging.getLogger("colonnade.serve")


def plan_path(model: Path) -> Path:
    """Where the plan of this content of the model is kept."""
    facts = model.stat()
    return model.with_name(f".{model.name}.{facts.st_size:x}-{facts.st_mtime_ns:x}.plan")


def load_plan(model: Path, load: Callable[[Path], Engine]) -> Engine | None:
    """The saved plan, if there is one that this machine can use."""
    path = plan_path(model)
    if not path.is_file():
        return None
    try:
        return load(path)
    except (ColonnadeError, OSError) as error:
        logger.warning("the plan saved for %s is not used: %s", model.name, error)
        return None


def save_plan(model: Path, engine: Engine) -> None:
    """Keep what the engine has planned; a folder that is read-only is no fault."""
    path = plan_path(model)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        engine.save(draft)
        draft.replace(path)
        for other in model.parent.glob(f".{model.name}.*.plan"):
            if other != path:
                other.unlink(missing_ok=True)
    except (ColonnadeError, OSError) as error:
        draft.unlink(missing_ok=True)
        logger.warning("the plan of %s is not saved: %s", model.name, error)
