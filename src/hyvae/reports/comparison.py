"""A comparison as Markdown and as one HTML page, and its table as all of them (and a terminal) show it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hyvae.errors import DataError
from hyvae.evaluation import Comparison
from hyvae.evaluation.comparison import METRICS, SECONDS, Estimate, Line, Metric
from hyvae.files import cannot_be_written, place_of, written_whole
from hyvae.reports.html import card, document, figure, section, strong, table, text

JSON, MARKDOWN, PAGE = "comparison.json", "comparison.md", "comparison.html"
# columns of the short table; the chief metric has its interval there, the others in the tables of all
SHORT = ("rmse", "mae", "user_rmse", "ndcg", "seconds")
DASH = "–"
# a line must not break there
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
# of the drawing, in pixels where it is as wide as it was drawn
WIDTH, ROW, LEFT, RIGHT, LABEL = 440, 26, 140, 320, 20


class Shown(NamedTuple):
    """A cell of a table, and whether it is the best of its column."""

    text: str
    best: bool = False


# -- the table ------------------------------------------------------------------------------------------


def short_table(comparison: Comparison) -> tuple[list[str], list[list[Shown]]]:
    """Heads and rows: the models, best first, with what matters most; the first cell of a row is the model."""
    summary = comparison.summary
    chief = summary.chief
    metrics = [metric for metric in METRICS if metric.key in SHORT]
    best = {metric.key: summary.best(metric) for metric in metrics}
    rows = []
    for line in summary.lines:
        cells = [Shown(line.model, line.model in best[chief.key])]
        for metric in metrics:
            shown = _mean(line, metric, with_interval=metric is chief)
            cells.append(Shown(shown, line.model in best[metric.key]))
        cells += _difference(line, chief, summary.reference)
        rows.append(cells)
    return ["model", *(_title(comparison, metric) for metric in metrics), f"Δ {_title(comparison, chief)}", "p"], rows


def explanation(comparison: Comparison) -> str:
    """What the intervals and differences mean."""
    seeds, reference = comparison.seeds, comparison.summary.reference
    difference = f"Δ is the difference to {reference}, each model trained and tested on the identical rows"
    if seeds == 1:
        return f"One split, so there are no intervals and no p. {difference}."
    if comparison.same_test:
        means = f"Means over {seeds} training seeds, all on one and the same test part"
        meaning = "Student’s t over the seeds: they tell of the training’s chance alone, not of other data"
    else:
        means = f"Means over {seeds} {comparison.split} splits"
        meaning = "Student’s t, its variance corrected for splits that share data (Nadeau and Bengio, 2003)"
    return (
        f"{means} ± half of their 95 % confidence intervals ({meaning}). {difference}, with the interval of the paired "
        "differences; p is two-sided, and not corrected for the number of models."
    )


def _title(comparison: Comparison, metric: Metric) -> str:
    return metric.title.format(k=comparison.k)


def _mean(line: Line, metric: Metric, with_interval: bool = True) -> str:
    estimate = line.means.get(metric.key)
    if estimate is None:
        return DASH
    return _number(estimate, _places(metric), with_interval=with_interval)


def _difference(line: Line, metric: Metric, reference: str) -> list[Shown]:
    estimate = line.differences.get(metric.key)
    if line.model == reference:
        return [Shown("reference"), Shown(DASH)]
    if estimate is None:
        return [Shown(DASH), Shown(DASH)]
    return [Shown(_number(estimate, _places(metric), signed=True)), Shown(_p(estimate.p))]


def _number(estimate: Estimate, places: int, *, signed: bool = False, with_interval: bool = True) -> str:
    mean = f"{estimate.mean:{'+' if signed else ''},.{places}f}".replace("-", "−")
    half = estimate.half_width
    return f"{mean}{PLUS_MINUS}{half:,.{places}f}" if with_interval and half is not None else mean


def _places(metric: Metric) -> int:
    return 2 if metric is SECONDS else 4


def _p(p: float | None) -> str:
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


# -- all metrics, and where they come from --------------------------------------------------------------


def _all_means(comparison: Comparison, mark: Callable[[str], Any]) -> list[list[Any]]:
    best = {metric.key: comparison.summary.best(metric) for metric in METRICS}
    rows = []
    for line in comparison.summary.lines:
        cells = [(metric, _mean(line, metric)) for metric in METRICS]
        marked = [mark(shown) if line.model in best[metric.key] else shown for metric, shown in cells]
        rows.append([line.model, *marked])
    return rows


def _all_differences(comparison: Comparison) -> list[list[str]]:
    reference = comparison.summary.reference
    return [
        [line.model, *(_difference(line, metric, reference)[0].text for metric in METRICS)]
        for line in comparison.summary.lines
        if line.model != reference
    ]


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    provenance = comparison.provenance
    for key in ("source", "data_fingerprint", "ratings", "users", "items"):
        if key in provenance:
            value = provenance[key]
            yield key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)
    yield "split", comparison.split
    yield "split seeds", provenance["split"]["seeds"]
    yield "training seed", provenance["training_seed"]
    if not comparison.same_test and comparison.seeds > 1:
        yield "test / training", f"{comparison.test_share:.4f}"
    for label, contestant in comparison.contestants.items():
        if contestant.settings:
            yield f"settings of {label}", ", ".join(f"{key}={value}" for key, value in contestant.settings.items())
    for key, value in provenance["computed_with"].items():
        yield key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if "command" in provenance:
        yield "command", shlex.join(map(str, provenance["command"]))


def _heading(comparison: Comparison, show: Callable[[str], str] = str) -> str:
    n = len(comparison.cells)
    return f"{n} model{'s' * (n > 1)} on {show(comparison.provenance.get('source', 'ratings'))}"


# -- Markdown -------------------------------------------------------------------------------------------


def markdown(comparison: Comparison) -> str:
    """Tables and provenance; the best of each column is bold."""
    heads, rows = short_table(comparison)
    titles = ["model", *(_title(comparison, metric) for metric in METRICS)]
    marked = [[_bold(cell.text) if cell.best else cell.text for cell in row] for row in rows]
    parts = [
        f"# {_heading(comparison, _code)}",
        _markdown_table(heads, marked),
        explanation(comparison),
        "## All metrics",
        _markdown_table(titles, _all_means(comparison, _bold)),
    ]
    differences = _all_differences(comparison)
    if differences:
        title = f"## All differences to {comparison.summary.reference}"
        parts += [title, _markdown_table(titles, differences)]
    facts = "\n".join(f"- {name}: {_code(value)}" for name, value in _facts(comparison))
    return "\n\n".join([*parts, "## Provenance", facts]) + "\n"


def _bold(shown: str) -> str:
    return f"**{shown}**"


def _code(value: str) -> str:
    # a file's name, or a command, may hold what Markdown would take for its own
    line = " ".join(value.split())
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def _markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    # no column escapes: models and metrics are words of ours
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


# -- HTML -----------------------------------------------------------------------------------------------


def html(comparison: Comparison) -> str:
    """One page: no script, no network."""
    heads, rows = short_table(comparison)
    titles = ("model", *(_title(comparison, metric) for metric in METRICS))
    marked = [[strong(cell.text) if cell.best else cell.text for cell in row] for row in rows]
    note = f'<p class="note">{text(explanation(comparison))} Bold: the best of a column.</p>'
    tables = [card("Means", table("Means", _all_means(comparison, strong), titles, whole=True))]
    differences = _all_differences(comparison)
    if differences:
        name = f"Differences to {comparison.summary.reference}"
        tables.append(card(name, table(name, differences, titles, whole=True)))
    facts = card("The numbers", table("Provenance", _facts(comparison)))
    return document(
        _heading(comparison),
        f"<header><h1>{text(_heading(comparison))}</h1></header>",
        _full_width(
            "results", "Results", f'<div class="card">{table("Results", marked, heads, whole=True)}</div>', note
        ),
        _forest(comparison),
        _full_width("metrics", "All metrics", *tables),
        _full_width("provenance", "Provenance", facts),
    )


def _full_width(name: str, title: str, *parts: str) -> str:
    """A section whose parts stand below each other: a table with intervals is wider than a column of the page."""
    grid = f'<div class="grid" style="grid-template-columns:minmax(0,1fr)">{"".join(parts)}</div>'
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>{grid}</section>'


def _forest(comparison: Comparison) -> str:
    """The differences in the chief metric with their intervals, against the line of no difference."""
    summary = comparison.summary
    chief, reference = summary.chief, summary.reference
    shown = [
        (line.model, line.differences[chief.key])
        for line in summary.lines
        if chief.key in line.differences and line.model != reference
    ]
    if not shown:
        return ""
    ends = [end for _, of in shown for end in (of.mean, of.low, of.high) if end is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    scale = (RIGHT - LEFT) / ((high - low) or 1.0)

    def x(value: float) -> str:
        return f"{LEFT + (value - low) * scale:.1f}"

    height = ROW * len(shown) + 8
    ink, accent = 'style="fill:var(--ink)" font-size="12"', "var(--model)"
    drawn = [
        f'<line x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height}" style="stroke:var(--muted)" stroke-dasharray="4 3"></line>'
    ]
    for row, (model, of) in enumerate(shown):
        y = row * ROW + ROW // 2 + 4
        name = model if len(model) <= LABEL else f"{model[: LABEL - 1]}…"
        drawn.append(f'<text x="0" y="{y + 4}" {ink}>{text(name)}</text>')
        if of.low is not None and of.high is not None:
            drawn.append(
                f'<line x1="{x(of.low)}" x2="{x(of.high)}" y1="{y}" y2="{y}" style="stroke:{accent}" '
                'stroke-width="2"></line>'
            )
        drawn.append(f'<circle cx="{x(of.mean)}" cy="{y}" r="4.5" style="fill:{accent}"></circle>')
        value = _number(of, _places(chief), signed=True)
        drawn.append(f'<text x="{WIDTH}" y="{y + 4}" text-anchor="end" {ink}>{text(value)}</text>')
    svg = f'<svg viewBox="0 0 {WIDTH} {height}">{"".join(drawn)}</svg>'
    title = _title(comparison, chief)
    interval = " with its 95 % confidence interval" if comparison.seeds > 1 else ""
    side = "right" if chief.lower_is_better else "left"
    caption = (
        f"{title} of each model less that of {reference}{interval}. The dashed line is {reference}; what is to the "
        f"{side} of it is worse."
    )
    return section("chance", "More than chance?", figure("differences", f"Difference in {title}", svg, caption))


# -- files ----------------------------------------------------------------------------------------------


def write_comparison(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write comparison.json, .md and .html into a folder, each whole or not at all.

    Raises
    ------
    DataError
        One cannot be written.
    """
    target = place_of(folder)
    contents: Mapping[str, str] = {
        JSON: json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n",
        MARKDOWN: markdown(comparison),
        PAGE: html(comparison),
    }
    written = []
    for name, content in contents.items():
        file = target / name
        try:
            target.mkdir(parents=True, exist_ok=True)
            with written_whole(file) as part:
                part.write_text(content, encoding="utf-8")
        except OSError as error:
            raise DataError(cannot_be_written(file, error)) from error
        written.append(file)
    return written
