"""Figures 3, 4 and 5, and that of the posterior's collapse: readable in print, and without colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, ScalarFormatter

from hyvae.files import written_whole
from hyvae.paper.printed import TITLES

# inches: the width of a page's text
WIDTH, HEIGHT = 7.0, 2.5
# Okabe, Ito (2008): told apart by people who see few colours; dashes and markers tell them apart in grey
BLUE, ORANGE, INK, GRID = "#0072b2", "#d55e00", "#222222", "#dddddd"
FORMATS = ("svg", "pdf", "png")
DPI = 200
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "hyvae",
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
WATERMARK = "QUICK LOOK · not results"

Points = Sequence[tuple[float, float]]


class Curve(NamedTuple):
    """A measure over the epochs, in training and on validation ratings."""

    training: Points
    validation: Points = ()


def losses(by_data: Mapping[str, Curve]) -> Figure:
    """Training loss over the epochs, a panel a data set; with the place from which a hundredth is gained no more."""
    figure, panels = _panels(1, len(by_data))
    for axes, (data, curve) in zip(panels[0], by_data.items(), strict=True):
        axes.plot(*_xy(curve.training), color=BLUE)
        axes.set(title=TITLES[data], xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        # or what is gained late could not be seen
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()
        at = plateau(curve.training)
        right = at < 0.6 * curve.training[-1][0]  # on the left there is the fall itself
        axes.axvline(at, color=ORANGE, linestyle="--", linewidth=1)
        axes.annotate(
            f"99 % of the fall\nat epoch {at:g}",
            (at, 0.6),
            xycoords=("data", "axes fraction"),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="top",
            fontsize=7.5,
            color=ORANGE,
        )
    panels[0][0].set_ylabel("squared error a user, log")
    return figure


def plateau(points: Points, share: float = 0.99) -> float:
    """The epoch at which this share of the whole fall of a loss is done."""
    first, least = points[0][1], min(value for _, value in points)
    return next(epoch for epoch, value in points if first - value >= share * (first - least))


def depths(by_data: Mapping[str, Mapping[int, Curve]]) -> Figure:
    """Training and validation error of DeepAE, a row a data set and a panel a depth, with the least of the latter."""
    rows = len(by_data)
    figure, panels = _panels(rows, len(next(iter(by_data.values()))), height=HEIGHT * 0.8 * rows + 0.4)
    for row, (data, by_layers) in zip(panels, by_data.items(), strict=True):
        for axes, (layers, curve) in zip(row, by_layers.items(), strict=True):
            axes.plot(*_xy(curve.training), color=BLUE, label="training")
            axes.plot(*_xy(curve.validation), "--", color=ORANGE, label="validation")
            epoch, least = lowest(curve.validation)
            axes.plot(epoch, least, "o", color=ORANGE, label="least validation error")
            # inside of the panel, whichever end of it the point is at
            side = "left" if epoch < curve.validation[-1][0] / 2 else "right"
            offset = (5 if side == "left" else -5, -5)
            axes.annotate(
                f"epoch {epoch:g}",
                (epoch, least),
                xytext=offset,
                textcoords="offset points",
                ha=side,
                va="top",
                fontsize=7.5,
                color=ORANGE,
            )
            if row is panels[0]:
                axes.set_title(f"{layers} hidden layers")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        row[0].set_ylabel(f"{TITLES[data]}\nsquared error")
        top = max(axes.get_ylim()[1] for axes in row)
        bottom = min(axes.get_ylim()[0] for axes in row)
        for axes in row:
            axes.set_ylim(bottom, top)
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def lowest(points: Points) -> tuple[float, float]:
    """Epoch and value of the least error."""
    return min(points, key=lambda point: point[1])


class Measured(NamedTuple):
    """What a model's posterior says, over β."""

    beta: Sequence[float]
    values: Mapping[str, Sequence[float]]


COLLAPSE = {
    "kl": "KL, nats a user",
    "active_share": "active units, share",
    "mutual_information": "I(x; z), nats",
    "change": "rise of RMSE\nwith another's z",
}


def collapse(by_data: Mapping[str, Mapping[str, Measured]], labels: Mapping[str, str]) -> Figure:
    """Measures of collapse over β, a row a measure and a panel a data set, VAE against Hy-VAE."""
    figure, panels = _panels(len(COLLAPSE), len(by_data), height=1.55 * len(COLLAPSE) + 0.4)
    looks = {"vae": (BLUE, "o-"), "both": (ORANGE, "s--")}
    for row, (measure, title) in zip(panels, COLLAPSE.items(), strict=True):
        for axes, (data, by_branches) in zip(row, by_data.items(), strict=True):
            for branches, found in by_branches.items():
                colour, line = looks[branches]
                axes.plot(found.beta, found.values[measure], line, color=colour, label=labels[branches])
            axes.set_xscale("log")
            betas = next(iter(by_branches.values())).beta
            axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
            axes.minorticks_off()
            # 0 is always seen, and nothing is cut off
            least, most = axes.get_ylim()
            axes.set_ylim(min(0.0, least), 1.05 if measure == "active_share" else max(most, 0.001) * 1.05)
            if row is panels[0]:
                axes.set_title(TITLES[data])
            if row is panels[-1]:
                axes.set_xlabel("β")
        row[0].set_ylabel(title)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def _panels(rows: int, columns: int, height: float = HEIGHT) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in panels]


def _xy(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def written(draw: Any, folder: Path, name: str, *, quick: bool) -> str:
    """Write a figure in all formats, each whole or not at all; its SVG text.

    Raises
    ------
    OSError
    """
    with style.context(["default", SETTINGS]):
        figure = draw()
        if quick:
            figure.text(
                0.5, 0.5, WATERMARK, ha="center", va="center", rotation=18, fontsize=24, color="#bbbbbb", alpha=0.6
            )
        for ending in FORMATS:
            with written_whole(folder / f"{name}.{ending}") as part, part.open("wb") as file:
                # no date, so that the same numbers give the same bytes
                date = {"Date": None} if ending == "svg" else {"CreationDate": None} if ending == "pdf" else None
                figure.savefig(file, format=ending, dpi=DPI, metadata=date)
    return (folder / f"{name}.svg").read_text(encoding="utf-8")
