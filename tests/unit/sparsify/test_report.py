"""The report and the progress line say what happened."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

from colonnade.errors import RunError
from colonnade.sparsify import Recipe, Session, sparsify
from colonnade.sparsify.history import POINTS_MAX, Series
from colonnade.sparsify.live import LiveView, summarize
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.report import Speed, build_report, write_report


def trained(progress: bool = False) -> Session:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    prune = GradualMagnitude(targets=("0",), init_sparsity=0.5, final_sparsity=0.75, end=1.0)
    recipe = Recipe.of(prune, epochs=2.0)
    with sparsify(model, optimizer, recipe, 4, progress=progress) as s:
        for epoch in s.epochs():
            for x in s.batches([torch.ones(1, 8)] * 4):
                s.step(model(x).square().sum())
            s.log(**{"<accuracy>": 0.5 + epoch / 4})
    return s


def test_json(tmp_path: Path) -> None:
    s = trained()
    report = build_report(s, expected=Speed(dense_ms=10.0, sparse_ms=4.0, source="cost table"))
    write_report(report, tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    first, second = document["layers"]
    assert (first["name"], first["shape"], first["num_zeros"]) == ("0.weight", [4, 8], 24)
    assert (first["sparsity"], first["is_masked"], second["is_masked"]) == (0.75, True, False)
    assert document["sparsity"] == 24 / 40
    assert (document["steps"], document["steps_planned"]) == (8, 8)
    assert len(document["series"]["loss"]) == 8
    assert document["series"]["<accuracy>"] == [[4, 0.5], [8, 0.75]]
    assert document["series"]["sparsity"][-1] == [8, 0.75]
    assert document["expected"]["sparse_ms"] == 4.0
    assert document["measured"] is None
    assert "GradualMagnitude" in document["modifiers"][0]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page(tmp_path: Path) -> None:
    s = trained()
    s.run.note("<b>remark</b>")
    measured = Speed(dense_ms=10.0, sparse_ms=2.5, source="this machine")
    write_report(build_report(s, measured=measured), tmp_path / "r.html")
    page = Tags()
    page.feed((tmp_path / "r.html").read_text())
    assert page.tags.count("svg") == 3
    assert page.tags.count("polyline") == 3
    assert "b" in page.tags
    for text in ("0.weight", "75.0%", "60.0%", "<b>remark</b>", "<accuracy>", "4.00x"):
        assert text in page.text
    assert "8 of 8 steps" in page.text


def test_report_of_a_run_that_just_began(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    recipe = Recipe.of(GradualMagnitude(final_sparsity=0.5, end=1.0))
    s = sparsify(model, optimizer, recipe, 1)
    s.history.add("loss", 1, float("nan"))
    for name in ("r.html", "r.json"):
        write_report(build_report(s), tmp_path / name)
    with pytest.raises(RunError, match=r"ends in \.html or \.json"):
        write_report(build_report(s), tmp_path / "r.txt")
    s.close()


def test_progress_line(capsys: pytest.CaptureFixture[str]) -> None:
    s = trained(progress=True)
    assert summarize(s).startswith("epoch 2.00  loss ")
    assert "sparsity 75.0%" in summarize(s)
    assert "8/8" in capsys.readouterr().err
    file = io.StringIO()
    LiveView(s, file).close()
    assert "sparsity 75.0%" in file.getvalue()


def test_long_series_are_averaged() -> None:
    series = Series()
    for step in range(10 * POINTS_MAX):
        series.add(step, float(step % 2))
    assert POINTS_MAX // 4 < len(series.points) <= POINTS_MAX
    assert {value for _, value in series.points} == {0.5}
    again = Series.of(series.state_dict())
    assert again == series
