"""Parting ratings into training, validation and test. A new kind is one function and one line in `KINDS`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Ratings

Rows = NDArray[np.int64]
FEWEST_RATINGS = 10
_TRAIN_PART, _VALID_PART, _TEST_PART = 0, 1, 2


@dataclass(frozen=True)
class Split:
    """Training, validation and test ratings, all with the vocabularies of the whole.

    Unpacks as three: ``train, valid, test = split(ratings)``.
    """

    train: Ratings
    valid: Ratings
    test: Ratings
    kind: str = "random"
    seed: int = 0

    def __iter__(self) -> Iterator[Ratings]:
        return iter((self.train, self.valid, self.test))


def split(ratings: Ratings, kind: str = "random", *, seed: int = 0) -> Split:
    """Part ratings into training, validation and test.

    Parameters
    ----------
    kind : str
        ``random``: 80/10/10, stratified by rating value. ``given``: the test part that the source declares,
        and its validation part if it has one, else a stratified ninth of its training part.
    seed : int
        0 to 2³² − 1; the same seed gives the same rows.

    Raises
    ------
    ConfigError
        Unknown kind, or a seed out of range.
    DataError
        Too few ratings, or ``given`` where the source has no split of its own.
    """
    train, valid, test = split_rows(ratings, kind, seed=seed)
    return Split(ratings.take(train), ratings.take(valid), ratings.take(test), kind, seed)


def split_rows(ratings: Ratings, kind: str = "random", *, seed: int = 0) -> tuple[Rows, Rows, Rows]:
    """Sorted row numbers (canonical order) of training, validation and test; see `split`."""
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of split {kind!r}; there are: {', '.join(KINDS)}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed must be an integer from 0 to 2**32 - 1, got {seed!r}")
    train, valid, test = (np.sort(rows) for rows in KINDS[kind](ratings, int(seed)))
    return train, valid, test


def rows_fingerprint(rows: NDArray[np.integer]) -> str:
    """SHA-256 of the sorted row numbers as little-endian 64-bit integers."""
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()


def _random(ratings: Ratings, seed: int) -> tuple[Rows, Rows, Rows]:
    """80/10/10: rows drawn twice with scikit-learn's StratifiedShuffleSplit, as the comparisons define it."""
    if len(ratings) < FEWEST_RATINGS:
        raise DataError(f"{len(ratings)} ratings are too few to split; give {FEWEST_RATINGS} or more")
    rows, level = np.arange(len(ratings)), _levels(ratings)
    train, rest = _draw(rows, level, len(rows) * 8 // 10, seed)
    valid, test = _draw(rest, level, len(rest) // 2, seed)
    return train, valid, test


def _given(ratings: Ratings, seed: int) -> tuple[Rows, Rows, Rows]:
    """Take the source's own parts."""
    if ratings.parts is None:
        raise DataError("these ratings come without a split of their own; use kind 'random'")
    train, valid, test = (np.flatnonzero(ratings.parts == part) for part in (_TRAIN_PART, _VALID_PART, _TEST_PART))
    if not len(test) or not len(train):
        raise DataError("the source's own split has no training or no test part; use kind 'random'")
    if not len(valid):
        # a ninth of the nine tenths that Monti's files train on: 80/10/10 in all
        ninth = round(len(train) / 9)
        if not ninth:
            raise DataError(f"{len(train)} training ratings are too few to take a validation ninth from")
        train, valid = _draw(train, _levels(ratings), len(train) - ninth, seed)
    return train, valid, test


Kind = Callable[[Ratings, int], tuple[Rows, Rows, Rows]]
KINDS: dict[str, Kind] = {"random": _random, "given": _given}


def _levels(ratings: Ratings) -> NDArray[np.float64]:
    """Rating value of each row in half steps."""
    levels: NDArray[np.float64] = np.round(ratings.values.astype(np.float64) * 2)
    return levels


def _draw(rows: Rows, level: NDArray[np.float64], n_first: int, seed: int) -> tuple[Rows, Rows]:
    """Part `rows` into `n_first` and the others, stratified by the level of each row."""
    # imported here because it takes more than a second, which reading alone should not cost
    from sklearn.model_selection import StratifiedShuffleSplit

    n_second = len(rows) - n_first
    group = merge_levels(level[rows], min(n_first, n_second))
    splitter = StratifiedShuffleSplit(1, train_size=n_first, test_size=n_second, random_state=seed)
    first, second = next(splitter.split(rows, group))
    return rows[first], rows[second]


def merge_levels(level: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Group number of each row: its level, where that can be stratified by, else merged with neighbours.

    A level with a single member cannot be in both sides of a split: it goes with the next higher level (the
    highest with the next lower). Where more than `most` groups remain, one side cannot hold a member of
    each: then runs of neighbouring levels are merged until each run holds at least ``n / most`` rows.

    Parameters
    ----------
    level : (n,) float
        n ≥ 2.
    most : int
        Largest number of groups that the smaller side can represent.

    Returns
    -------
    (n,) int64 array
    """
    _, index, counts = np.unique(level, return_inverse=True, return_counts=True)
    groups = _runs(counts, 2)
    if groups[-1] >= most:
        groups = _runs(counts, max(2, -(-len(level) // most)))
    return groups[index]


def _runs(counts: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Group of each level: runs of neighbouring levels with `least` members or more in each run."""
    groups = np.zeros(len(counts), dtype=np.int64)
    group, members = 0, 0
    for position, count in enumerate(counts.tolist()):
        groups[position] = group
        members += count
        if members >= least:
            group, members = group + 1, 0
    if members and group:
        groups[groups == group] = group - 1
    return groups
