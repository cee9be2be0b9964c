"""The report of a quantization as text, Markdown, JSON and one HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from colonnade.cli.console import mib, plain_data
from colonnade.cli.explain_page import STYLE
from colonnade.errors import InputError

TEMPLATE = Path(__file__).with_name("quantize_page.html")
COLUMNS = (
    "layer", "op", "precision", "SQNR dB", "alone dB", "KiB before", "KiB after", "kernel", "why",
)  # fmt: skip
NUMERIC = ("SQNR dB", "alone dB", "KiB before", "KiB after")


def check_suffix(path: Path | None) -> None:
    """Refuse a report of an unknown kind, before the work."""
    if path is not None and path.suffix not in _WRITERS:
        raise InputError(f"{path}: a report is one of {', '.join(_WRITERS)}")


def write_report(path: Path, found: Mapping[str, Any], title: str) -> None:
    """Write `Report.to_dict()` in the form that the file's suffix names."""
    path.write_text(_WRITERS[path.suffix](found, title), encoding="utf-8")


def summary(found: Mapping[str, Any], title: str) -> Iterator[str]:
    """The report in a few lines."""
    before, after = found["bytes_before"], found["bytes_after"]
    yield (
        f"{title}: {found['num_quantized']} of {len(found['layers'])} layers in 8 bits; "
        f"{found['method']} over {found['samples']} samples"
    )
    yield f"constants: {mib(before)} MiB before, {mib(after)} MiB after"
    for output in found["outputs"]:
        yield (
            f"output {output['name']}: SQNR {_db(output['sqnr_db'])} dB, largest error "
            f"{output['max_error']:.4g} (largest value {output['peak']:.4g})"
        )
    speed = found["speed"]
    if speed is not None:
        yield (
            f"speed: {speed['ratio']:.2f} times as fast ({speed['float32_ms']:.2f} ms in float32, "
            f"{speed['quantized_ms']:.2f} ms in 8 bits)"
        )
    yield from (f"target: {line}" for line in found["targets"])


def layer_row(layer: Mapping[str, Any]) -> tuple[str, ...]:
    """A layer in COLUMNS."""
    return (
        layer["name"], layer["op"], layer["precision"], _db(layer["sqnr_db"]),
        _db(layer["sensitivity_db"]), _kib(layer["bytes_before"]), _kib(layer["bytes_after"]),
        layer["kernel"], layer["why"],
    )  # fmt: skip


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _kib(nbytes: int) -> str:
    return f"{nbytes / 1024:.1f}"


def _as_json(found: Mapping[str, Any], _: str) -> str:
    return json.dumps(plain_data(found), indent=2, allow_nan=False) + "\n"


def _as_markdown(found: Mapping[str, Any], title: str) -> str:
    lines = [f"# {title}: quantization", "", *(f"- {line}" for line in summary(found, title)), ""]
    lines += [_markdown_row(COLUMNS), _markdown_row(["---"] * len(COLUMNS))]
    lines += [_markdown_row(layer_row(layer)) for layer in found["layers"]]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _as_page(found: Mapping[str, Any], title: str) -> str:
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE.read_text(encoding="utf-8").rstrip(),
        title=html.escape(title),
        subtitle=html.escape(f"{found['method']} over {found['samples']} samples"),
        cards="\n".join(_cards(found)),
        output_rows="\n".join(_output_rows(found["outputs"])),
        num_layers=len(found["layers"]),
        layer_rows="\n".join(_layer_rows(found["layers"])),
        target_rows="\n".join(f"<li>{html.escape(line)}</li>" for line in found["targets"])
        or "<li>none</li>",
    )


def _cards(found: Mapping[str, Any]) -> Iterator[str]:
    figures = [
        (f"{found['num_quantized']} of {len(found['layers'])}", "layers in 8 bits"),
        (f"{mib(found['bytes_before'])} MiB", "constants before"),
        (f"{mib(found['bytes_after'])} MiB", "constants after"),
    ]
    if found["speed"] is not None:
        figures.append((f"{found['speed']['ratio']:.2f}", "times as fast"))
    for figure, name in figures:
        yield f"<div class=card><b>{figure}</b><span>{name}</span></div>"


def _output_rows(outputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for output in outputs:
        yield (
            f"<tr><td class=name>{html.escape(output['name'])}</td><td>{_db(output['sqnr_db'])} dB"
            f"</td><td>{output['max_error']:.4g}</td><td>{output['peak']:.4g}</td></tr>"
        )


def _layer_rows(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    largest = max((layer["bytes_before"] for layer in layers), default=0) or 1
    for number, layer in enumerate(layers):
        name, op, precision, sqnr, alone, before, after, kernel, why = (
            html.escape(cell) for cell in layer_row(layer)
        )
        share = 100 * layer["bytes_before"] / largest
        yield (
            f"<tr><td>{number}</td><td class=name>{name.replace('/', '/<wbr>')}</td><td>{op}</td>"
            f"<td>{precision}</td><td>{sqnr}</td><td>{alone}</td>"
            f'<td class=bytes style="--share:{share:.1f}%">{before} KiB</td>'
            f"<td class=bytes>{after} KiB</td><td>{layer['zeros']:.0%}</td>"
            f"<td>{kernel}</td><td>{why}</td></tr>"
        )


_WRITERS = {".html": _as_page, ".json": _as_json, ".md": _as_markdown}
