"""The HTML report: complete, alone, and safe from the model's own texts."""

from __future__ import annotations

import html.parser
import re
from typing import Any

from colonnade.cli.explain_page import render_page

EVIL = "<script>alert('x')</script>"


def make_explanation() -> dict[str, Any]:
    node = {
        "name": EVIL,
        "op": "Conv",
        "runtime": "native",
        "kernel": "conv",
        "why": "3x3 & $1",
        "layout": "columns",
        "bytes": 2048,
        "advisories": ["ran dense: <0.4"],
    }
    other = {**node, "name": "b", "runtime": "onnxruntime", "bytes": 1 << 21, "advisories": []}
    return {
        "model": "m",
        "isa": "avx2",
        "threads": 2,
        "shapes": {"x": [1, 3]},
        "nodes": [node, other],
        "stripes": [
            {
                "calls": ["first", EVIL],
                "panels": 49,
                "stripe_panels": 4,
                "segments": 2,
                "window_bytes": 3072,
                "saved_bytes": 3 << 20,
                "recomputed": 0.0125,
            }
        ],
        "passes": [{"name": "fuse_conv", "changes": 3, "ms": 1.25}],
        "arena_bytes": 1 << 20,
        "scratch_bytes": 100,
        "constant_bytes": 5 << 30,
        "num_native": 1,
        "num_fallback": 1,
    }


class Collector(html.parser.HTMLParser):
    """Counts tags and keeps what refers to somewhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else() -> None:
    collector = Collector()
    page = render_page(make_explanation(), EVIL)
    collector.feed(page)
    assert collector.links == []
    assert "//" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert collector.tags["script"] == 1
    assert collector.tags["tr"] == 3 + 2 + 1 + 1  # heads, nodes, a stripe, a pass


def test_texts_are_escaped_and_kept() -> None:
    page = render_page(make_explanation(), EVIL)
    assert EVIL not in page
    assert page.count("&lt;script&gt;") == 4  # title, heading, node, stripe
    for text in (
        "3x3 &amp; $1",
        "ran dense: &lt;0.4",
        "ONNX Runtime",
        "fuse_conv",
        "4 of 49",
        "1.2%",
    ):
        assert text in page
    for size in ("2.0 KiB", "2.0 MiB", "3.0 KiB", "3.0 MiB", "1.0 MiB", "100 B", "5.00 GiB"):
        assert size in page


def test_numbers_sort_as_numbers() -> None:
    page = render_page(make_explanation(), "m")
    assert "data-key=2097152" in page
    assert 'style="--share:100.0%"' in page


def test_both_colour_schemes() -> None:
    assert "prefers-color-scheme: dark" in render_page(make_explanation(), "m")


def test_a_plan_without_nodes() -> None:
    empty = {**make_explanation(), "nodes": [], "stripes": [], "passes": []}
    assert "Nodes (0)" in render_page(empty, "m")
