"""`compare`: several models on identical splits, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from hyvae.data import Split
from hyvae.data.download import cache_folder
from hyvae.errors import ConfigError, DataError, TrainingError
from hyvae.evaluation.cells import Cell, CellCache, cell_key, compute_cell
from hyvae.evaluation.comparison import COVERAGE, METRICS, Summary, summarise
from hyvae.evaluation.contestants import Contestant, contestants, label_of
from hyvae.files import place_of
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender

SCHEMA = 1


class Standing(NamedTuple):
    """How far a comparison has come.

    Attributes
    ----------
    done, total : int
        Cells.
    found : int
        How many of those done came from the cache.
    now : str
        The cell that is computed next; empty at the end.
    """

    done: int
    total: int
    found: int
    now: str = ""


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to.

    Attributes
    ----------
    summary : Summary
        The models, best first, with means, intervals and differences to the reference.
    cells : dict of model to tuple of Cell
        A cell a seed, from seed 0.
    contestants : dict of model to Contestant
    split : str
    k : int
        Length of the ranked lists.
    same_test : bool
        Whether all seeds have the same test part: intervals then tell of the training seed alone.
    test_share : float
        n_test/n_train, as the variances are corrected by it; 0 where the test part is the same.
    found : int
        Cells that came from the cache.
    provenance : dict
    """

    summary: Summary
    cells: dict[str, tuple[Cell, ...]]
    contestants: dict[str, Contestant]
    split: str
    k: int
    same_test: bool
    test_share: float
    found: int
    provenance: dict[str, Any]

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len(next(iter(self.cells.values())))

    def __repr__(self) -> str:
        best = self.summary.lines[0]
        chief = self.summary.chief
        said = f"; best {chief.title.format(k=self.k)}: {best.model}" if chief.key in best.means else ""
        return f"Comparison({', '.join(self.cells)}; {self.seeds} seeds{said})"

    def table(self) -> pl.DataFrame:
        """A row for each model and metric.

        Returns
        -------
        polars.DataFrame
            ``model``, ``metric``, ``mean``, ``low``, ``high``, and of the difference to the reference
            ``difference``, ``difference_low``, ``difference_high`` and ``p``; null where there is none.
        """
        rows = []
        for line in self.summary.lines:
            for key, mean in line.means.items():
                difference = line.differences.get(key)
                beside = (None,) * 4 if difference is None else tuple(difference)
                rows.append((line.model, key, *mean[:3], *beside))
        names = ("mean", "low", "high", "difference", "difference_low", "difference_high", "p")
        schema = {"model": pl.String, "metric": pl.String, **dict.fromkeys(names, pl.Float64)}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def to_dict(self) -> dict[str, Any]:
        """All of it for a program: what ``comparison.json`` holds. A metric that a model lacks is null."""
        return {
            "schema": SCHEMA,
            "chief": self.summary.chief.key,
            "reference": self.summary.reference,
            "split": self.split,
            "seeds": list(range(self.seeds)),
            "k": self.k,
            "coverage": COVERAGE,
            "test_share": self.test_share,
            "same_test": self.same_test,
            "models": [self._model(line.model) for line in self.summary.lines],
            "provenance": self.provenance,
        }

    def _model(self, label: str) -> dict[str, Any]:
        line = next(line for line in self.summary.lines if line.model == label)
        means, differences = line.means, line.differences
        return {
            "model": label,
            "name": self.contestants[label].name,
            "preset": self.contestants[label].preset,
            "settings": dict(self.contestants[label].settings),
            "means": {
                m.key: dict(zip(("mean", "low", "high"), means[m.key], strict=False)) if m.key in means else None
                for m in METRICS
            },
            "differences": {m.key: differences[m.key]._asdict() if m.key in differences else None for m in METRICS},
            "cells": [
                {
                    "seed": seed,
                    "job": cell.job,
                    **{metric.key: cell.scores.get(metric.key) for metric in METRICS},
                    "evaluation_seconds": cell.evaluation_seconds,
                    "best_epoch": cell.best_epoch,
                }
                for seed, cell in enumerate(self.cells[label])
            ],
        }


def default_cache() -> Path:
    """Where finished cells are kept, unless said otherwise: in hyvae's cache folder (HYVAE_CACHE)."""
    return cache_folder() / "comparisons"


