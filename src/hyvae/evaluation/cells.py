"""Cells of a comparison: one model, trained and tested on one split; kept in a cache by what they follow from."""

from __future__ import annotations

import errno
import hashlib
import json
import time
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hyvae.data import Split
from hyvae.errors import DataError
from hyvae.evaluation.comparison import METRICS, SECONDS
from hyvae.evaluation.posterior import diagnose
from hyvae.evaluation.protocol import evaluate
from hyvae.files import cannot_be_written, written_whole
from hyvae.recommender import Recommender

# of a recommender's provenance: what timings and last bits depend on, and no key does
_CIRCUMSTANCES = ("device", "threads", "kernels", "machine", "versions")


class Cell(BaseModel):
    """What came of one model on one split.

    Attributes
    ----------
    metrics : dict
        All that `hyvae.evaluation.evaluate` gave.
    training_seconds, evaluation_seconds : float
    best_epoch : int or None
        None where nothing was validated.
    job : str
        Of `Recommender.job`.
    circumstances : dict
        Device, threads, kernels, machine and versions that computed it, and a digest of hyvae's own code.
    curves : list of dict or None
        A row an epoch, as in a run folder; where it was asked for.
    posterior : dict or None
        Of `hyvae.evaluation.posterior.diagnose`; where it was asked for, and there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Any]
    training_seconds: float
    evaluation_seconds: float
    best_epoch: int | None
    job: str
    circumstances: dict[str, Any]
    curves: list[dict[str, Any]] | None = None
    posterior: dict[str, Any] | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The compared metrics by key, less those that the model does not have."""
        found = {SECONDS.key: self.training_seconds}
        for metric in METRICS:
            value: Any = self.metrics if metric.path else None
            for key in metric.path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found[metric.key] = float(value)
        return found


def compute_cell(recommender: Recommender, parts: Split, seed: int, k: int, *, details: bool = False) -> Cell:
    """Fit on the training part, with the validation part, and evaluate on the test part.

    Parameters
    ----------
    recommender : Recommender
        Not fitted.
    k : int
        Length of the ranked lists.
    details : bool
        Keep the curves and what the posterior says as well.
    """
    # the comparison has a progress bar of its own, and a terminal has room for one
    recommender.fit(parts.train, parts.valid, given=parts.given, seed=seed, progress=False)
    started = time.perf_counter()
    metrics = evaluate(recommender, parts.test, k=k)
    provenance = recommender.provenance
    return Cell(
        metrics=metrics,
        training_seconds=recommender.training.seconds,
        evaluation_seconds=time.perf_counter() - started,
        best_epoch=recommender.training.best_epoch,
        job=provenance["job"],
        circumstances={**{key: provenance[key] for key in _CIRCUMSTANCES if key in provenance}, "code": code_digest()},
        curves=recommender.training.rows() if details else None,
        posterior=diagnose(recommender, parts.test) if details else None,
    )


def cell_key(recommender: Recommender, parts: Split, seed: int, k: int, *, details: bool = False) -> str:
    """SHA-256 of all that a cell's metrics follow from: data, model, settings, seed, test part, list length, version.

    Not of the preset's name, nor of threads and device: they change seconds, and metrics in their last digits only.
    """
    content = {
        "job": recommender.job(parts.train, parts.valid, given=parts.given, seed=seed),
        "test": parts.test.fingerprint,
        "k": k,
        "hyvae": version("hyvae"),
    }
    if details:
        content["details"] = True
    return _digest(content)


@cache
def code_digest() -> str:
    """Of the source files that a cell's numbers follow from: two versions under development may have one number."""
    package = files("hyvae")
    digest = hashlib.sha256()
    for part in ("recommender.py", "scoring.py", "uncertainty.py", "data", "models", "nn", "training", "evaluation"):
        place = Path(str(package / part))
        for file in sorted([place] if place.is_file() else [*place.glob("*.py"), *place.glob("*.cpp")]):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class CellCache:
    """A folder with a JSON file for each finished cell, named by its key.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.

    Raises
    ------
    DataError
        The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(cannot_be_written(folder, error)) from error

    def read(self, key: str) -> Cell | None:
        """The cell, or None where there is none, or one that is damaged: it is then computed anew."""
        try:
            content = json.loads(self._file(key).read_bytes())
            if (content["key"], content["sha256"]) != (key, _digest(content["cell"])):
                return None
            return Cell.model_validate(content["cell"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, cell: Cell) -> None:
        """Write a cell whole or not at all.

        Raises
        ------
        DataError
            It cannot be written.
        """
        content = cell.model_dump(mode="json")
        text = json.dumps({"key": key, "sha256": _digest(content), "cell": content}, indent=1)
        try:
            with written_whole(self._file(key)) as part:
                part.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            if error.errno == errno.EBUSY:
                return  # another comparison is writing the same cell
            raise DataError(cannot_be_written(self._file(key), error)) from error

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
