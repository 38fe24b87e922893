"""Trainings done, or found done before: a cell each, cached by all that it follows from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyvae.data import Split
from hyvae.errors import ConfigError, DataError, TrainingError
from hyvae.evaluation.cells import Cell, CellCache, cell_key, compute_cell
from hyvae.evaluation.study import Standing
from hyvae.paper.experiments import QUICK_USERS, Plan, Training, in_raw_units
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender

LIST_LENGTH = 10


class _Source(NamedTuple):
    """Ratings of a data set, and of a quick look at it."""

    whole: Ratings
    used: Ratings


class Cells:
    """What trainings came to.

    Parameters
    ----------
    cache : path
        Folder of finished cells.
    told : callable
        Told a `Standing` before each training.
    """

    def __init__(self, plan: Plan, cache: Path, told: Callable[[Standing], None]) -> None:
        self.plan, self.told = plan, told
        self.cache = CellCache(cache)
        self._sources: dict[str, _Source] = {}
        self._keys: dict[str, str] = {}
        self._done: dict[str, Cell] = {}
        self._kept: tuple[tuple[str, str, int], Split] | None = None
        self.found = 0

    def ratings(self, data: str) -> Ratings:
        """A whole data set."""
        return self._source(data).whole

    def used(self, data: str) -> Ratings:
        """What of it is trained and tested on: all, or a quick look's users."""
        return self._source(data).used

    def _source(self, data: str) -> _Source:
        if data not in self._sources:
            whole = Ratings.read(data)
            self._sources[data] = _Source(whole, some_users(whole, QUICK_USERS) if self.plan.quick else whole)
        return self._sources[data]

    def _parts(self, training: Training) -> Split:
        """Training, validation and test part; kept for the next training on the same."""
        name = _split_of(training)
        if self._kept is None or self._kept[0] != name:
            ratings = self.used(training.data)
            self._kept = name, given(ratings) if name[1] == "given" else ratings.split(seed=name[2])
        return self._kept[1]

    def fill(self, trainings: Iterable[Training]) -> None:
        """Do those that are not done. What two chapters want under two names is one cell."""
        wanted: dict[str, Training] = {}
        # of one split after each other, so that it is made once
        for training in sorted(trainings, key=_split_of):
            recommender = _recommender(training)
            key = cell_key(recommender, self._parts(training), training.seed, LIST_LENGTH, details=True)
            self._keys[_name(training)] = key
            wanted.setdefault(key, training)
        for number, (key, training) in enumerate(wanted.items()):
            self.told(Standing(number, len(wanted), self.found, str(training)))
            cell = self.cache.read(key)
            self.found += cell is not None
            if cell is None:
                cell = self._computed(training)
                self.cache.write(key, cell)
            self._done[key] = cell
        self.told(Standing(len(wanted), len(wanted), self.found))

    def _computed(self, training: Training) -> Cell:
        recommender = _recommender(training)
        try:
            return compute_cell(recommender, self._parts(training), training.seed, LIST_LENGTH, details=True)
        except (ConfigError, DataError, TrainingError) as error:
            raise type(error)(f"{training}: {error}") from error

    @property
    def done(self) -> list[Cell]:
        """All cells, each once."""
        return list(self._done.values())

    def __getitem__(self, training: Training) -> Cell:
        """The cell of a training that `fill` has seen."""
        return self._done[self._keys[_name(training)]]


def some_users(ratings: Ratings, n: int) -> Ratings:
    """Ratings of `n` users, drawn by chance from those who have any; the vocabulary stays."""
    rated = np.flatnonzero(ratings.user_counts)
    if len(rated) <= n:
        return ratings
    chosen = np.random.default_rng(0).choice(rated, n, replace=False)
    return ratings.take(np.isin(ratings.user_index, chosen))


def given(ratings: Ratings) -> Split:
    """The source's own training and test part; nothing is validated: all of the training part is learnt from."""
    if ratings.parts is None:
        raise DataError(f"{ratings.source or 'the ratings'} come without a split of their own")
    train, test = (ratings.take(np.flatnonzero(ratings.parts == part)) for part in (0, 2))
    return Split(train, ratings.take(np.empty(0, np.int64)), test, kind="given")


def _recommender(training: Training) -> Recommender:
    return Recommender(training.model, preset=training.preset, **in_raw_units(training))


def _split_of(training: Training) -> tuple[str, str, int]:
    if training.protocol == "given":
        return training.data, "given", 0
    return training.data, "random", 0 if training.protocol == "repeated" else training.seed


def _name(training: Training) -> str:
    return repr(training)
