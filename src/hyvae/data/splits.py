"""Parting ratings into training, validation and test. A new kind is one function and one line in `KINDS`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyvae.errors import ConfigError, DataError
from hyvae.inputs import as_seed
from hyvae.ratings import Ratings

Rows = NDArray[np.int64]
FEWEST_RATINGS = 10
FEWEST_USERS = 10
_TRAIN_PART, _VALID_PART, _TEST_PART = 0, 1, 2
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


class SplitRows(NamedTuple):
    """Sorted row numbers (canonical order) of the parts of a split; together they are all rows, each once."""

    train: Rows
    valid: Rows
    test: Rows
    given: Rows = _NO_ROWS


@dataclass(frozen=True)
class Split:
    """Training, validation and test ratings, all with the vocabularies of the whole.

    Unpacks as three: ``train, valid, test = split(ratings)``.

    Attributes
    ----------
    train, valid, test : Ratings
    given : Ratings
        Ratings of held-out users that the model must not learn from, but that answers about those users may
        use (fold-in). Default: no ratings, as in every kind but ``user``.
    kind : str
    seed : int
    """

    train: Ratings
    valid: Ratings
    test: Ratings
    given: Ratings = None  # type: ignore[assignment]  # filled in below, with the vocabularies of `train`
    kind: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.given is None:
            object.__setattr__(self, "given", self.train.take(_NO_ROWS))

    def __iter__(self) -> Iterator[Ratings]:
        return iter((self.train, self.valid, self.test))


def split(ratings: Ratings, kind: str = "random", *, seed: int = 0) -> Split:
    """Part ratings into training, validation and test.

    Parameters
    ----------
    kind : str
        - ``random``: 80/10/10, stratified by rating value.
        - ``given``: the test part that the source declares, and its validation part if it has one, else a
          stratified ninth of its training part.
        - ``user``: strong generalisation. All ratings of a random 80 % of the users (of those with ratings) are
          training ratings; 10 % are validation users and 10 % test users, whom training never sees. A random
          fifth of the ratings of each held-out user (at least 1) are targets; the others, and the rating of a
          user who has only one, go to `Split.given`.
        - ``leave-K-out``, such as ``leave-1-out``: K random ratings of each user to test and K to validation.
          Users with fewer than 2K + 1 ratings stay in training.
        - ``time``: the latest tenth of all ratings is test, the tenth before it validation. Ratings of the same
          time stay together, so the parts are as near to 80/10/10 as whole instants allow.
        - ``user-time``: of each user, the latest tenth (halves rounded up, at least 1) to test and as many
          before those to validation. Users with fewer than 3 ratings stay in training; equal times of a user
          are parted in canonical order. Training does hold ratings of other users from after a test rating;
          ``time`` is the kind without.
    seed : int
        0 to 2³² − 1; the same seed gives the same rows. ``time`` and ``user-time`` draw nothing.

    Raises
    ------
    ConfigError
        Unknown kind, or a seed out of range.
    DataError
        The ratings cannot be parted so: a part would be empty, there are too few ratings or users, no
        timestamps, or (``given``) no split by the source.
    """
    train, valid, test, given = (ratings.take(rows) for rows in split_rows(ratings, kind, seed=seed))
    return Split(train, valid, test, given, kind, as_seed(seed))


def whole(ratings: Ratings) -> Split:
    """Everything as training ratings: for production, where nothing is held out."""
    nothing = ratings.take(np.empty(0, np.int64))
    return Split(ratings, nothing, nothing, nothing, "all", 0)


def split_rows(ratings: Ratings, kind: str = "random", *, seed: int = 0) -> SplitRows:
    """Sorted row numbers (canonical order) of training, validation, test and given; see `split`."""
    part = _function_of(kind)
    number = as_seed(seed)
    try:
        rows = part(ratings, number)
    except DataError as error:
        raise DataError(f"{ratings.source}: {error}") from error
    return SplitRows(*map(np.sort, rows))


def rows_fingerprint(rows: NDArray[np.integer]) -> str:
    """SHA-256 of the sorted row numbers as little-endian 64-bit integers."""
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()


def _random(ratings: Ratings, seed: int) -> SplitRows:
    """80/10/10: rows drawn twice with scikit-learn's StratifiedShuffleSplit, as the comparisons define it."""
    if len(ratings) < FEWEST_RATINGS:
        raise DataError(f"{len(ratings)} ratings are too few to split; give {FEWEST_RATINGS} or more")
    rows, level = np.arange(len(ratings)), _levels(ratings)
    train, rest = _draw(rows, level, len(rows) * 8 // 10, seed)
    valid, test = _draw(rest, level, len(rest) // 2, seed)
    return SplitRows(train, valid, test)


def _given(ratings: Ratings, seed: int) -> SplitRows:
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
    return SplitRows(train, valid, test)


def _user(ratings: Ratings, seed: int) -> SplitRows:
    """80/10/10 of the users; a fifth of the ratings of those held out are targets."""
    users = np.flatnonzero(ratings.user_counts)
    if len(users) < FEWEST_USERS:
        raise DataError(
            f"{len(users)} users with ratings are too few to split by user; give {FEWEST_USERS} or more, "
            "or use kind 'random'"
        )
    draw = np.random.default_rng(seed)
    users = users[np.argsort(_shuffling(draw, len(users)), kind="stable")]
    n_train = len(users) * 8 // 10
    n_valid = (len(users) - n_train) // 2
    part = np.full(ratings.n_users, _TRAIN_PART, dtype=np.int8)
    part[users[n_train : n_train + n_valid]] = _VALID_PART
    part[users[n_train + n_valid :]] = _TEST_PART

    order, countdown = _within_users(ratings, _shuffling(draw, len(ratings)))
    # a fifth, rounded: two ratings are rounded up to the one target that makes the user count
    fifth = np.maximum((2 * ratings.user_counts + 5) // 10, ratings.user_counts >= 2)
    part_of_row, target = part[ratings.user_index], countdown <= fifth[ratings.user_index]
    valid, test = (order[target & (part_of_row == held_out)] for held_out in (_VALID_PART, _TEST_PART))
    if not len(valid) or not len(test):
        raise DataError(
            "every validation user or every test user drawn has a single rating, which leaves nothing to predict; "
            "use another seed or kind 'random'"
        )
    train = order[part_of_row == _TRAIN_PART]
    return SplitRows(train, valid, test, given=order[~target & (part_of_row != _TRAIN_PART)])


def _leave_k_out(ratings: Ratings, seed: int, k: int) -> SplitRows:
    """Hold out K random ratings of each user with 2K + 1 or more, twice."""
    least = 2 * k + 1
    enough = ratings.user_counts >= least
    if not enough.any():
        most = ratings.user_counts.max(initial=0)
        raise DataError(
            f"leave-{k}-out needs a user with {least} ratings or more, and the most that a user has is {most}; "
            "use a smaller number or kind 'random'"
        )
    key = _shuffling(np.random.default_rng(seed), len(ratings))
    return _hold_out(ratings, key, np.where(enough, k, 0))


def _time(ratings: Ratings, seed: int) -> SplitRows:
    """Cut the time line twice, between two instants each time."""
    times = _timestamps(ratings, "time")
    instants, counts = np.unique(times, return_counts=True)
    if len(instants) < 3:
        raise DataError(
            f"{len(instants)} distinct timestamps are too few for three parts in time order; give 3 or more, "
            "or use kind 'random'"
        )
    first, second = _cuts(np.cumsum(counts))
    train, test = times <= instants[first], times > instants[second]
    return SplitRows(*(np.flatnonzero(rows) for rows in (train, ~train & ~test, test)))


def _user_time(ratings: Ratings, seed: int) -> SplitRows:
    """Hold out the latest tenth of each user with 3 ratings or more, and the tenth before."""
    times = _timestamps(ratings, "user-time")
    enough = ratings.user_counts >= 3
    if not enough.any():
        raise DataError("user-time needs a user with 3 ratings or more, and there is none; use kind 'time' or 'random'")
    tenth = np.maximum((ratings.user_counts + 5) // 10, 1)
    return _hold_out(ratings, times, np.where(enough, tenth, 0))


# K stands for any whole number from 1, which the function gets as a third argument
KINDS: dict[str, Callable[..., SplitRows]] = {
    "random": _random,
    "given": _given,
    "user": _user,
    "leave-K-out": _leave_k_out,
    "time": _time,
    "user-time": _user_time,
}


def _function_of(kind: str) -> Callable[[Ratings, int], SplitRows]:
    """Find the function of a kind, with the number in its name bound."""
    for name, function in KINDS.items():
        # nine digits: more than any user's ratings, and no overflow in 64 bits
        if match := re.fullmatch(name.replace("K", "(?P<k>[1-9][0-9]{0,8})"), str(kind)):
            return partial(function, **{key: int(digits) for key, digits in match.groupdict().items()})
    raise ConfigError(
        f"unknown kind of split {kind!r}; there are: {', '.join(KINDS)} (K is a number from 1, as in leave-1-out)"
    )


def _timestamps(ratings: Ratings, kind: str) -> NDArray[np.int64]:
    if ratings.timestamps is None:
        raise DataError(f"kind {kind!r} needs timestamps, and these ratings have none; give them, or use kind 'random'")
    return ratings.timestamps


def _shuffling(draw: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Random keys to sort by. Not `permutation`, which NumPy may change; uniform doubles stay as they are."""
    return (draw.random(n) * 2**32).astype(np.int64)


def _within_users(ratings: Ratings, key: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Rows sorted by user, then by `key`, then in canonical order, and how many the user has left at each.

    Returns
    -------
    order, countdown : (n_ratings,) int64 arrays
        Place `i` of both belongs to user ``ratings.user_index[i]``; `countdown` is 1 at the last of a user.
    """
    lowest, span = key.min(), int(key.max()) - int(key.min()) + 1
    if span * ratings.n_users < 2**63:
        key = key - lowest
    else:  # nanoseconds, say: ranks have the same order, and their products fit in 64 bits
        key, span = np.unique(key, return_inverse=True)[1], len(ratings)
    # one number for user and key, because rows are grouped by user already: the stable sort then has work only
    # within users (25 million rows: 1 s, against 12 s for lexsort)
    order = np.argsort(ratings.user_index.astype(np.int64) * span + key, kind="stable")
    return order, np.repeat(ratings.indptr[1:], ratings.user_counts) - np.arange(len(ratings))


def _hold_out(ratings: Ratings, key: NDArray[np.int64], size: NDArray[np.int64]) -> SplitRows:
    """Of user `u`, the ``size[u]`` ratings with the highest keys to test, as many before them to validation."""
    order, countdown = _within_users(ratings, key)
    size = size[ratings.user_index]
    train, test = countdown > 2 * size, countdown <= size
    return SplitRows(order[train], order[~train & ~test], order[test])


def _cuts(until: NDArray[np.int64]) -> tuple[int, int]:
    """Last instant of training and of validation, where sizes are as near as possible to 80/10/10.

    Nearest means the smallest sum of absolute differences between the three sizes and those wanted; of equally
    near cuts the earliest.

    Parameters
    ----------
    until : (n_instants,) int64
        Number of ratings up to and with each instant; n_instants ≥ 3.
    """
    n, last = int(until[-1]), len(until) - 2

    def near(tenths: int) -> list[int]:
        # the cut to either side of the wanted size; one more for where both cuts want the same place
        after = int(np.searchsorted(until, n * tenths / 10))
        return sorted({min(max(instant, 0), last) for instant in range(after - 2, after + 2)})

    def distance(cuts: tuple[int, int]) -> int:
        # in tenths of a rating: whole numbers have no ties by rounding
        train, both = (10 * int(until[cut]) for cut in cuts)
        return abs(train - 8 * n) + abs(both - train - n) + abs(9 * n - both)

    return min(((first, second) for first, second in product(near(8), near(9)) if first < second), key=distance)


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
