"""The plots of docs/performance.md, which `benchmarks/report.py` draws, and of docs/accuracy.md.

Colours are Okabe and Ito's, which colour-blind people can tell apart; every series has a marker or a label too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

OURS, OTHERS, SECOND, THIRD, MUTED = "#0072B2", "#999999", "#D55E00", "#009E73", "#555555"
MARKERS = "os^D"
# inches
HEIGHT = 3.4
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hyvae",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
SYSTEMS = {
    "hyvae": "hyvae",
    "dense_twin": "dense twin, plain PyTorch",
    "hyvae_bfloat16": "hyvae, bfloat16",
    "recbole_multivae": "RecBole MultiVAE, z 256",
    "recbole_multivae_wide": "RecBole MultiVAE, z 512",
    "cornac_vaecf": "Cornac VAECF",
    "matmul": "blocked matmul + topk",
    "implicit": "implicit",
    "pandas_scipy": "pandas + scipy",
    "polars_and_mapping": "Polars, ids mapped, no matrix",
}
SETS = {"ml-1m": "ML-1M", "ml-25m-shape": "ML-25M's shape"}
MODELS = {"two_sided": "two-sided default", "one_sided": "one-sided, batch of 500"}
Result = dict[str, Any]


def seconds(value: float) -> str:
    """As many digits as a noisy clock deserves."""
    if value < 0.1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"


def drawn(path: Path, draw: Callable[[list[Axes], Result], None], panels: int, width: float, result: Result) -> None:
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(width, HEIGHT), layout="constrained")
        draw(list(figure.subplots(1, panels, squeeze=False)[0]), result)
        figure.savefig(path, metadata={"Date": None})


def bars(axes: Axes, names: list[str], values: list[float], labels: list[str]) -> None:
    """Horizontal bars from the top, ours in colour, each with its number."""
    colours = [OURS if name.startswith("hyvae") else OTHERS for name in names]
    axes.barh(range(len(names)), values, color=colours)
    axes.set_yticks(range(len(names)), [SYSTEMS[name] for name in names])
    axes.invert_yaxis()
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(left=False)
    for place, (value, label) in enumerate(zip(values, labels, strict=True)):
        axes.annotate(label, (value, place), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.35 * max(values))


def draw_epoch(panels: list[Axes], result: Result) -> None:
    for axes, (data, label) in zip(panels, SETS.items(), strict=True):
        systems = result[data]["systems"]
        values = [system["median_seconds"] for system in systems.values()]
        bars(axes, list(systems), values, [seconds(value) for value in values])
        axes.set_title(f"One epoch, {label}")


def draw_accuracy(panels: list[Axes], result: Result) -> None:
    (axes,) = panels
    plans = result["hyvae"].values()
    points = [(plan["seconds"], plan["test"]["rmse"]) for plan in plans]
    axes.plot(*zip(*points, strict=True), color=OURS, marker="o", label="hyvae, plans of 20 to 140 steps")
    for (name, peer), marker in zip(result["peers"].items(), MARKERS, strict=True):
        colour = SECOND if "myFM" in name else MUTED
        axes.plot(peer["seconds"], peer["test"]["rmse"], color=colour, marker=marker, linestyle="none", label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("test RMSE, ML-1M")
    axes.figure.legend(loc="outside right upper", fontsize=9)


def draw_scaling(panels: list[Axes], result: Result) -> None:
    base = result["base"]
    for axes, axis in zip(panels, base, strict=True):
        for model, colour, marker in (("two_sided", OURS, "o"), ("one_sided", SECOND, "s")):
            sizes = result[model][axis]["sizes"]
            factors = [each[axis] / base[axis] for each in sizes]
            relative = [each["median_seconds"] / sizes[0]["median_seconds"] for each in sizes]
            axes.plot(factors, relative, color=colour, marker=marker, label=MODELS[model])
        axes.plot(factors, factors, color=MUTED, linestyle=":", label="proportional")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(factors, [f"×{factor:g}" for factor in factors])
        axes.set_yticks(factors, [f"×{factor:g}" for factor in factors])
        axes.set_title(f"More {axis}")
        axes.set_ylabel("seconds a step")
    panels[0].legend(fontsize=9)


def draw_latency(panels: list[Axes], result: Result) -> None:
    (axes,) = panels
    names = list(result["fold_in"])
    for key, colour, marker in (("p50_ms", OURS, "o"), ("p99_ms", SECOND, "s")):
        values = [result["fold_in"][name][key] for name in names]
        axes.plot(range(len(names)), values, color=colour, marker=marker, label=key.removesuffix("_ms"))
    axes.set_xticks(range(len(names)), names)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PLAIN)
    axes.set_ylabel("milliseconds a request")
    axes.set_ylim(bottom=0.1)
    axes.legend()


def draw_roof(panels: list[Axes], result: Result) -> None:
    for axes, (data, kernels) in zip(panels, result["kernels"].items(), strict=True):
        values = [kernel["times_the_roof"] for kernel in kernels.values()]
        axes.barh(range(len(values)), values, color=[THIRD if value <= 3 else SECOND for value in values])
        axes.set_yticks(range(len(values)), list(kernels), fontsize=8)
        axes.invert_yaxis()
        axes.axvline(1, color=MUTED)
        axes.axvline(3, color=MUTED, linestyle=":")
        axes.set_title(f"{SETS[data]}: seconds / roof")
        axes.grid(False)


# name, the measure it is drawn from, how many panels it has, and its width in inches
FIGURES: dict[str, tuple[str, Callable[[list[Axes], Result], None], int, float]] = {
    "epoch": ("epoch", draw_epoch, 2, 9.5),
    "accuracy": ("accuracy", draw_accuracy, 1, 8.5),
    "latency": ("inference", draw_latency, 1, 5.5),
    "scaling": ("scaling", draw_scaling, 3, 12),
    "roof": ("roof", draw_roof, 2, 10.5),
}


def draw_reliability(panels: list[Axes], result: Result) -> None:
    """Shares that intervals hold, against the stated ones; and how far they are off."""
    held, off = panels
    looks = zip((OURS, SECOND, THIRD, MUTED, "#CC79A7", "#56B4E9"), ("o", "s", "^", "D", "v", "P"), strict=True)
    held.plot([0, 100], [0, 100], ":", color=MUTED)
    off.axhline(0, linestyle=":", color=MUTED)
    for (protocol, points), (colour, marker) in zip(result.items(), looks, strict=False):
        stated, observed = 100 * points[:, 0], 100 * points[:, 1]
        held.plot(stated, observed, marker=marker, markersize=4, color=colour, label=protocol)
        off.plot(stated, observed - stated, marker=marker, markersize=4, color=colour)
    held.set(xlabel="stated, %", ylabel="held, %")
    off.set(xlabel="stated, %", ylabel="held less stated, points")
    held.figure.legend(loc="outside right upper", fontsize=9)
