"""The figures of a report as SVG text: small, coloured by the page, and the same bytes for the same numbers."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

P = ParamSpec("P")
Points = Sequence[tuple[float, float]]

# one unit is one pixel where a figure is as wide as it was drawn: a column of the page, or a telephone
WIDTH, HEIGHT = 340, 240
# stand-ins that no drawing needs for itself: the page's custom properties take their place, so that a theme restyles
INK, MUTED, GRID, MODEL, BIAS, HELD_OUT = (f"#0102{k:02x}" for k in range(6))
COLOURS = {INK: "ink", MUTED: "muted", GRID: "grid", MODEL: "model", BIAS: "bias", HELD_OUT: "held-out"}
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hyvae",
    # comes with matplotlib, so that every machine lays out the same; the page's own fonts are narrower
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "ytick.left": False,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.25,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
# ratings of more values than this are put into as many bins as fit the width
MOST_LEVELS = 20
# points of a line: more than the pixels it has would only make the page heavy
MOST_POINTS = 300


# matplotlib's settings are those of the whole process
_ONE_AT_A_TIME = threading.Lock()


def _drawn(draw: Callable[Concatenate[Axes, P], None]) -> Callable[P, str]:
    """Turn a function that draws on axes into one that gives SVG text."""

    @wraps(draw)
    def svg(*args: P.args, **kwargs: P.kwargs) -> str:
        with _ONE_AT_A_TIME, style.context(["default", SETTINGS]):
            figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
            draw(figure.add_subplot(), *args, **kwargs)
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None})
        return inlined(out.getvalue())

    return svg


def inlined(svg: str) -> str:
    """Take from a file what a page has already, or must not have: prolog, links, styles, fonts, unused ids."""
    svg = re.sub(r"(?s)<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :])
    svg = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"| width="[\d.]+pt" height="[\d.]+pt"', "", svg)
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r"#([\w.]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r' font-family: [^;"]*;| transform="rotate\(-0 [^"]*"', "", svg)
    for colour, name in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")


@_drawn
def histogram(axes: Axes, values: NDArray[np.float32], scale: tuple[float, float]) -> None:
    """How many ratings there are of each level (or bin)."""
    centres, inside = levels(values, scale)
    axes.bar(centres, np.bincount(inside, minlength=len(centres)), width=0.8 * _gap(centres), color=MODEL)
    _ticks(axes, centres)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: _short(count)))
    axes.set(title="ratings", xlabel="rating")


@_drawn
def spread(axes: Axes, counts: Mapping[str, NDArray[np.int64]]) -> None:
    """For each kind, the share that has at most so many ratings."""
    share = np.linspace(0, 1, 101)
    for (kind, values), colour, dashes in zip(counts.items(), (MODEL, BIAS), ("-", "--"), strict=False):
        axes.plot(np.quantile(values, share), 100 * share, dashes, color=colour, label=kind)
    axes.set_xscale("log")
    together = np.concatenate(list(counts.values()))
    decades = together.max() >= 100 * together.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _short(count)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(title="% with at most", xlabel="… this many ratings", ylim=(0, 102))
    _legend(axes)


@_drawn
def curves(axes: Axes, title: str, training: Points, held_out: Points, bias: float | None, kept: int | None) -> None:
    """A measure over the epochs, on training and on validation ratings.

    Parameters
    ----------
    training, held_out : (epoch, value) pairs
        Either may be empty.
    bias : float, optional
        The bias model's value.
    kept : int, optional
        The epoch whose weights the run holds.
    """
    lines = (("training", training, MODEL, "-"), ("validation", held_out, HELD_OUT, "--"))
    for label, points, colour, dashes in lines:
        if points:
            every = -(-len(points) // MOST_POINTS)
            x, y = zip(*[*points[:-1:every], points[-1]], strict=True)
            axes.plot(x, y, dashes, color=colour, label=label, marker="o" if len(x) <= 40 else "", markersize=3.5)
    if bias is not None:
        axes.axhline(bias, color=BIAS, linestyle=":", label="bias model")
    for epoch, value in held_out:
        if epoch == kept:
            axes.plot(epoch, value, "o", color=HELD_OUT, markersize=10, fillstyle="none", label="kept")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # in full: an exponent apart from its numbers would stand where the title is
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.margins(y=0.1)
    axes.set(title=title, xlabel="epoch")
    _legend(axes)


@_drawn
def latent_units(axes: Axes, kl: NDArray[np.float64], threshold: float) -> None:
    """KL of each latent unit, largest first, those above `threshold` in colour."""
    ranked = np.sort(kl)[::-1]
    telling = int((ranked > threshold).sum())
    # bars with gaps as long as there is room for them, and of several units where they have less than a pixel
    gap, every = 0.1 if len(ranked) <= WIDTH // 4 else 0.0, -(-len(ranked) // MOST_POINTS)
    for start, stop, colour, label in ((0, telling, MODEL, "above"), (telling, len(ranked), MUTED, "below")):
        if start < stop:
            # one path for all bars: between two of them a step of height 0
            left = np.arange(start, stop, every)
            edges = np.column_stack([left + 0.5 + gap, np.minimum(left + every, stop) + 0.5 - gap]).ravel()
            heights = np.column_stack([ranked[left], np.zeros(len(left))]).ravel()[:-1]
            axes.stairs(heights, edges, fill=True, color=colour, label=label)
    axes.axhline(threshold, color=INK, linestyle=":", linewidth=1, label=f"{threshold:g} nats")
    axes.set(title="nats", xlabel="latent unit, by rank", xlim=(0.5, len(ranked) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes)


@_drawn
def agreement(
    axes: Axes, ratings: NDArray[np.float32], predictions: NDArray[np.float32], scale: tuple[float, float]
) -> None:
    """The distribution of the predictions at each true level (or bin), and where they would agree."""
    centres, inside = levels(ratings, scale)
    groups = [predictions[inside == k] for k in range(len(centres))]
    low, lower, upper, high = np.transpose([np.quantile(group, (0.05, 0.25, 0.75, 0.95)) for group in groups])
    axes.plot(centres[[0, -1]], centres[[0, -1]], "--", color=MUTED)
    axes.vlines(centres, low, high, color=MODEL, linewidth=1.5, label="90 % of them")
    axes.vlines(centres, lower, upper, color=MODEL, linewidth=7, label="half")
    axes.plot(centres, [group.mean() for group in groups], "o", color=BIAS, markersize=5, label="mean")
    _ticks(axes, centres)
    axes.set(title="predicted", xlabel="true rating")
    _legend(axes)


@_drawn
def reliability(axes: Axes, points: Points) -> None:
    """Share of the test ratings that intervals of each stated share hold, and where both would agree."""
    stated, observed = np.transpose(np.array(points)) * 100
    axes.plot([0, 100], [0, 100], "--", color=MUTED)
    axes.plot(stated, observed, "o-", color=MODEL, markersize=4)
    axes.set(title="held, %", xlabel="stated, %", xlim=(0, 100), ylim=(0, 100))


@_drawn
def grouped_errors(axes: Axes, rows: Sequence[Mapping[str, Any]], xlabel: str, with_bias: bool) -> None:
    """RMSE of each group of test ratings, the bias model's beside."""
    place = np.arange(len(rows))
    series = [("rmse", "model", MODEL)] + ([("bias_rmse", "bias model", BIAS)] if with_bias else [])
    width = 0.8 / len(series)
    for k, (key, label, colour) in enumerate(series):
        heights = [row[key] for row in rows]
        axes.bar(place + (k - (len(series) - 1) / 2) * width, heights, width, color=colour, label=label)
    axes.set_xticks(place, [f"{group_label(row)}\n{_short(row['ratings'])}" for row in rows])
    axes.tick_params(axis="x", length=0)
    # room for four groups at least: a few bars would fill the width like walls
    room = max(4 - len(rows), 0) / 2
    axes.set(title="RMSE", xlabel=xlabel, xlim=(-0.6 - room, len(rows) - 0.4 + room))
    _legend(axes)


