"""The splits on which systems are compared: data, how it is parted for a seed, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hyvae import Ratings


class Parts(NamedTuple):
    """What a system learns from, what it may choose its epoch by, what it is tested on, and what it may answer from."""

    train: Ratings
    valid: Ratings | None
    test: Ratings
    given: Ratings | None = None


class Protocol(NamedTuple):
    """A data set and its splits.

    Attributes
    ----------
    data : str
        Source that `Ratings.read` takes.
    part : callable
        Parts of a seed.
    seeds : int
        Splits, from seed 0; or training seeds, where there is one split.
    rank : int
        Of myFM, chosen on the validation part of seed 0.
    test_share : float
        n_test/n_train, for the corrected intervals; 0 where the split is one and the seeds are of training.
    """

    data: str
    part: Callable[[Ratings, int], Parts]
    seeds: int
    rank: int
    test_share: float


def _canonical(ratings: Ratings, seed: int) -> Parts:
    """80/10/10, stratified by rating value, to the row."""
    return Parts(*ratings.split(seed=seed))


def _nine_tenths(ratings: Ratings, seed: int) -> Parts:
    """90/10 at random, as most of the literature on MovieLens has it; nothing is chosen by validation."""
    rows = np.random.default_rng(seed).permutation(len(ratings))
    tenth = len(rows) // 10
    return Parts(ratings.take(np.sort(rows[tenth:])), None, ratings.take(np.sort(rows[:tenth])))


def _given(ratings: Ratings, _: int) -> Parts:
    """The source's own training and test part; nothing is chosen by validation."""
    assert ratings.parts is not None
    train, test = (ratings.take(np.flatnonzero(ratings.parts == part)) for part in (0, 2))
    return Parts(train, None, test)


def _users(ratings: Ratings, seed: int) -> Parts:
    """A tenth of the users held out for validation and a tenth for the test, folded in from four fifths of theirs."""
    split = ratings.split("user", seed=seed)
    return Parts(split.train, split.valid, split.test, split.given)


PROTOCOLS = {
    "ml-1m": Protocol("ml-1m", _canonical, 5, 32, 1 / 8),
    "douban": Protocol("douban", _canonical, 5, 8, 1 / 8),
    "flixster": Protocol("flixster", _canonical, 10, 8, 1 / 8),
    "movielens-small": Protocol("movielens-small", _canonical, 5, 16, 1 / 8),
    "ml-1m-90": Protocol("ml-1m", _nine_tenths, 5, 32, 1 / 9),
    "douban-monti": Protocol("douban", _given, 5, 8, 0.0),
    "flixster-monti": Protocol("flixster", _given, 5, 8, 0.0),
    "ml-1m-users": Protocol("ml-1m", _users, 3, 32, 1 / 8),
    "douban-users": Protocol("douban", _users, 5, 8, 1 / 8),
    "flixster-users": Protocol("flixster", _users, 10, 8, 1 / 8),
}
