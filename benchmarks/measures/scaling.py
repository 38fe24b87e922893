"""How a step's seconds and memory grow as users, items or ratings double and the others stay."""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from driver import Run, Worker, exported, interleaved, side
from synthetic import synthetic

BASE = {"users": 20_000, "items": 10_000, "ratings": 2_000_000}
BASE_QUICK = {"users": 1_500, "items": 1_000, "ratings": 40_000}
FACTORS = (1, 2, 4, 8)
FACTORS_QUICK = (1, 2)
BATCH_USERS = 500
# a single step of the default model is over before the processor has warmed up
STEPS_A_UNIT = 5
# of the default model a step is a pass over all ratings; of the paper's, a mini-batch, and seconds are an epoch's mean
MODELS: dict[str, dict[str, Any]] = {
    "two_sided": {"preset": "fast", "settings": {}},
    "one_sided": {"preset": "paper", "settings": {"fusion": "folded", "batch_users": BATCH_USERS}},
}


def measure(run: Run) -> dict[str, Any]:
    base = BASE_QUICK if run.quick else BASE
    result: dict[str, Any] = {"base": base, "batch_users": BATCH_USERS, "models": MODELS, "seed": 0}
    for axis in base:
        shapes = [{**base, axis: factor * base[axis]} for factor in (FACTORS_QUICK if run.quick else FACTORS)]
        for model in MODELS:
            print(f"  {model}, more {axis}", file=sys.stderr)
            result.setdefault(model, {})[axis] = _along(run, shapes, axis, MODELS[model])
    return result


def _along(run: Run, shapes: list[dict[str, int]], axis: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One axis: a process for each size, so that none profits from what another left."""
    one_sided = settings["preset"] == "paper"
    with ExitStack() as stack:
        workers = {}
        for shape in shapes:
            path = run.folder / "-".join(map(str, shape.values()))
            if not path.with_suffix(".npz").exists():
                exported(synthetic(*shape.values()), path.with_suffix(".npz"))
            data = {"data": str(path.with_suffix(".npz"))}
            name = f"{shape[axis]:,} {axis}"
            epochs = {"epochs_a_unit": 1 if one_sided else STEPS_A_UNIT}
            workers[name] = stack.enter_context(Worker("hyvae_epochs", {**data, **epochs, **settings}, run.folder))
        reports = interleaved({name: worker.unit for name, worker in workers.items()}, run.repeat)
    sizes = []
    for shape, (name, worker) in zip(shapes, workers.items(), strict=True):
        steps = math.ceil(shape["users"] / BATCH_USERS) if one_sided else STEPS_A_UNIT
        sizes.append({**shape, "steps_a_unit": steps, **side(reports[name], worker, 1 / steps)})
    first, second = (each["seconds"] for each in sizes[:2])
    return {
        "sizes": sizes,
        "exponent": {key: _exponent(sizes, axis, key) for key in ("median_seconds", "beyond_ratings_mib")},
        "first_doubling": median(b / a for a, b in zip(first, second, strict=True)),
        "doublings": [b["median_seconds"] / a["median_seconds"] for a, b in pairwise(sizes)],
    }


def _exponent(sizes: list[dict[str, Any]], axis: str, key: str) -> float:
    """p of size^p, by least squares on logarithms."""
    return float(np.polyfit(np.log([each[axis] for each in sizes]), np.log([each[key] for each in sizes]), 1)[0])
