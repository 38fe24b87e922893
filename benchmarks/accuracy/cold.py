"""Errors for users, and for items, that training has never seen, against how many of their ratings are known.

    HYVAE_DATA=... .venv/bin/python benchmarks/accuracy/cold.py --data ml-1m [--side users items] [--systems SYSTEM ...]
    .venv/bin/python benchmarks/accuracy/cold.py --table

A tenth of the users (or items) with at least 63 ratings are held out of training whole. A fifth of their ratings are
targets, the same ones for every number of known ratings; known are the first 0, 1, 2, 5, 10, 20 and 50 of the others,
in random order. Systems of hyvae are told them by `Recommender.with_ratings`, without training; where a model cannot
take new items, its answer is the bias model's. myFM has their implicit features. What else is compared with elsewhere
in this folder cannot be asked about someone new without training again. Kept in
`results/cold/DATA-SIDE-SYSTEM.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from protocols import PROTOCOLS
from systems import KEPT, SWEEPS, errors, trained, versions

from hyvae import Ratings

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "cold"
KNOWN = (0, 1, 2, 5, 10, 20, 50)
# a fifth of these are targets, and 50 are left
FEWEST = 63
SYSTEMS = ("hyvae", "hyvae:fast", "mf", "autorec", "bias", "myfm:strong")
sys.path.append(str(HERE.parent))

from driver import exported, once  # noqa: E402
from peers import python_of  # noqa: E402
from trials import read, write  # noqa: E402


def parts_of(ratings: Ratings, side: str, seed: int = 0) -> tuple[Ratings, Ratings, dict[int, Ratings]]:
    """Training ratings, targets, and the known ratings of the held-out ones by their number."""
    draw = np.random.default_rng(seed)
    of, counts = {
        "users": (ratings.user_index, ratings.user_counts),
        "items": (ratings.indices, ratings.item_counts),
    }[side]
    eligible = np.flatnonzero(counts >= FEWEST)
    unseen = np.zeros(len(counts), bool)
    unseen[draw.permutation(eligible)[: len(eligible) // 10]] = True
    rows = draw.permutation(len(ratings))
    rows = rows[unseen[of[rows]]]
    rows = rows[np.argsort(of[rows], kind="stable")]
    # the place of each rating among those of its user or item, in random order
    start = np.concatenate([[0], np.flatnonzero(np.diff(of[rows])) + 1])
    place = np.arange(len(rows)) - np.repeat(start, np.diff(np.append(start, len(rows))))
    n_targets = counts[of[rows]] // 5
    known = {k: ratings.take(np.sort(rows[(place >= n_targets) & (place < n_targets + k)])) for k in KNOWN}
    return ratings.take(np.flatnonzero(~unseen[of])), ratings.take(np.sort(rows[place < n_targets])), known


def run(data: str, side: str, system: str) -> None:
    """Train once, and ask with ever more known ratings."""
    path = RESULTS / f"{data}-{side}-{system.replace(':', '-')}.json"
    if path.exists():
        return
    train, test, known = parts_of(Ratings.read(data), side)
    found: dict[str, Any] = {}
    if system == "myfm:strong":
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            files = {name: exported(part, place / f"{name}.npz") for name, part in (("train", train), ("test", test))}
            asked = {str(k): exported(part, place / f"known-{k}.npz") for k, part in known.items()}
            settings = {"rank": PROTOCOLS[data].rank, "sweeps": SWEEPS, "kept": KEPT, "seed": 0, "side": side}
            answer = once("myfm_unseen", {**files, **settings, "known": asked}, place, python_of("myfm"))
            found = {str(k): answer[str(k)] for k in KNOWN}
    else:
        split = train.split(seed=0)
        recommender = trained(system, split.train, split.valid, 0)
        recommender = recommender.with_ratings(split.test)
        for k, part in known.items():
            told = recommender.with_ratings(part) if len(part) else recommender
            found[str(k)] = errors(told.predict_ratings(test), test)
    about = {"data": data, "side": side, "system": system, "targets": len(test), "versions": versions(system)}
    write(path, {**about, "known": found})
    print(data, side, system, json.dumps({k: round(each["rmse"], 4) for k, each in found.items()}), flush=True)


def table() -> None:
    print(f"| data | never seen | targets | system | {' | '.join(map(str, KNOWN))} |")
    print("|---|---|---|---|" + "---|" * len(KNOWN))
    for path in sorted(RESULTS.glob("*.json")):
        kept = read(path)
        cells = [f"{kept['known'][str(k)]['rmse']:.4f}" for k in KNOWN]
        print(f"| {kept['data']} | {kept['side']} | {kept['targets']:,} | {kept['system']} | {' | '.join(cells)} |")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--systems", nargs="+", default=list(SYSTEMS))
    arguments.add_argument("--data", nargs="+", default=["ml-1m"])
    arguments.add_argument("--side", nargs="+", default=["users", "items"])
    arguments.add_argument("--table", action="store_true")
    given = arguments.parse_args()
    if given.table:
        table()
        return
    for data in given.data:
        for side in given.side:
            for system in given.systems:
                run(data, side, system)


if __name__ == "__main__":
    main()
