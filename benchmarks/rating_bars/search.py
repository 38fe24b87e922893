"""The same random search for every rating model, against the errors that the paper reports for it (Table II and III).

    HYVAE_DATA=... .venv/bin/python benchmarks/rating_bars/search.py [--data DATA ...] [MODEL ...]
    .venv/bin/python benchmarks/rating_bars/search.py --table
    .venv/bin/python benchmarks/rating_bars/search.py --tuned   # what is chosen, as hyvae.paper has it

20 trials a model and data set, trial 0 the default preset, each trained on the training part of `Ratings.split(seed=0)`
and judged by the pooled RMSE of its validation part. The chosen settings are then trained on the splits of seeds
0, 1, 2 and tested, once. Kept in `results/DATA-MODEL.json`, trial by trial;
`results/earlier` has the searches of other spaces that came before, each told in the file by its trials' settings.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import spaces

from hyvae import Ratings, Recommender
from hyvae.errors import TrainingError
from hyvae.evaluation import evaluate

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
TUNED = HERE.parents[1] / "src" / "hyvae" / "paper" / "tuned.json"
sys.path.append(str(HERE.parent))

from trials import read, search, write  # noqa: E402

SEEDS = (0, 1, 2)
# pooled RMSE as the paper has it: Table II, and Table III for DeepAE; it has no PMF
BARS: dict[str, dict[str, float]] = {
    "ml-1m": {"macrid_vae": 1.159, "mult_dae": 0.921, "cdae": 0.839, "mult_vae": 0.864, "autorec": 0.842}
    | {"rec_vae": 0.856, "deep_ae": 0.845, "hyvae:paper": 0.807},
    "douban": {"macrid_vae": 1.379, "mult_dae": 0.846, "cdae": 0.780, "mult_vae": 0.877, "autorec": 0.772}
    | {"rec_vae": 0.744, "deep_ae": 0.750, "hyvae:paper": 0.738},
    "flixster": {"macrid_vae": 1.176, "mult_dae": 0.933, "cdae": 0.932, "mult_vae": 0.927, "autorec": 0.910}
    | {"rec_vae": 0.908, "deep_ae": 0.933, "hyvae:paper": 0.874},
}


def path_of(data: str, model: str) -> Path:
    return RESULTS / f"{data}-{model.replace(':', '-')}.json"


def fitted(model: str, settings: dict[str, Any], parts: Any, seed: int) -> Recommender:
    name, _, preset = model.partition(":")
    if not preset:
        # the default of then; it is estimated from the ratings now
        settings = {"bias_shrinkage": 5.0, **settings}
    # searched in raw units, as the papers are
    return Recommender(name, preset=preset or "default", **{"units": "raw", **settings}).fit(
        parts.train, parts.valid, seed=seed, progress=False
    )


def best(kept: dict[str, Any]) -> dict[str, Any]:
    """The trial with the lowest validation RMSE."""
    return min((trial for trial in kept["trials"] if "valid_rmse" in trial), key=lambda trial: trial["valid_rmse"])


def run(data: str, model: str) -> None:
    """Search, then test what was chosen."""
    ratings = Ratings.read(data)
    parts = ratings.split(seed=0)

    def trial(settings: dict[str, Any]) -> dict[str, Any]:
        try:
            training = fitted(model, settings, parts, 0).training
        except TrainingError as error:
            return {"failed": str(error)}
        seconds, epochs = round(training.seconds, 1), len(training.epochs)
        return {"valid_rmse": training.best_validation_rmse, "epochs": epochs, "seconds": seconds}

    about = {"model": model, "data": data, "fingerprint": ratings.fingerprint}
    about["versions"] = {name: version(name) for name in ("hyvae", "torch", "numpy")}
    kept = search(path_of(data, model), about, spaces.trials(model), trial)
    chosen = best(kept)["settings"]
    if kept.get("chosen", {}).get("settings") != chosen:
        kept["chosen"] = {"settings": chosen, "test": [tested(model, chosen, ratings, seed) for seed in SEEDS]}
        write(path_of(data, model), kept)


def tested(model: str, settings: dict[str, Any], ratings: Ratings, seed: int) -> dict[str, Any]:
    """Test errors of one split."""
    parts = ratings.split(seed=seed)
    recommender = fitted(model, settings, parts, seed)
    pooled = evaluate(recommender, parts.test)["pooled"]
    return {
        "seed": seed,
        "rmse": pooled["rmse"],
        "mae": pooled["mae"],
        "seconds": round(recommender.training.seconds, 1),
    }


def table() -> None:
    """What was reached, as Markdown."""
    print("| data | model | paper | test RMSE | of seeds 0, 1, 2 | valid RMSE | of the default preset | s | chosen |")
    print("|---|---|---|---|---|---|---|---|---|")
    for data, bars in BARS.items():
        for model in spaces.SPACES:
            kept = read(path_of(data, model))
            if "chosen" not in kept:
                continue
            errors = [one["rmse"] for one in kept["chosen"]["test"]]
            default = kept["trials"][0].get("valid_rmse", float("nan"))
            bar = bars.get(model)
            mark = "" if bar is None else " ✓" if mean(errors) <= bar else " ✗"
            each = ", ".join(f"{error:.4f}" for error in errors)
            valid = f"{best(kept)['valid_rmse']:.4f} | {default:.4f}"
            seconds = mean(one["seconds"] for one in kept["chosen"]["test"])
            changed = ", ".join(f"{key}={value}" for key, value in kept["chosen"]["settings"].items()) or "the default"
            shown = f"{mean(errors):.4f}{mark} | {each} | {valid} | {seconds:.0f}"
            print(f"| {data} | {model} | {'–' if bar is None else bar} | {shown} | {changed} |")


def tuned() -> None:
    """Write the chosen settings where `hyvae paper` finds them."""
    found: dict[str, dict[str, Any]] = {}
    for data, bars in BARS.items():
        for model in bars:
            kept = read(path_of(data, model))
            if "chosen" not in kept:
                sys.exit(f"{path_of(data, model).name} has no search that ended; run it first")
            then = {} if ":" in model else {"bias_shrinkage": 5.0}
            settings = {**then, **best(kept)["settings"]}
            found.setdefault(model, {})[data] = {"trials": len(kept["trials"]), "settings": settings}
    write(TUNED, found)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("models", nargs="*")
    arguments.add_argument("--data", nargs="+", default=list(BARS))
    arguments.add_argument("--table", action="store_true")
    arguments.add_argument("--tuned", action="store_true")
    given = arguments.parse_args()
    if given.table or given.tuned:
        (table if given.table else tuned)()
        return
    for data in given.data:
        for model in given.models or spaces.SPACES:
            run(data, model)


if __name__ == "__main__":
    main()
