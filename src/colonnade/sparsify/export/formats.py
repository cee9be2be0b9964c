"""`quantization_config` of a config.json in the convention of compressed-tensors: a closed list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from colonnade.errors import ModelError

Format = Literal["dense", "sparse-bitmask", "sparse-24-bitmask"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""Those that are written and read here."""
REFUSED = (
    *("int-quantized", "float-quantized", "naive-quantized", "pack-quantized", "mixed-precision"),
    *("nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized", "marlin-24"),
)
"""Known by name, to say that they are not read rather than that they do not exist."""
KEY = "quantization_config"
METHOD = "compressed-tensors"
STRUCTURES: Mapping[Format, str] = {"sparse-bitmask": "unstructured", "sparse-24-bitmask": "2:4"}


def write_format(config: Mapping[str, Any], chosen: Format, sparsity: float) -> dict[str, Any]:
    """The config with the format in it. Dense weights need no word: their readers know none of it,
    and some refuse a `sparsity_config` whose format is dense."""
    written = {key: value for key, value in config.items() if key != KEY}
    if chosen != "dense":
        written[KEY] = {
            "quant_method": METHOD,
            "sparsity_config": {
                "format": chosen,
                "sparsity_structure": STRUCTURES[chosen],
                "global_sparsity": round(sparsity, 6),
                "targets": [],
                "ignore": [],
            },
        }
    return written


def read_format(config: Mapping[str, Any]) -> Format:
    """How the weights beside the config are stored. Raises ModelError for one that is not read."""
    stated = config.get(KEY)
    if not stated:
        return "dense"
    if not isinstance(stated, Mapping):
        raise ModelError(f"config.json: {KEY} is not a mapping")
    if stated.get("quant_method") not in (None, METHOD, "sparseml"):
        raise ModelError(
            f"config.json: quant_method {stated.get('quant_method')!r}, expected {METHOD!r}"
        )
    verify_known(stated.get("format") or "dense", "config.json: ")
    sparsity = stated.get("sparsity_config") or {}
    return verify_known(sparsity.get("format") or "dense", "config.json: ")


def verify_known(name: object, where: str = "") -> Format:
    """The format of a name. Raises ModelError for one that is not read and written."""
    for known in FORMATS:
        if name == known:
            return known
    what = f"format {name!r} is not read" if name in REFUSED else f"unknown format {name!r}"
    raise ModelError(f"{where}{what}; those that are: {', '.join(FORMATS)}")
