"""Which models and versions there are, from paths and folders."""

from __future__ import annotations

from pathlib import Path

from colonnade.errors import InputError
from colonnade.serve.config import MODEL_SUFFIXES, ModelConfig, ServerConfig


def find_models(config: ServerConfig) -> list[ModelConfig]:
    """The models that are configured, then those of the folder: NAME.onnx, NAME/1/model.onnx."""
    found = {model.name: model for model in config.models}
    if config.model_folder is None:
        return list(found.values())
    if not config.model_folder.is_dir():
        raise InputError(f"model_folder {config.model_folder}: no such folder")
    for path in sorted(config.model_folder.iterdir()):
        name = path.stem if path.suffix in MODEL_SUFFIXES else path.name
        is_model = path.suffix in MODEL_SUFFIXES or (path.is_dir() and _numbered(path))
        if is_model and name not in found:
            found[name] = ModelConfig(name=name, path=path)
    return list(found.values())


def find_versions(config: ModelConfig) -> list[tuple[str, Path]]:
    """(number, file) of the versions to serve; a path that is a file is version 1."""
    if not config.path.is_dir():
        return [("1", config.path)]
    numbered = _numbered(config.path)
    if not numbered:
        raise InputError(
            f"model {config.name!r}: {config.path} has no folder with a number and a model in it"
        )
    if config.versions == "latest":
        chosen = [max(numbered)]
    elif config.versions == "all":
        chosen = sorted(numbered)
    else:
        chosen = sorted(set(config.versions) & set(numbered))
        missing = sorted(set(config.versions) - set(numbered))
        if missing:
            raise InputError(f"model {config.name!r}: no versions {missing} in {config.path}")
    return [(str(number), numbered[number]) for number in chosen]


def _numbered(folder: Path) -> dict[int, Path]:
    found = {}
    for path in folder.iterdir():
        if not (path.is_dir() and path.name.isdigit() and int(path.name) > 0):
            continue
        files = [path / f"model{suffix}" for suffix in MODEL_SUFFIXES]
        files = [file for file in files if file.is_file()]
        if files:
            found[int(path.name)] = files[0]
    return found
