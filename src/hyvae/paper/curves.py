"""Figures 3, 4 and 5: how VAE and DeepAE train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from hyvae.evaluation.cells import Cell
from hyvae.paper import figures
from hyvae.paper.blocks import DASH, Part, Picture, Table, number, percent
from hyvae.paper.cells import Cells
from hyvae.paper.experiments import BRANCHES, CURVE_BRANCHES, Plan, Training, curves, depths
from hyvae.paper.printed import TITLES


def curve(cell: Cell, part: str) -> figures.Curve:
    """A part of the loss over the epochs."""
    rows = cell.curves or []
    columns = f"loss_{part}", f"valid_{part}"
    return figures.Curve(*([(row["epoch"], row[c]) for row in rows if row.get(c) is not None] for c in columns))


# -- Figures 3 and 4 ------------------------------------------------------------------------------------


def wanted_for_curve(plan: Plan, name: str) -> list[Training]:
    """Trainings behind Fig. 3 or 4."""
    return list(curves(plan, CURVE_BRANCHES[name]).values())


def loss_figure(plan: Plan, cells: Cells, name: str) -> Part:
    """Fig. 3 or 4: training loss of one branch alone."""
    branches = CURVE_BRANCHES[name]
    trainings = curves(plan, branches)
    drawn = {data: curve(cells[training], "rec") for data, training in trainings.items()}
    label = BRANCHES[branches]
    rows = [_fall(TITLES[data], found.training) for data, found in drawn.items()]
    table = Table(
        f"{name}-fall",
        "How the loss falls",
        ("data", "epochs", "first", "last", "99 % of the fall at", "fall in the last third"),
        rows,
    )
    title = f"Fig. {name[-1]}: training loss of {label}"
    caption = (
        f"{title}: squared error of the training ratings, summed over a user's, averaged over users, in training mode. "
        f"{said(next(iter(trainings.values())))} Dashed: where 99 % of the whole fall is done."
    )
    picture = Picture(name, title, caption, partial(figures.losses, drawn))
    return Part(name, title, [picture, table, _PLATEAU])


_PLATEAU = (
    "The paper says that the VAE gets stuck while DeepAE still improves slowly (Fig. 3 against Fig. 4): then the VAE's "
    "share of the fall in the last third is the smaller one, and its 99 % are reached earlier."
)


def _fall(title: str, points: figures.Points) -> list[str]:
    first, last = points[0][1], points[-1][1]
    third = points[-1 - len(points) // 3][1]
    fall = first - min(value for _, value in points)
    share = DASH if fall <= 0 else percent((third - last) / fall, 2)
    return [title, f"{len(points):,}", number(first, 2), number(last, 2), f"epoch {figures.plateau(points):g}", share]


def said(training: Training) -> str:
    """A sentence that says what was trained."""
    settings = ", ".join(f"{key}={value}" for key, value in training.settings.items())
    return f"Model {training.model}, preset {training.preset}, with {settings}; split seed 0, training seed 0."


# -- Figure 5 -------------------------------------------------------------------------------------------


def wanted_for_depths(plan: Plan) -> list[Training]:
    """Trainings behind Fig. 5."""
    return [training for by_layers in depths(plan).values() for training in by_layers.values()]


def depth_figure(plan: Plan, cells: Cells) -> Part:
    """Fig. 5: training and validation error of DeepAE by its number of hidden layers."""
    trainings = depths(plan)
    drawn = {
        data: {layers: curve(cells[training], "rec") for layers, training in by_layers.items()}
        for data, by_layers in trainings.items()
    }
    rows: list[list[str]] = []
    turns: dict[str, list[float]] = {}
    for data, by_layers in drawn.items():
        for layers, found in by_layers.items():
            epoch, least = figures.lowest(found.validation)
            end, last = found.validation[-1]
            turned = epoch < end
            turns.setdefault(data, []).append(epoch if turned else math.inf)
            widths = trainings[data][layers].settings
            shape = "-".join(map(str, (*widths["hidden"], widths["latent"], *reversed(widths["hidden"]))))
            at = f"epoch {epoch:g}" if turned else f"not within {end:g}"
            rows.append([f"{TITLES[data]}, {layers}", shape, at, number(least), number(last)])
    columns = ("data, hidden layers", "widths", "validation turns at", "least", "at the end")
    earlier = sum(_falls(epochs) for epochs in turns.values())
    verdict = (
        "The paper says that the deeper the model is, the earlier validation turns. Here each deeper one turns before "
        f"the one less deep on {earlier} of {len(turns)} data sets, with one training a depth."
    )
    first = next(iter(next(iter(trainings.values())).values()))
    title = "Fig. 5: DeepAE with 3, 5 and 7 hidden layers"
    caption = (
        f"{title}: mean squared error of training and validation ratings, less the bias model's effects, without "
        f"dropout and without L2. {said(first)} Widths are in the table; validation is in answering mode."
    )
    picture = Picture("fig5", title, caption, partial(figures.depths, drawn))
    return Part("fig5", title, [picture, Table("fig5-turns", "Where validation turns", columns, rows), verdict])


def _falls(values: Sequence[float]) -> bool:
    return all(a > b for a, b in pairwise(values))
