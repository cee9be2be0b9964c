"""The plan of a model as one HTML page that needs nothing from anywhere else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

TEMPLATE = Path(__file__).with_name("explain_page.html")
STYLE = Path(__file__).with_name("page.css")
"""Of every page."""
_RUNTIME_NAMES = {"native": "native", "onnxruntime": "ONNX Runtime"}


def render_page(found: Mapping[str, Any], title: str) -> str:
    """The page for `Explanation.to_dict()`; every text from the model is escaped."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE.read_text(encoding="utf-8").rstrip(),
        title=html.escape(title),
        subtitle=html.escape(_subtitle(found)),
        cards="\n".join(_cards(found)),
        node_rows="\n".join(_node_rows(found["nodes"])),
        num_nodes=len(found["nodes"]),
        stripe_rows="\n".join(_stripe_rows(found.get("stripes", ()))),
        num_stripes=len(found.get("stripes", ())),
        pass_rows="\n".join(_pass_rows(found["passes"])),
        pass_ms=f"{sum(p['ms'] for p in found['passes']):.0f}",
    )


def _subtitle(found: Mapping[str, Any]) -> str:
    shapes = found.get("shapes", {})
    texts = [f"{name} {'x'.join(map(str, dims))}" for name, dims in shapes.items()]
    return "; ".join([", ".join(texts), found["isa"], f"{found['threads']} threads"])


def _cards(found: Mapping[str, Any]) -> Iterable[str]:
    advisories = sum(len(node["advisories"]) for node in found["nodes"])
    figures = [
        (str(found["num_native"]), "native nodes"),
        (str(found["num_fallback"]), "nodes in ONNX Runtime"),
        (str(advisories), "advisories"),
        (_size(found["arena_bytes"]), "arena"),
        (_size(found.get("scratch_bytes", 0)), "scratch"),
        (_size(found["constant_bytes"]), "packed weights"),
    ]
    for figure, name in figures:
        yield f"<div class=card><b>{figure}</b><span>{name}</span></div>"


def _node_rows(nodes: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    largest = max((node["bytes"] for node in nodes), default=0) or 1
    for number, node in enumerate(nodes):
        name, op, kernel, layout, why = (
            html.escape(str(node[key])) for key in ("name", "op", "kernel", "layout", "why")
        )
        notes = "".join(f"<p class=advisory>{html.escape(text)}</p>" for text in node["advisories"])
        runtime = html.escape(_RUNTIME_NAMES.get(node["runtime"], node["runtime"]))
        share = 100 * node["bytes"] / largest
        yield (
            f"<tr class={html.escape(node['runtime'])}><td data-key={number}>{number}</td>"
            f"<td class=name>{name.replace('/', '/<wbr>')}</td>"
            f"<td>{op}</td><td>{runtime}</td><td>{kernel}</td><td class=layout>{layout}</td>"
            f"<td class=bytes data-key={node['bytes']} "
            f'style="--share:{share:.1f}%">{_size(node["bytes"])}</td><td>{why}{notes}</td></tr>'
        )


def _stripe_rows(stripes: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for number, stripe in enumerate(stripes):
        calls = ", ".join(html.escape(str(call)) for call in stripe["calls"])
        yield (
            f"<tr><td data-key={number}>{number}</td><td class=name>{calls}</td>"
            f"<td>{stripe['stripe_panels']} of {stripe['panels']}</td>"
            f"<td>{stripe['segments']}</td><td>{stripe['recomputed']:.1%}</td>"
            f"<td>{_size(stripe['window_bytes'])}</td><td>{_size(stripe['saved_bytes'])}</td></tr>"
        )


def _pass_rows(passes: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for number, record in enumerate(passes):
        yield (
            f"<tr><td data-key={number}>{number}</td><td>{html.escape(record['name'])}</td>"
            f"<td data-key={record['changes']}>{record['changes']}</td>"
            f"<td data-key={record['ms']}>{record['ms']:.1f}</td></tr>"
        )


def _size(nbytes: float) -> str:
    """Bytes with a unit that suits them."""
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GiB"
