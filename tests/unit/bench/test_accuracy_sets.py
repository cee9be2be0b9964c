"""What `./dev accuracy` is made of: pinned data, cases, results that are kept, tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accuracy import nm, table
from accuracy.results import Results, open_results
from accuracy.trained_speed import speed_table
from models import debian
from models.packages import PackageCorruptError


def test_a_deb_that_is_not_the_pinned_one_is_refused_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    package = debian.DEBIAN_PACKAGES["dataset-fashion-mnist"]
    path = tmp_path / "packages" / f"{package.name}-{package.sha256[:12]}.deb"
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(PackageCorruptError, match="SHA-256 .* expected 39e172fe"):
        debian.debian_files(package.name)
    assert not path.exists()


def test_cases_differ_and_come_seed_by_seed() -> None:
    cases = nm.list_cases("mlp")
    assert len({case.key for case in cases}) == len(cases) == 3 * (1 + 3 * 10)
    assert [case.seed for case in cases] == sorted(case.seed for case in cases)


def test_a_part_of_the_cases_has_the_keys_of_the_whole() -> None:
    part = nm.list_cases("vit", ["sr-ste"], ["1:16"], [1])
    assert [case.key for case in part] == ["vit/dense/1:1/1", "vit/sr-ste/1:16/1"]
    assert {case.key for case in part} <= {case.key for case in nm.list_cases("vit")}


def test_straight_through_is_the_same_schedule_with_another_gradient() -> None:
    masked = nm.schedule_of(nm.Case("mlp", "mdgf-exponential", "1:8", 0), 100)
    straight = nm.schedule_of(nm.Case("mlp", "mdgf-exponential (ste)", "1:8", 0), 100)
    assert (masked.flow.grad, straight.flow.grad) == ("masked", "ste")
    assert masked.at(40) == straight.at(40)
    assert masked.phases.fine_tune == 20


def test_results_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accuracy.results.FOLDER", tmp_path)
    assert open_results("set").entries == {}
    Results(tmp_path / "set.json").add("a", {"accuracy": 0.5})
    assert open_results("set").entries == {"a": {"accuracy": 0.5}}


def test_two_runs_of_a_set_lose_nothing(tmp_path: Path) -> None:
    one, other = Results(tmp_path / "set.json"), Results(tmp_path / "set.json")
    one.add("a", {"accuracy": 0.5})
    other.add("b", {"accuracy": 0.6})
    one.add("c", {"accuracy": 0.7})
    assert sorted(one.entries) == sorted(json.loads(one.path.read_text())) == ["a", "b", "c"]


def test_the_table_has_means_deviations_and_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accuracy.results.FOLDER", tmp_path)
    results = Results(tmp_path / "nm_mlp.json")
    for seed, accuracy in enumerate((0.80, 0.82, 0.84)):
        case = nm.Case("mlp", "sdgf-stepwise", "1:8", seed)
        entry = {"recipe": case.recipe, "pattern": "1:8", "accuracy": accuracy, "density": 0.375}
        results.add(case.key, entry)
    results.add("dense", {"recipe": "dense", "pattern": "1:1", "accuracy": 0.9, "density": 1.0})
    text = table.nm_table("mlp")
    assert "Dense: 90.00 (n = 1) %" in text
    assert "| sdgf-stepwise | 82.00 ± 2.00 | - | - | 38 % |" in text


def test_the_table_of_speeds_has_a_row_for_each_model() -> None:
    entries = [
        {"model": name, "batch": batch, "ms": ms, "over_onnxruntime": 12 / ms, "accuracy": 0.96}
        for name, ms in (("onnxruntime", 12.0), ("dense float32", 8.0))
        for batch in (1, 16)
    ]
    text = speed_table(entries[:-1])
    assert "| onnxruntime | 96.0 | 1.00x (12.00 ms) | 1.00x (12.00 ms) |" in text
    assert "| dense float32 | 96.0 | 1.50x (8.00 ms) | - |" in text
    assert speed_table([]) == "Not run yet."
