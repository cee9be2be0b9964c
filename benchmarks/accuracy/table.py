"""docs/accuracy.md: the tables, from the files of results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accuracy import minilm, nm
from accuracy.results import open_results
from accuracy.trained_speed import speed_table
from models.requirements import require

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
PICTURE = PAGE.parent / "img" / "minilm_accuracy.png"
METHODS = {"sparsegpt": "one-shot SparseGPT", "unstructured": "trained", "4x1": "trained, 4x1"}
TITLES = {"bbc": "BBC News", "vader": "film snippets"}
BEGIN, END = "<!-- {name}: written by ./dev accuracy table -->", "<!-- end of {name} -->"


def write_table() -> None:
    """Replace what lies between the marks of each table; the text around is written by hand."""
    page = PAGE.read_text()
    for network in nm.TRAININGS:
        page = _replaced(page, f"nm {network}", nm_table(network))
    page = _replaced(page, "resnet", resnet_table())
    page = _replaced(page, "minilm", minilm_table())
    page = _replaced(
        page, "speed", speed_table(list(open_results("minilm_speed").entries.values()))
    )
    plot_minilm(PICTURE)
    PAGE.write_text(page)


def nm_table(network: str) -> str:
    """Accuracy in %, mean and standard deviation over seeds, with the cost if zeros were free."""
    entries = list(open_results(f"nm_{network}").entries.values())
    dense = [entry["accuracy"] for entry in entries if entry["recipe"] == nm.DENSE]
    lines = [
        f"Dense: {_mean(dense)} %.\n",
        "| recipe | " + " | ".join(nm.PATTERNS) + " | training FLOPs of the pruned layers |",
        "|---" * (len(nm.PATTERNS) + 2) + "|",
    ]
    for recipe in dict.fromkeys(entry["recipe"] for entry in _sorted(entries)):
        of_recipe = [entry for entry in entries if entry["recipe"] == recipe]
        cells = [
            _mean([e["accuracy"] for e in of_recipe if e["pattern"] == pattern])
            for pattern in nm.PATTERNS
        ]
        densities = {e["pattern"]: e["density"] for e in of_recipe}
        costs = ", ".join(f"{100 * densities[p]:.0f} %" for p in nm.PATTERNS if p in densities)
        lines.append(f"| {recipe} | " + " | ".join(cells) + f" | {costs} |")
    return "\n".join(lines)


def resnet_table() -> str:
    """Accuracy in %, and what is kept of the dense network's, seed by seed."""
    entries = open_results("resnet").entries.values()
    lines = [
        "| seed | dense | sparse | kept | sparse int8 | kept | same predictions in the engine |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in sorted(entries, key=lambda item: int(item["seed"])):
        kept = [100 * entry[name] / entry["dense"] for name in ("sparse", "int8")]
        same = [entry[f"{name}_same_predictions"] for name in ("sparse", "int8")]
        lines.append(
            f"| {entry['seed']} | {100 * entry['dense']:.2f} | {100 * entry['sparse']:.2f} "
            f"| {kept[0]:.2f} % | {100 * entry['int8']:.2f} | {kept[1]:.2f} % "
            f"| {same[0]} and {same[1]} of 10,000 |"
        )
    return "\n".join(lines)


def minilm_table() -> str:
    """Accuracy in %, means over the seeds that are there, and what is kept of the dense one's."""
    entries = list(open_results("minilm").entries.values())
    if not entries:
        return "Not run yet."
    titles = [f"{TITLES[task]} | kept" for task in minilm.BUDGETS]
    lines = ["| | sparsity | " + " | ".join(titles) + " |", "|---" * (2 + 2 * len(titles)) + "|"]
    for method, share in minilm_cases(entries):
        cells = []
        for task in minilm.BUDGETS:
            found = _of(entries, task, method, share)
            dense = _of(entries, task, "dense", 0.0)
            kept = [100 * one / dense[seed] for seed, one in found.items() if seed in dense]
            cells.append(f"{_mean_of(found.values(), 100)} | {_mean_of(kept, 1)}")
        title = METHODS.get(method, method)
        lines.append(f"| {title} | {100 * share:.0f} % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def minilm_cases(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Methods with their sparsities, the dense one first."""
    order = ["dense", *METHODS]
    cases = {(str(entry["method"]), float(entry["asked"])) for entry in entries}
    return sorted(cases, key=lambda case: (order.index(case[0]), case[1]))


def plot_minilm(picture: Path) -> None:
    """Accuracy over sparsity, a panel for each task."""
    entries = list(open_results("minilm").entries.values())
    if not entries:
        return
    plt = require("matplotlib.pyplot", "plotting")
    figure, panels = plt.subplots(1, len(TITLES), figsize=(8, 3.2), layout="constrained")
    for panel, (task, title) in zip(panels, TITLES.items(), strict=True):
        dense = _of(entries, task, "dense", 0.0)
        for method, label in METHODS.items():
            shares = [share for name, share in minilm_cases(entries) if name == method]
            found = [_of(entries, task, method, share) for share in shares]
            points = [(0.0, dense), *zip(shares, found, strict=True)]
            points = [(share, ones) for share, ones in points if ones]
            means = [100 * statistics.mean(ones.values()) for _, ones in points]
            panel.plot([100 * share for share, _ in points], means, "o-", label=label)
        panel.set(title=title, xlabel="zeros in the encoder, %", ylabel="accuracy, %")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize="small", loc="lower left")
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def _of(
    entries: Iterable[Mapping[str, Any]], task: str, method: str, share: float
) -> dict[int, float]:
    """Accuracies by seed."""
    wanted = (task, method, share)
    return {
        entry["seed"]: entry["accuracy"]
        for entry in entries
        if (entry["task"], entry["method"], entry["asked"]) == wanted
    }


def _mean_of(values: Iterable[float], scale: float) -> str:
    shares = [scale * value for value in values]
    if not shares:
        return "-"
    spread = f" ± {statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{statistics.mean(shares):.1f}{spread}"


def _sorted(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    pruned = [entry for entry in entries if entry["recipe"] != nm.DENSE]
    return sorted(pruned, key=lambda entry: _place(entry["recipe"]))


def _place(recipe: str) -> tuple[int, str]:
    return (nm.RECIPES.index(recipe) if recipe in nm.RECIPES else len(nm.RECIPES), recipe)


def _mean(shares: list[float]) -> str:
    if not shares:
        return "-"
    percent = [100 * share for share in shares]
    runs = "" if len(percent) == len(nm.SEEDS) else f" (n = {len(percent)})"
    if len(percent) == 1:
        return f"{percent[0]:.2f}{runs}"
    return f"{statistics.mean(percent):.2f} ± {statistics.stdev(percent):.2f}{runs}"


def _replaced(page: str, name: str, table: str) -> str:
    begin, end = BEGIN.format(name=name), END.format(name=name)
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{table}\n{end}{tail}"