def compare(
    ratings: Ratings,
    models: Iterable[str],
    seeds: int = 5,
    *,
    split: str = "random",
    reference: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    k: int = 10,
    device: str = "cpu",
    cache: str | Path | None = None,
    fresh: bool = False,
    on_cell: Callable[[Standing], None] | None = None,
) -> Comparison:
    """Train and test several models on the same rows, and say how sure their differences are.

    For each seed from 0 the ratings are split anew, and every model is trained with that seed on the same parts. What
    is finished is kept in a cache, from which a comparison that was stopped goes on.

    Parameters
    ----------
    ratings : Ratings
    models : iterable of str
        ``NAME`` or ``NAME:PRESET``; ``all``: every model of the registry in its default preset.
    seeds : int
        How many.
    split : str
        A kind of split; see `hyvae.data.split`.
    reference : str, optional
        The model that differences are to; default: the best.
    settings : dict of model to dict of setting to value, optional
        For example ``{"hyvae": {"epochs": 20}}``; ``hyvae:paper`` means that preset alone.
    k : int
        Length of the ranked lists.
    device : str
    cache : path, optional
        Folder of finished cells; default: `default_cache`.
    fresh : bool
        Compute all cells, also those that are finished.
    on_cell : callable, optional
        Told a `Standing` before each cell, and at the end.

    Raises
    ------
    ConfigError
        Before any training: fewer than one seed; an unknown model, preset, setting, split or reference.
    ConfigError, DataError, TrainingError
        The ratings cannot be split so, or a model cannot be trained on them: the message names the cell.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ConfigError(f"a comparison needs 1 or more seeds, got {seeds!r}")
    compared = {contestant.label: contestant for contestant in contestants(models, settings)}
    for contestant in compared.values():
        contestant.recommender(device)
    reference = None if reference is None else label_of(reference)
    if reference is not None and reference not in compared:
        raise ConfigError(f"the reference {reference!r} is not among the compared models: {', '.join(compared)}")
    desk = _Desk(compared, k, device, CellCache(_folder(cache)), fresh, seeds, on_cell or _ignore)
    tests, shares = set(), []
    for seed in range(seeds):
        parts = ratings.split(split, seed=seed)
        desk.one_split(parts, seed)
        tests.add(parts.test.fingerprint)
        shares.append(_test_share(parts))
    desk.tell()

    same_test = seeds > 1 and len(tests) == 1
    # on one test part nothing is resampled: the values are independent draws of the training seed
    test_share = 0.0 if same_test else float(np.mean(shares))
    scores = {label: [cell.scores for cell in of] for label, of in desk.cells.items()}
    return Comparison(
        summary=summarise(scores, test_share, reference),
        cells={label: tuple(of) for label, of in desk.cells.items()},
        contestants=compared,
        split=split,
        k=k,
        same_test=same_test,
        test_share=test_share,
        found=desk.found,
        provenance=_provenance(ratings, split, seeds, [cell for of in desk.cells.values() for cell in of]),
    )


class _Desk:
    """Gets cells, from the cache or by computing them, and tells how far it is."""

    def __init__(
        self,
        compared: Mapping[str, Contestant],
        k: int,
        device: str,
        cache: CellCache,
        fresh: bool,
        seeds: int,
        told: Callable[[Standing], None],
    ) -> None:
        self.compared, self.k, self.device = compared, k, device
        self.cache, self.fresh = cache, fresh
        self.total, self.told = seeds * len(compared), told
        self.cells: dict[str, list[Cell]] = {label: [] for label in compared}
        self.found = 0

    def tell(self, now: str = "") -> None:
        self.told(Standing(sum(map(len, self.cells.values())), self.total, self.found, now))

    def one_split(self, parts: Split, seed: int) -> None:
        """A cell of every model."""
        for label, contestant in self.compared.items():
            name = f"{label}, seed {seed}"
            self.tell(name)
            recommender = contestant.recommender(self.device)
            key = cell_key(recommender, parts, seed, self.k)
            cell = None if self.fresh else self.cache.read(key)
            if cell is None:
                cell = self._computed(recommender, parts, seed, name)
                self.cache.write(key, cell)
            else:
                self.found += 1
            self.cells[label].append(cell)

    def _computed(self, recommender: Recommender, parts: Split, seed: int, name: str) -> Cell:
        try:
            return compute_cell(recommender, parts, seed, self.k)
        except (ConfigError, DataError, TrainingError) as error:
            # of many cells: which; those before it are kept
            raise type(error)(f"{name}: {error}") from error


def _folder(cache: str | Path | None) -> Path:
    return default_cache() if cache is None else place_of(cache)


def _test_share(parts: Split) -> float:
    """n_test/n_train in what the split draws: people where it is by user, else ratings."""
    if parts.kind == "user":
        test, train = (int(np.count_nonzero(part.user_counts)) for part in (parts.test, parts.train))
        return test / train
    return len(parts.test) / len(parts.train)


def _provenance(ratings: Ratings, split: str, seeds: int, cells: list[Cell]) -> dict[str, Any]:
    """Where the numbers came from. What cells from the cache were computed with may differ: then all of it is told."""
    made: dict[str, list[Any]] = {}
    for cell in cells:
        for key, value in cell.circumstances.items():
            for name, one in value.items() if isinstance(value, dict) else [(key, value)]:
                seen = made.setdefault(name, [])
                if one not in seen:
                    seen.append(one)
    return {
        "data_fingerprint": ratings.fingerprint,
        "ratings": len(ratings),
        "users": int(np.count_nonzero(ratings.user_counts)),
        "items": int(np.count_nonzero(ratings.item_counts)),
        "split": {"kind": split, "seeds": f"0 to {seeds - 1}" if seeds > 1 else "0"},
        "training_seed": "that of the split",
        "computed_with": {name: seen[0] if len(seen) == 1 else seen for name, seen in made.items()},
    }


def _ignore(standing: Standing) -> None:
    pass
