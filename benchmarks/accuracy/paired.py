"""A model's test errors on the canonical splits beside the strongest peer's, with paired differences.

    HYVAE_DATA=... .venv/bin/python benchmarks/accuracy/paired.py --peers FOLDER [--data DATA ...] [MODEL[:PRESET] ...]
    .venv/bin/python benchmarks/accuracy/paired.py --peers FOLDER --table

FOLDER holds `results.jsonl`, a line a run of the peer: data, seed, model, rmse, mae, um_rmse, um_mae. The training
seed is the split's. Kept in `results/DATA-MODEL-PRESET.json`, seed by seed; what is there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hyvae import Ratings, Recommender
from hyvae.evaluation import evaluate
from hyvae.evaluation.comparison import Estimate, mean_estimate, paired_difference

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
sys.path.append(str(HERE.parent))

from trials import read, write  # noqa: E402

SEEDS = {"flixster": 10, "douban": 5, "ml-1m": 5}
# where `evaluate` has what the peer's file calls so
MEASURES = {
    "rmse": ("pooled", "rmse"),
    "mae": ("pooled", "mae"),
    "um_rmse": ("user_mean", "rmse"),
    "um_mae": ("user_mean", "mae"),
}
# n_test/n_train of 80/10/10
TEST_SHARE = 1 / 8


def path_of(data: str, label: str) -> Path:
    return RESULTS / f"{data}-{label.replace(':', '-')}.json"


def run(data: str, label: str) -> None:
    """Train and test on every split that is not there yet."""
    name, _, preset = label.partition(":")
    path, ratings = path_of(data, label), Ratings.read(data)
    kept: dict[str, Any] = {"data": data, "model": label, "fingerprint": ratings.fingerprint, **read(path)}
    kept.pop("trials", None)
    kept["versions"] = {package: version(package) for package in ("hyvae", "torch", "numpy")}
    runs = kept.setdefault("runs", [])
    for seed in range(len(runs), SEEDS[data]):
        parts = ratings.split(seed=seed)
        recommender = Recommender(name, preset=preset or "default")
        recommender.fit(parts.train, parts.valid, seed=seed, progress=False)
        found = evaluate(recommender, parts.test)
        errors = {measure: found[where][key] for measure, (where, key) in MEASURES.items()}
        runs.append({"seed": seed, **errors, "seconds": round(recommender.training.seconds, 1)})
        write(path, kept)
        print(data, label, json.dumps(runs[-1]), flush=True)


def peers(folder: Path, data: str) -> list[dict[str, Any]]:
    """The peer's runs, by seed."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return sorted((line for line in lines if line["data"] == data), key=lambda line: line["seed"])


def table(folder: Path) -> None:
    """Means and paired differences to the peer, as Markdown."""
    print("| data | model | seeds | RMSE | peer | difference | MAE | difference | user-mean RMSE | difference | s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for path in sorted(RESULTS.glob("*.json")):
        kept = read(path)
        runs = kept["runs"]
        theirs = peers(folder, kept["data"])[: len(runs)]
        cells = [kept["data"], kept["model"], str(len(runs))]
        for measure in ("rmse", "mae", "um_rmse"):
            ours, other = [one[measure] for one in runs], [one[measure] for one in theirs]
            cells.append(f"{sum(ours) / len(ours):.4f}")
            if measure == "rmse":
                cells.append(f"{mean_estimate(other, TEST_SHARE).mean:.4f}")
            cells.append(shown(paired_difference(ours, other, TEST_SHARE)))
        cells.append(f"{sum(one['seconds'] for one in runs) / len(runs):.0f}")
        print(f"| {' | '.join(cells)} |")


def shown(difference: Estimate) -> str:
    """A difference with its corrected 95 % interval."""
    half = "" if difference.half_width is None else f" ± {difference.half_width:.4f}"
    return f"{difference.mean:+.4f}{half}"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("models", nargs="*", default=["hyvae:draws"])
    arguments.add_argument("--data", nargs="+", default=list(SEEDS))
    arguments.add_argument("--peers", type=Path, required=True)
    arguments.add_argument("--table", action="store_true")
    given = arguments.parse_args()
    if not given.table:
        for data in given.data:
            for model in given.models:
                run(data, model)
    table(given.peers)


if __name__ == "__main__":
    main()
