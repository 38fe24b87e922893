"""The systems that are compared: any model of hyvae, and the peers, each in an environment of its own."""

from __future__ import annotations

import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocols import Parts, Protocol

from hyvae import Ratings, Recommender, metrics
from hyvae.evaluation.calibration import measure_uncertainty
from hyvae.evaluation.cells import code_digest

sys.path.append(str(Path(__file__).resolve().parent.parent))

from driver import exported, once
from peers import python_of, versions_of

SWEEPS, KEPT = 300, 250
# environment, program and settings of each peer; `rank` is the protocol's
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "myfm:strong": ("myfm", "myfm_fit", {"implicit": True, "sweeps": SWEEPS, "kept": KEPT}),
    "myfm:plain": ("myfm", "myfm_fit", {"implicit": False, "sweeps": SWEEPS, "kept": KEPT}),
    "surprise:svd": (
        "surprise",
        "surprise_fit",
        {"algorithm": "SVD", "arguments": {"n_factors": 100, "n_epochs": 100, "lr_all": 0.003, "reg_all": 0.08}},
    ),
    "surprise:svdpp": ("surprise", "surprise_fit", {"algorithm": "SVDpp", "arguments": {"n_factors": 20}}),
    "cornac:vaecf": ("cornac", "cornac_fit", {"algorithm": "VAECF", "arguments": {"likelihood": "gaus"}}),
    "cornac:bivae": ("cornac", "cornac_fit", {"algorithm": "BiVAECF", "arguments": {"likelihood": "gaus"}}),
}
PACKAGES = {"myfm": "myfm", "surprise": "scikit-surprise", "cornac": "cornac"}


def errors_of(system: str, protocol: Protocol, parts: Parts, seed: int, **settings: Any) -> dict[str, Any]:
    """Train once; test errors pooled and per user (``um_``), the seconds that training took, and how sure it was.

    Parameters
    ----------
    system : str
        A peer, or ``MODEL[:PRESET]`` of hyvae.
    seed : int
        Of training.
    settings
        Of hyvae's model, over the preset's.
    """
    if system in PEERS:
        environment, program, fixed = PEERS[system]
        asked = {"rank": protocol.rank, "seed": seed, **fixed}
        with tempfile.TemporaryDirectory() as folder:
            for name, part in parts._asdict().items():
                if part is not None:
                    asked[name] = exported(part, Path(folder) / f"{name}.npz")
            found = once(program, asked, Path(folder), python_of(environment))
        return {**found["test"], "seconds": round(found["seconds"], 1)}
    started = time.perf_counter()
    recommender = trained(system, parts.train, parts.valid, seed, given=parts.given, **settings)
    seconds = round(time.perf_counter() - started, 1)
    predictions = recommender.predict_ratings(parts.test)
    found = {**errors(predictions, parts.test), "seconds": seconds}
    if recommender.knows_uncertainty:
        found["uncertainty"] = measure_uncertainty(recommender, parts.test, predictions)
    return found


def trained(
    system: str, train: Ratings, valid: Ratings | None, seed: int, *, given: Ratings | None = None, **settings: Any
) -> Recommender:
    """A model of hyvae, fitted."""
    name, _, preset = system.partition(":")
    recommender = Recommender(name, preset=preset or "default", **settings)
    return recommender.fit(train, valid, given=given, seed=seed, progress=False)


def errors(predictions: NDArray[np.float32], test: Ratings) -> dict[str, float]:
    """Pooled and user-mean errors on a part."""
    return {
        "rmse": metrics.rmse(predictions, test.values),
        "mae": metrics.mae(predictions, test.values),
        "um_rmse": metrics.rmse(predictions, test.values, test.user_index),
        "um_mae": metrics.mae(predictions, test.values, test.user_index),
    }


def versions(system: str) -> dict[str, str]:
    """Of what a result depends on; of hyvae, a digest of its code too, which changes between two versions."""
    if system in PEERS:
        environment = PEERS[system][0]
        names, found = (PACKAGES[environment], "numpy"), versions_of(python_of(environment))
        return {name: found[name] for name in names}
    return {**{package: version(package) for package in ("hyvae", "torch", "numpy")}, "code": code_digest()}
