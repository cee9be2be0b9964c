"""The structure of a foreign recipe: its variables, stages and modifiers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe.document import Entry, read_document
from colonnade.sparsify.recipe.foreign.fields import Note

# What describes the file and not the run.
_DESCRIPTIONS = ("version", "metadata", "framework", "domain", "task", "task_name")


@dataclass
class ForeignStage:
    """Modifiers by their names in the file, with their parameters."""

    name: str
    line: int
    modifiers: list[tuple[str, Entry]] = field(default_factory=list)
    run_type: str = ""


@dataclass
class ForeignRecipe:
    """A recipe of another tool. In the tagged dialect (`!Modifier`) times count from the start."""

    stages: list[ForeignStage]
    variables: dict[str, Entry]
    is_tagged: bool
    notes: list[Note]


def read_foreign(text: str, source: str) -> ForeignRecipe:
    """The structure of a YAML text, or of the front matter of a Markdown file."""
    document = read_document(_front_matter(text), source)
    if not isinstance(document.value, dict):
        raise RecipeError("expected a mapping", source=source, line=document.line)
    recipe = ForeignRecipe([], {}, is_tagged=False, notes=[])
    loose = ForeignStage("", document.line)
    for key, entry in document.value.items():
        if key.endswith("stage") and isinstance(entry.value, dict):
            recipe.stages.append(_stage(key, entry, recipe))
        elif key.endswith("modifiers"):
            loose.modifiers += _modifiers(entry, source)
        elif key in _DESCRIPTIONS:
            recipe.notes.append(Note(entry.line, key, "is left out: it describes the file"))
        else:
            recipe.variables[key] = entry
    if loose.modifiers:
        recipe.stages.insert(0, loose)
    if not recipe.stages:
        raise RecipeError("no modifiers and no stages", source=source, line=document.line)
    recipe.is_tagged = any(entry.tag for stage in recipe.stages for _, entry in stage.modifiers)
    return recipe


def _front_matter(text: str) -> str:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return text
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() in ("---", "...")), None)
    # The first line becomes empty, so that line numbers stay.
    return text if end is None else "\n".join(["", *lines[1:end]])


def _stage(name: str, entry: Entry, recipe: ForeignRecipe) -> ForeignStage:
    stage = ForeignStage(name.removesuffix("stage").rstrip("_"), entry.line)
    for key, item in entry.value.items():
        if key.endswith("modifiers"):
            stage.modifiers += _modifiers(item, name)
        elif key == "run_type":
            stage.run_type = str(item.value)
        else:
            recipe.variables[key] = item
    return stage


def _modifiers(entry: Entry, source: str) -> Iterator[tuple[str, Entry]]:
    """`- !Name {...}` and `- Name: {...}` in lists, `Name: {...}` in mappings."""
    items = entry.value if isinstance(entry.value, tuple) else (entry,)
    for item in items:
        if item.tag:
            yield item.tag, item
            continue
        if not isinstance(item.value, dict):
            raise RecipeError("expected a modifier", source=source, line=item.line)
        for name, parameters in item.value.items():
            if isinstance(parameters.value, tuple):
                for each in parameters.value:
                    yield name, each
            else:
                yield name, parameters
