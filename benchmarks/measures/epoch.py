"""Seconds and memory of an epoch: hyvae's trainer beside its dense twin, RecBole's MultiVAE and Cornac's VAECF."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import numpy as np
from driver import WORKERS, Run, Worker, exported, interleaved, names_of, ratio, side
from peers import python_of, versions_of
from synthetic import ML_25M, synthetic

from hyvae.ratings import Ratings

PAPER = {"preset": "paper", "settings": {"fusion": "folded"}}
HALF = {"preset": "paper", "settings": {"fusion": "folded", "matmul": "bfloat16"}}
DEFAULT = {"preset": "fast", "settings": {}}
# 2,500 users: enough for a steady mean, as every batch of the dense twin costs the same
TWIN_BATCHES = 5
BATCH_USERS = 500
EPOCHS_A_UNIT = 4
# RecBole's latent_dimension is means and log-variances together: as in the published recipe, and z as wide as hyvae's
RECBOLE = {"recbole_multivae": 512, "recbole_multivae_wide": 1024}


def measure(run: Run) -> dict[str, Any]:
    subprocess.run([sys.executable, str(WORKERS / "dense_twin.py"), "--check"], check=True, stdout=sys.stderr)
    small, large = _data(run)
    return {
        "ml-1m": _one_sided(run, small, "ml-1m", twin_batches=None, peers=True),
        "ml-25m-shape": _one_sided(run, large, "ml-25m-shape", twin_batches=2 if run.quick else TWIN_BATCHES),
        "two_sided_step": {"ml-1m": _two_sided(run, "ml-1m"), "ml-25m-shape": _two_sided(run, "ml-25m-shape")},
        "versions": {
            "recbole": names_of(versions_of(python_of("recbole")), ("recbole", "torch", "numpy")),
            "cornac": names_of(versions_of(python_of("cornac")), ("cornac", "torch", "numpy")),
        },
        "seed": 0,
    }


def _data(run: Run) -> tuple[Ratings, Ratings]:
    if run.quick:
        parts = Ratings.read("movielens-small").split(seed=0).train, synthetic(3_000, 2_000, 60_000, exponent=1.0)
    else:
        parts = Ratings.read("ml-1m").split(seed=0).train, synthetic(*ML_25M, exponent=1.0)
    for ratings, name in zip(parts, ("ml-1m", "ml-25m-shape"), strict=True):
        exported(ratings, run.folder / f"{name}.npz")
    return parts


def _one_sided(run: Run, ratings: Ratings, name: str, twin_batches: int | None, peers: bool = False) -> dict[str, Any]:
    # a process that has waited for the others starts slowly: an epoch of a third of a second would be mostly that
    epochs = EPOCHS_A_UNIT if peers else 1
    data = {"data": str(run.folder / f"{name}.npz"), "epochs_a_unit": epochs}
    users = int(np.count_nonzero(ratings.user_counts))
    # the twin may do part of an epoch a unit: its seconds are then those of a whole one, by the number of users
    scale = 1.0 if twin_batches is None else users / min(twin_batches * BATCH_USERS, users)
    with ExitStack() as stack:

        def start(program: str, settings: dict[str, Any], python: str = sys.executable) -> Worker:
            print(f"  {name}: starting {program}", file=sys.stderr)
            return stack.enter_context(Worker(program, {**data, **settings}, run.folder, python))

        workers = {
            "hyvae": start("hyvae_epochs", PAPER),
            "hyvae_bfloat16": start("hyvae_epochs", HALF),
            "dense_twin": start("dense_twin", {"batches": twin_batches}),
        }
        if peers:
            for name, latent in RECBOLE.items():
                workers[name] = start("recbole_multivae", {"latent_dimension": latent}, python_of("recbole"))
            workers["cornac_vaecf"] = start("cornac_vaecf", {}, python_of("cornac"))
        reports = interleaved({key: worker.unit for key, worker in workers.items()}, run.repeat)
    settings = {
        "hyvae": PAPER,
        "hyvae_bfloat16": HALF,
        "dense_twin": {
            "widths": "256-512-256, folded head",
            "users_a_unit": round(users / scale),
            "seconds_extrapolated_by": scale,
        },
        **{
            name: {"mlp_hidden_size": [256], "latent_dimension": latent, "z": latent // 2, "train_batch_size": 500}
            for name, latent in RECBOLE.items()
        },
        "cornac_vaecf": {"autoencoder_structure": [256], "k": 512, "batch_size": 500, "likelihood": "mult"},
    }
    sides = {
        key: side(reports[key], worker, (scale if key == "dense_twin" else 1.0) / epochs, settings=settings[key])
        for key, worker in workers.items()
    }
    ours = sides["hyvae"]
    return {
        "shape": [users, ratings.n_items, len(ratings)],
        "epochs_a_unit": epochs,
        "systems": sides,
        "ratios": {key: ratio(other, ours) for key, other in sides.items() if key != "hyvae"},
    }


def _two_sided(run: Run, name: str) -> dict[str, Any]:
    """One step of the default model is one epoch: a pass over all ratings."""
    print(f"  {name}: the step of the two-sided default", file=sys.stderr)
    steps = 5 if name == "ml-1m" else 1
    settings = {"data": str(run.folder / f"{name}.npz"), "epochs_a_unit": steps, **DEFAULT}
    with Worker("hyvae_epochs", settings, run.folder) as worker:
        reports = interleaved({"hyvae": worker.unit}, run.repeat)
    return side(reports["hyvae"], worker, 1 / steps, settings=DEFAULT, steps_a_unit=steps)