def levels(values: NDArray[np.float32], scale: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The levels that occur, or of many the centres of the bins that are not empty; and the level of each value."""
    found, inside = np.unique(values.astype(np.float64), return_inverse=True)
    if len(found) <= MOST_LEVELS:
        return found, inside
    width = (scale[1] - scale[0]) / MOST_LEVELS
    bins = ((values - scale[0]) / width).astype(np.int64).clip(0, MOST_LEVELS - 1)
    filled, inside = np.unique(bins, return_inverse=True)
    return scale[0] + (filled + 0.5) * width, inside


def group_label(row: Mapping[str, Any]) -> str:
    """How far a group of `hyvae.evaluation.evaluate` reaches."""
    if row["to"] is None:
        return f">{row['from'] - 1}"
    return f"≤{row['to']}" if row["to"] else "0"


def _gap(centres: NDArray[np.float64]) -> float:
    return float(np.diff(centres).min()) if len(centres) > 1 else 1.0


def _ticks(axes: Axes, centres: NDArray[np.float64]) -> None:
    axes.tick_params(axis="x", length=0)
    if len(centres) <= MOST_LEVELS // 2:
        axes.set_xticks(centres, [f"{centre:g}" for centre in centres])
    if len(centres) == 1:
        axes.set_xlim(centres[0] - 2, centres[0] + 2)


def _legend(axes: Axes) -> None:
    """On the line of the title, from the right."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(labels), handletextpad=0.4)


def _short(count: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:g}"
