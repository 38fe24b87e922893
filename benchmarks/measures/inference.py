"""Lists of ten for all users of ML-1M, and the latency of someone never seen as items grow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np
from driver import Run, Worker, exported, interleaved, names_of, once, ratio, side
from peers import python_of, versions_of
from synthetic import synthetic

from hyvae.ratings import Ratings

#: users, items and ratings of the sets on which latency is measured beside ML-1M
LARGER = {"60k items": (20_000, 60_000, 2_000_000), "1M items": (20_000, 1_000_000, 3_000_000)}
LARGER_QUICK = {"5k items": (2_000, 5_000, 80_000)}


def measure(run: Run) -> dict[str, Any]:
    split = Ratings.read("movielens-small" if run.quick else "ml-1m").split(seed=0)
    data = {
        name: exported(part, run.folder / f"{name}.npz")
        for name, part in (("train", split.train), ("valid", split.valid), ("test", split.test))
    }
    saved = str(run.folder / "run")
    print("  fitting HyVAE(preset=fast)", file=sys.stderr)
    fitted = once("hyvae_fit", {**data, "plan": {"epochs": 5} if run.quick else {}, "save": saved}, run.folder)
    return {
        **_lists(run, split.train, data["train"], saved),
        "fold_in": _latency(run, data["train"], saved, split.train.n_items),
        "model": {"test": fitted["test"], "settings": 'HyVAE(preset="fast")'},
        "versions": {"implicit": names_of(versions_of(python_of("implicit")), ("implicit", "numpy", "scipy"))},
        "seed": 0,
    }


def _lists(run: Run, train: Ratings, data: str, saved: str) -> dict[str, Any]:
    folder = {"folder": str(run.folder)}
    with ExitStack() as stack:
        ours = stack.enter_context(Worker("hyvae_rank", {"run": saved, **folder}, run.folder))
        python = python_of("implicit")
        # its own products are threaded, and it warns of threads within threads
        calm = {"OPENBLAS_NUM_THREADS": "1"}
        peer = stack.enter_context(Worker("implicit_rank", {"train": data, **folder}, run.folder, python, calm))
        ranking = interleaved(
            {
                "hyvae": lambda: ours.unit("best_items"),
                "matmul": lambda: ours.unit("matmul"),
                "implicit": lambda: peer.unit("recommend"),
            },
            run.repeat,
        )
        whole = interleaved(
            {"hyvae": lambda: ours.unit("histories"), "implicit": lambda: peer.unit("histories")}, run.repeat
        )
    workers = {"hyvae": ours, "implicit": peer}

    def compared(reports: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        sides = {name: side(each, workers.get(name)) for name, each in reports.items()}
        for each in sides.values():
            each["users_a_second"] = train.n_users / each["median_seconds"]
        return {
            "systems": sides,
            "ratios": {name: ratio(each, sides["hyvae"]) for name, each in sides.items() if name != "hyvae"},
        }

    return {
        "shape": [train.n_users, train.n_items, len(train)],
        "width": ours.ready["width"],
        "from_codes": {**compared(ranking), "agreement": _agreement(run)},
        "from_histories": compared(whole),
    }


def _agreement(run: Run) -> dict[str, Any]:
    """Whether all ways give the same lists: the share of places with the same item, and how far scores then differ."""
    with np.load(run.folder / "factors.npz") as file:
        users, items = file["users"].astype(np.float64), file["items"].astype(np.float64)
    ours = np.load(run.folder / "best_items.npy")

    def scores(lists: np.ndarray) -> np.ndarray:
        return np.einsum("uk,unk->un", users, items[lists])

    found = {}
    for name in ("matmul", "implicit"):
        lists = np.load(run.folder / f"{name}.npy")
        difference = float(np.abs(scores(lists) - scores(ours)).max())
        # other items at equal scores are ties, up to the rounding of float32
        if difference > 1e-4:
            raise RuntimeError(f"the lists of {name} are not hyvae's: scores differ by {difference:.3g}")
        found[name] = {"same_places": float((lists == ours).mean()), "largest_score_difference": difference}
    return found


def _latency(run: Run, data: str, saved: str, n_items: int) -> dict[str, Any]:
    with ExitStack() as stack:
        settings: dict[str, dict[str, Any]] = {f"{n_items / 1000:.1f}k items": {"data": data, "run": saved}}
        for name, shape in (LARGER_QUICK if run.quick else LARGER).items():
            ratings = synthetic(*shape, exponent=1.0)
            settings[name] = {"data": exported(ratings, run.folder / f"{name}.npz".replace(" ", "-")), "run": None}
        units: dict[str, Callable[[], dict[str, Any]]] = {}
        for name, each in settings.items():
            print(f"  fold-in: preparing {name}", file=sys.stderr)
            units[name] = stack.enter_context(Worker("hyvae_fold_in", each, run.folder)).unit
        reports = interleaved(units, run.repeat)
    return {
        name: {
            **{key: median(report[key] for report in each) for key in ("p50_ms", "p99_ms")},
            "rounds": [{key: report[key] for key in ("p50_ms", "p99_ms")} for report in each],
            "requests_a_round": 300,
            "ratings_a_request": 20,
        }
        for name, each in reports.items()
    }
