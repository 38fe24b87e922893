"""From the suite's results to the tables and plots of docs/performance.md.

    .venv/bin/python benchmarks/report.py [--results FOLDER] [--page FILE] [--figures FOLDER]

Puts each table between its markers, `<!-- table: NAME -->` and `<!-- end -->`, and leaves all else of the page as it
is; draws `performance-NAME.svg` (`benchmarks/plots.py`). What has no result yet is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plots import FIGURES, MODELS, SETS, SYSTEMS, drawn, seconds

ROOT = Path(__file__).parent.parent
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "figures")
    options = parser.parse_args()
    results = {path.stem: json.loads(path.read_text()) for path in sorted(options.results.glob("*.json"))}
    if not results:
        parser.error(f"{options.results} has no results; run benchmarks/suite.py")
    tables = {name: make(results[measure]) for name, (measure, make) in TABLES.items() if measure in results}
    tables["machine"] = machine(results)
    page = options.page.read_text(encoding="utf-8")
    for name, table in tables.items():
        page = placed(page, name, table)
    options.page.write_text(page, encoding="utf-8")
    options.figures.mkdir(parents=True, exist_ok=True)
    for name, (measure, draw, panels, width) in FIGURES.items():
        if measure in results:
            drawn(options.figures / f"performance-{name}.svg", draw, panels, width, results[measure])


def placed(page: str, name: str, table: str) -> str:
    """The page with a table between its markers; as it was where it has none of that name."""
    marker = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marker.search(page):
        print(f"the page has no place for the table {name!r}", file=sys.stderr)
    return marker.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", page)


def table_of(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    line = "| " + " | ".join(head) + " |"
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return "\n".join([line, rule, *("| " + " | ".join(row) + " |" for row in rows)])


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ×" if value >= 100 else f"{value:.3g} ×"


def mib(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} MiB"


# -- tables -------------------------------------------------------------------------------------------


def machine(results: dict[str, Result]) -> str:
    """When and on what each measure ran, and the versions of all systems."""
    rows = []
    versions: dict[str, set[str]] = {}
    for name, result in results.items():
        at = result["machine"]
        where = f"{at['cpu']}, {at['threads']} threads of {at['cores']} cores, {at['memory_gib']:g} GiB"
        rows.append([name, result["date"][:10], result["commit"], str(result["rounds"]), where])
        for system, packages in result["versions"].items():
            text = ", ".join(f"{package} {version}" for package, version in packages.items())
            versions.setdefault(system, set()).add(text)
    table = table_of(["measure", "date", "commit", "rounds", "machine"], rows)
    lines = [f"- {system}: {'; or '.join(sorted(texts))}" for system, texts in versions.items()]
    return "\n".join([table, "", "Versions, each line an environment:", "", *lines])


def epoch(result: Result) -> str:
    rows = []
    for data, label in SETS.items():
        part = result[data]
        for name, system in part["systems"].items():
            by = system["settings"].get("seconds_extrapolated_by", 1.0)
            users = system["settings"].get("users_a_unit")
            note = f" (from {users:,} users)" if by != 1.0 else ""
            rows.append(
                [
                    f"{label}: {SYSTEMS[name]}{note}",
                    seconds(system["median_seconds"]),
                    times(part["ratios"].get(name)),
                    mib(system["beyond_ratings_mib"]),
                    mib(system["peak_mib"]),
                ]
            )
    return table_of(["one epoch", "seconds", "times hyvae's", "peak beyond the ratings", "peak of the process"], rows)


def step(result: Result) -> str:
    rows = [
        [SETS[data], seconds(part["median_seconds"]), mib(part["beyond_ratings_mib"]), mib(part["peak_mib"])]
        for data, part in result["two_sided_step"].items()
    ]
    columns = ['one step of `HyVAE(preset="fast")`', "seconds", "peak beyond the ratings", "peak of the process"]
    return table_of(columns, rows)


def accuracy(result: Result) -> str:
    rows = []
    for name, found in result["reached"].items():
        reached = found["reached"]
        rows.append(
            [
                name,
                f"{found['peer_test_rmse']:.4f}",
                seconds(found["peer_seconds"]),
                f"{found['test_rmse']:.4f}" + ("" if reached else " (not reached; our best)"),
                f"{seconds(found['seconds'])} ({found['epochs']} steps)",
                f"{found['share_of_peers_seconds']:.2f}" if reached else "–",
            ]
        )
    head = ["peer", "its test RMSE", "its time", "hyvae's test RMSE", "hyvae's time", "share of the peer's time"]
    return table_of(head, rows)


def lists(result: Result) -> str:
    rows = []
    for part, label in (("from_codes", "from codes"), ("from_histories", "from histories")):
        for name, system in result[part]["systems"].items():
            rows.append(
                [
                    f"{label}: {SYSTEMS[name]}",
                    seconds(system["median_seconds"]),
                    f"{system['users_a_second']:,.0f}",
                    times(result[part]["ratios"].get(name)),
                ]
            )
    return table_of(["ten best for all users", "seconds", "users a second", "times hyvae's"], rows)


def latency(result: Result) -> str:
    rows = [[name, f"{part['p50_ms']:.2f} ms", f"{part['p99_ms']:.2f} ms"] for name, part in result["fold_in"].items()]
    return table_of(["20 ratings in, 10 items out", "p50", "p99"], rows)


def scaling(result: Result) -> str:
    rows = []
    for model, label in MODELS.items():
        for axis, part in result[model].items():
            exponent = part["exponent"]
            rows.append(
                [
                    f"{label}: {axis}",
                    times(part["first_doubling"]),
                    ", ".join(f"{ratio:.2f}" for ratio in part["doublings"]),
                    f"{exponent['median_seconds']:.2f}",
                    f"{exponent['beyond_ratings_mib']:.2f}",
                ]
            )
    head = ["what doubles", "first doubling (seconds a step)", "each doubling", "exponent, seconds", "exponent, memory"]
    return table_of(head, rows)


def reading(result: Result) -> str:
    rows = []
    for part in result["files"]:
        for name, value in part["median_seconds"].items():
            peak = f"{part['peak_gib'][name]:.2f} GiB"
            rows.append([f"{part['file']}: {SYSTEMS[name]}", seconds(value), times(part["ratios"].get(name)), peak])
    return table_of([f"{result['rows']:,} rows", "seconds", "times hyvae's", "peak of the process"], rows)


def roof(result: Result) -> str:
    rows = []
    for data, kernels in result["kernels"].items():
        for name, kernel in kernels.items():
            rows.append(
                [
                    f"{SETS[data]}: {name}",
                    seconds(kernel["seconds"]),
                    f"{kernel['flops'] / 1e9:.3g}",
                    f"{kernel['bytes'] / 1e6:.3g}",
                    f"{kernel['gathered_bytes'] / 1e6:.3g}",
                    kernel["bound_by"],
                    times(kernel["times_the_roof"]),
                ]
            )
    head = ["kernel", "seconds", "GFLOP", "MB", "gathered MB", "bound by", "times its roof"]
    gemm, copy, read = (result[f"{what}_a_second"] / 1e9 for what in ("gemm_flops", "copy_bytes", "read_bytes"))
    rates = (
        f"This machine: {gemm:.0f} GFLOP/s in a float32 matrix product; {copy:.1f} GB/s copying, {read:.1f} reading."
    )
    return f"{rates}\n\n{table_of(head, rows)}"


TABLES: dict[str, tuple[str, Callable[[Result], str]]] = {
    "epoch": ("epoch", epoch),
    "step": ("epoch", step),
    "accuracy": ("accuracy", accuracy),
    "lists": ("inference", lists),
    "latency": ("inference", latency),
    "scaling": ("scaling", scaling),
    "reading": ("reading", reading),
    "roof": ("roof", roof),
}


if __name__ == "__main__":
    main()
