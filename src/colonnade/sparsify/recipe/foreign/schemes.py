"""How other tools say what is quantized: presets as `W8A8`, and groups of layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colonnade.sparsify.recipe.foreign.fields import Fields

_PRESET = re.compile(r"W(\d+)(?:A(\d+))?(_ASYM)?")
_BITS = range(2, 9)
_GROUP_WIDTH = 128
"""Of the presets whose activations stay in 16 bits."""
_NOT_NEEDED = ("type", "symmetric", "strategy", "dynamic", "observer", "observer_kwargs",
               "group_size", "block_structure", "actorder", "num_bits")  # fmt: skip


@dataclass(frozen=True)
class WeightGroup:
    """Layers whose weights are rounded alike."""

    targets: tuple[str, ...] | None
    """None: those of the modifier."""
    bits: int
    activation_bits: int | None
    """None: they stay in floating point."""


def weight_groups_of(fields: Fields) -> list[WeightGroup]:
    """What `scheme` and `config_groups` ask for; what ours cannot do is reported."""
    found: list[WeightGroup] = []
    scheme = fields.take("scheme")
    if isinstance(scheme, str):
        found += _preset(fields, scheme, None)
    elif isinstance(scheme, Mapping) and set(scheme) & {"weights", "input_activations"}:
        found += _group(fields, "scheme", scheme)
    elif isinstance(scheme, Mapping):
        for name, targets in scheme.items():
            found += _preset(fields, name, _names(targets))
    for name, group in (fields.take("config_groups", default=None) or {}).items():
        found += _group(fields, f"config_groups.{name}", group)
    fields.expect("kv_cache_scheme", None)
    if not found and "scheme" not in fields and "config_groups" not in fields:
        return [WeightGroup(None, 8, 8)]
    return found


def _preset(fields: Fields, name: str, targets: tuple[str, ...] | None) -> list[WeightGroup]:
    if name.lower() in ("deepsparse", "int8"):
        return [WeightGroup(targets, 8, 8)]
    parts = _PRESET.fullmatch(name.upper())
    if parts is None or int(parts[1]) not in _BITS:
        fields.note("scheme", f"{name!r} has no counterpart")
        return []
    bits, activation_bits = int(parts[1]), int(parts[2] or 16)
    if activation_bits >= 16 and bits < 8:
        fields.note("scheme", f"{name}: one scale for an output, not for {_GROUP_WIDTH} weights")
    if parts[3]:
        fields.note("scheme", f"{name}: weights are symmetric here")
    return [WeightGroup(targets, bits, None if activation_bits >= 16 else activation_bits)]


def _group(fields: Fields, where: str, group: Any) -> list[WeightGroup]:
    field = where.partition(".")[0]
    if not isinstance(group, Mapping):
        fields.note(field, f"{where}: {group!r} has no counterpart")
        return []
    weights = group.get("weights") or {}
    bits = weights.get("num_bits", 8)
    if bits not in _BITS or weights.get("type", "int") != "int":
        kind = weights.get("type", "int")
        fields.note(field, f"{where}: {kind} weights of {bits} bits have no counterpart")
        return []
    _report_weights(fields, field, where, weights)
    inputs = group.get("input_activations")
    if inputs and inputs.get("dynamic"):
        fields.note(field, f"{where}: ranges of activations are fixed here, not dynamic")
    for key in group:
        if key not in ("targets", "weights", "input_activations") and group[key] is not None:
            fields.note(field, f"{where}.{key}: {group[key]!r} has no counterpart")
    activation_bits = inputs.get("num_bits", 8) if inputs else None
    return [WeightGroup(_names(group.get("targets")), bits, activation_bits)]


def _report_weights(fields: Fields, field: str, where: str, weights: Mapping[str, Any]) -> None:
    if weights.get("symmetric") is False:
        fields.note(field, f"{where}: weights are symmetric here")
    strategy = weights.get("strategy")
    width = weights.get("group_size")
    if strategy not in (None, "channel") or (width not in (None, -1)):
        asked = f"{strategy or 'group'}" + (f" of {width}" if width not in (None, -1) else "")
        fields.note(field, f"{where}: one scale for an output here, asked for {asked}")
    for key in weights:
        if key not in _NOT_NEEDED:
            fields.note(field, f"{where}.weights.{key}: {weights[key]!r} has no counterpart")
    if weights.get("actorder") not in (None, "static"):
        fields.note(field, f"{where}.weights.actorder: {weights['actorder']!r} has no counterpart")


def _names(targets: Any) -> tuple[str, ...] | None:
    if targets is None:
        return None
    names: Sequence[Any] = targets if isinstance(targets, list) else [targets]
    return tuple(str(name) for name in names)
