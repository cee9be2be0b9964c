"""Hugging Face folders: the weights are replaced, everything else is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colonnade.errors import ModelError
from colonnade.sparsify.export.atomic import replacing
from colonnade.sparsify.export.fake_quantize import has_fake_quantize
from colonnade.sparsify.export.formats import KEY, Format, read_format, write_format
from colonnade.sparsify.export.onnx import bake_masks
from colonnade.sparsify.export.weights import compress, load_weights, save_stored, share_of_zeros

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
LEFT_OUT = ("*.safetensors", "*.bin", "*.h5", "*.msgpack", "*.onnx", "*.onnx.data", INDEX, ".git*")
"""Other forms of the old weights: stale beside the new ones."""


def save_folder(
    model: nn.Module | Mapping[str, Tensor],
    target: str | Path,
    *,
    source: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    weights: Format = "dense",
) -> Path:
    """Write weights and config.json, and what else `source` holds: tokenizer, pooling, readme.

    `config`: of the model itself by default, else of `source`. Weights that are fake-quantized are
    written as they train; export to ONNX to get integers.

    `weights`: "dense" is what everybody loads, zeros and all. "sparse-bitmask" and
    "sparse-24-bitmask" are smaller: `load_folder` reads them, and ModelCompressor of
    compressed-tensors 0.11. transformers 5 does not: with compressed-tensors 0.20, which calls them
    legacy, it gives random weights and no error. Raises ModelError for "sparse-24-bitmask" where no
    matrix is 2:4.
    """
    folder = Path(target)
    state = dict(model) if isinstance(model, Mapping) else baked_state(model)
    origin = None if source is None else Path(source)
    stated = dict(config) if config is not None else _config_of(model, origin)
    stored = compress(state, weights)
    if origin is not None and origin.resolve() != folder.resolve():
        _copy_rest(origin, folder)
    save_stored(stored, folder / WEIGHTS)
    document = write_format(stated, weights, share_of_zeros(state))
    with replacing(folder / CONFIG) as draft:
        draft.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return folder


def load_folder_weights(folder: str | Path) -> dict[str, Tensor]:
    """The state dict of a folder, dense, whatever its format; one file or several shards."""
    root = Path(folder)
    chosen = read_format(read_config(root))
    state: dict[str, Tensor] = {}
    for name in _weight_files(root):
        state |= load_weights(root / name, chosen)
    return state


def load_folder(folder: str | Path, task: str = "AutoModel") -> nn.Module:
    """The model of a folder as transformers builds it, `task` being one of its Auto classes, with
    weights of any format that is read here."""
    import transformers

    root = Path(folder)
    stated = read_config(root)
    chosen = read_format(stated)
    _weight_files(root)
    if not stated.get("model_type"):
        raise ModelError(f"{root / CONFIG}: no model_type, so transformers cannot tell what it is")
    state = None if chosen == "dense" else load_folder_weights(root)
    task_class = getattr(transformers, task)
    try:
        # Without the format: transformers would ask for compressed-tensors to read it.
        config = transformers.AutoConfig.for_model(
            **{key: value for key, value in stated.items() if key != KEY}
        )
        model, missing, unexpected = (
            _load_dense(task_class, root, config)
            if state is None
            else _load_state(task_class, config, state)
        )
    except Exception as error:  # its parts raise what they like
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{root}: transformers cannot load it: {reason[0][:200]}") from error
    if missing:
        raise ModelError(f"{root}: no weights for {', '.join(missing[:5])}; unused: {unexpected}")
    return model.eval()


def _load_state(
    task_class: Any, config: Any, state: Mapping[str, Tensor]
) -> tuple[nn.Module, list[str], list[str]]:
    """As `_load_dense`, from tensors under the names that the module has today."""
    model: nn.Module = task_class.from_config(config)
    missing, unexpected = model.load_state_dict(_named_for(model, state), False)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    return model, [name for name in missing if name not in tied], unexpected


def _load_dense(task_class: Any, root: Path, config: Any) -> tuple[nn.Module, list[str], list[str]]:
    """By transformers itself, which knows under which names its versions saved what; with the names
    that are missing and those that nothing reads."""
    from transformers.utils import logging

    shows_progress = logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, facts = task_class.from_pretrained(
            root,
            config=config,
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    finally:
        logging.set_verbosity(level)
        if shows_progress:
            logging.enable_progress_bar()
    return model, sorted(facts["missing_keys"]), sorted(facts["unexpected_keys"])


def read_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises ModelError where there is none."""
    path = folder / CONFIG
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable config: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: expected a mapping")
    return document


def _weight_files(folder: Path) -> list[str]:
    """The safetensors of a folder: one file or several shards. Raises ModelError for none."""
    if (folder / WEIGHTS).is_file():  # before an index, as transformers does
        return [WEIGHTS]
    index = folder / INDEX
    if index.is_file():
        try:
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index}: not a readable index: {error!r}") from error
        if any(Path(name).name != name for name in files):
            raise ModelError(f"{index}: a shard lies outside of the folder")
        return files
    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickled:
        raise ModelError(
            f"{folder}: its weights are only {pickled[0]}, a pickle, which could run any code; "
            "load it with transformers where you trust it, and save it as safetensors: "
            "model.save_pretrained(folder)"
        )
    raise ModelError(f"{folder}: holds no {WEIGHTS}")


def baked_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with masks applied, under the names that the plain model has."""
    plain = bake_masks(model)
    state: dict[str, Tensor] = plain.state_dict()
    if has_fake_quantize(plain):
        owned = {n for n, m in plain.named_modules() if n and hasattr(m, "quant_min")}
        state = {k: v for k, v in state.items() if not any(k.startswith(n + ".") for n in owned)}
    return state


def _config_of(model: object, origin: Path | None) -> dict[str, Any]:
    own = getattr(model, "config", None)
    if own is not None and hasattr(own, "to_dict"):
        found: dict[str, Any] = own.to_dict()
        dtype = getattr(model, "dtype", None)
        if isinstance(dtype, torch.dtype):  # the config still says what the model was loaded as
            found["dtype"] = str(dtype).removeprefix("torch.")
        return found
    return {} if origin is None else read_config(origin)


def _copy_rest(origin: Path, folder: Path) -> None:
    if not origin.is_dir():
        raise ModelError(f"{origin}: no such folder")

    def left_out(place: str, names: list[str]) -> set[str]:
        stale = {name for name in names if any(fnmatch(name, p) for p in LEFT_OUT)}
        return stale | {CONFIG} if Path(place) == origin else stale

    shutil.copytree(origin, folder, dirs_exist_ok=True, ignore=left_out)


def _named_for(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Folders of a task's model prefix the names of its base ("bert."), and the other way round."""
    wanted = set(model.state_dict())
    prefix = getattr(model, "base_model_prefix", "")
    if not prefix or any(name in wanted for name in state):
        return dict(state)
    if all(name.startswith(prefix + ".") for name in wanted & set(state)):
        shorter = {name.removeprefix(prefix + "."): value for name, value in state.items()}
        longer = {f"{prefix}.{name}": value for name, value in state.items()}
        return shorter if len(wanted & set(shorter)) > len(wanted & set(longer)) else longer
    return dict(state)


def make_text_sample(
    config: Mapping[str, Any], batch: int = 2, tokens: int = 16, seed: int = 0
) -> dict[str, Tensor]:
    """Random tokens of the model's vocabulary, int64 [batch, tokens], the last row half masked."""
    generator = torch.Generator().manual_seed(seed)
    size = int(config.get("vocab_size", 100))
    ids = torch.randint(0, size, (batch, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}
