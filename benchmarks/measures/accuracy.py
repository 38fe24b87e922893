"""Seconds until the test RMSE of Surprise's and myFM's models on ML-1M is reached, beside their own seconds.

A plan of hyvae is chosen by its validation RMSE alone: the shortest one that is at or below the peer's. Peers take
minutes and run once; what is chosen of ours and is short runs in every round.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from statistics import median
from typing import Any

from driver import Run, exported, names_of, once
from peers import python_of, versions_of

from hyvae.ratings import Ratings

EPOCHS = (20, 30, 40, 60, 80, 110, 140)
# a plan longer than this runs once, as the peers do
SHORT_SECONDS = 30
PARTS = ("train", "valid", "test")

# environment, program and settings of each peer; DESIGN's "Accuracy bars"
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Surprise SVD, tuned": (
        "surprise",
        "surprise_fit",
        {"algorithm": "SVD", "arguments": {"n_factors": 100, "n_epochs": 100, "lr_all": 0.003, "reg_all": 0.08}},
    ),
    "Surprise SVD++": ("surprise", "surprise_fit", {"algorithm": "SVDpp", "arguments": {"n_factors": 20}}),
    "myFM, ordered probit, rank 8": ("myfm", "myfm_fit", {"rank": 8, "sweeps": 300, "kept": 250, "implicit": False}),
    "myFM, ordered probit, rank 16, implicit features": (
        "myfm",
        "myfm_fit",
        {"rank": 16, "sweeps": 300, "kept": 250, "implicit": True},
    ),
}


def measure(run: Run) -> dict[str, Any]:
    split = Ratings.read("movielens-small" if run.quick else "ml-1m").split(seed=0)
    data = {
        name: exported(part, run.folder / f"{name}.npz")
        for name, part in zip(PARTS, (split.train, split.valid, split.test), strict=True)
    }
    today = datetime.now(UTC).date().isoformat()
    peers = run.kept["peers"] if run.kept else {name: _peer(run, data, *PEERS[name]) for name in PEERS}
    plans = {}
    for epochs in (5, 10) if run.quick else EPOCHS:
        plans[str(epochs)] = once("hyvae_fit", {**data, "plan": {"epochs": epochs}}, run.folder)
        _say(f"hyvae, {epochs} epochs", plans[str(epochs)])
    chosen = {name: _shortest(plans, peer["valid"]["rmse"]) for name, peer in peers.items()}
    for epochs in {epochs for epochs in chosen.values() if epochs is not None}:
        plan = plans[epochs]
        more = run.repeat - 1 if plan["seconds"] < SHORT_SECONDS else 0
        again = [once("hyvae_fit", {**data, "plan": {"epochs": int(epochs)}}, run.folder) for _ in range(more)]
        plan["all_seconds"] = [plan["seconds"], *(other["seconds"] for other in again)]
        plan["seconds"] = median(plan["all_seconds"])
    return {
        "data": "MovieLens-1M, 80/10/10 by rating, split seed 0",
        "error": "pooled RMSE, clipped to the scale",
        "peers": peers,
        "peers_date": run.kept["peers_date"] if run.kept else today,
        "hyvae": plans,
        "reached": {name: _compared(peers[name], plans, epochs) for name, epochs in chosen.items()},
        "versions": {
            "surprise": names_of(versions_of(python_of("surprise")), ("scikit-surprise", "numpy")),
            "myfm": names_of(versions_of(python_of("myfm")), ("myfm", "numpy")),
        },
        "seed": 0,
    }


def _peer(run: Run, data: dict[str, str], environment: str, program: str, settings: dict[str, Any]) -> dict[str, Any]:
    if run.quick:
        fewer = {"sweeps": 12, "kept": 10} if environment == "myfm" else {"arguments": {"n_epochs": 2}}
        settings = {**settings, **fewer}
    result = once(program, {**data, **settings}, run.folder, python_of(environment))
    _say(f"{program} {settings}", result)
    return {**result, "settings": settings}


def _shortest(plans: dict[str, Any], rmse: float) -> str | None:
    """The plan of fewest epochs that is as good on the validation part; None where none is."""
    return next((epochs for epochs, plan in plans.items() if plan["valid"]["rmse"] <= rmse), None)


def _compared(peer: dict[str, Any], plans: dict[str, Any], epochs: str | None) -> dict[str, Any]:
    best = min(plans, key=lambda name: plans[name]["valid"]["rmse"])
    plan = plans[epochs or best]
    return {
        "reached": epochs is not None,
        "epochs": int(epochs or best),
        "seconds": plan["seconds"],
        "valid_rmse": plan["valid"]["rmse"],
        "test_rmse": plan["test"]["rmse"],
        "peer_seconds": peer["seconds"],
        "peer_valid_rmse": peer["valid"]["rmse"],
        "peer_test_rmse": peer["test"]["rmse"],
        "share_of_peers_seconds": plan["seconds"] / peer["seconds"] if epochs is not None else None,
    }


def _say(what: str, result: dict[str, Any]) -> None:
    found = f"{result['seconds']:.1f} s, validation {result['valid']['rmse']:.4f}, test {result['test']['rmse']:.4f}"
    print(f"  {what}: {found}", file=sys.stderr)
