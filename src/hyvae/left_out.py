"""Pairs that lists leave out though answers are not given from them: ratings that were held out of training.

A user has rated these items, so none of them belongs on a list for that user. Evaluation is the one exception: the
ratings that it tests on must be able to reach a list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hyvae.data.joining import reindexed
from hyvae.errors import DataError
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings, Vocabulary


class LeftOut(NamedTuple):
    """What lists leave out besides the history. The ratings of these pairs do not matter.

    Attributes
    ----------
    validation : Ratings
        Pairs of the validation part.
    others : Ratings
        Pairs of the test part, those named by ``exclude=``, those without a rating, and those that an earlier run left
        out.
    """

    validation: Ratings
    others: Ratings

    @classmethod
    def of(cls, users: Vocabulary, items: Vocabulary, validation: Iterable[Ratings], others: Iterable[Ratings]) -> Self:
        """Collect pairs in one pair of vocabularies; pairs of an unknown user or item are dropped."""
        return cls(pairs_of(validation, users, items), pairs_of(others, users, items))

    def moved(self, history: Ratings) -> Self:
        """The same pairs in the vocabularies of another history, and those that it has without a rating."""
        others = [self.others, unrated_pairs(history)]
        return type(self).of(history.users, history.items, [self.validation], others)

    def of_user(self, user: int) -> NDArray[np.int64]:
        """Items of the user with index `user`; one that both parts hold stands twice."""
        parts = [part.history(user)[0] for part in (self.validation, self.others)]
        return np.concatenate(parts, dtype=np.int64)

    def beside(self, history: Ratings, held_out: Iterable[Ratings]) -> dict[str, Ratings]:
        """The pairs of each kind that stand neither in the history nor in the held-out parts: what a run must add."""
        stored = [history, unrated_pairs(history), *held_out]
        rest = {name: without_pairs(pairs, stored) for name, pairs in self._asdict().items()}
        return {name: pairs for name, pairs in rest.items() if len(pairs)}


def excluded_parts(exclude: Ratings | Iterable[Ratings] | None) -> list[Ratings]:
    """What a caller named with ``exclude=``, as a list.

    Raises
    ------
    DataError
        Something that is no `Ratings`.
    """
    if exclude is None:
        return []
    parts = [exclude] if isinstance(exclude, Ratings) else exclude
    listed = list(parts) if isinstance(parts, Iterable) else [parts]
    for part in listed:
        if not isinstance(part, Ratings):
            raise DataError(f"exclude takes Ratings, or a list of them; got {type(part).__name__}")
    return listed


def pairs_of(parts: Iterable[Ratings], users: Vocabulary, items: Vocabulary) -> Ratings:
    """All pairs of `parts` in these vocabularies, once each, as ratings of 0."""
    moved = [reindexed(part, users, items) for part in parts if len(part)]
    keys = np.unique(np.concatenate([np.empty(0, np.int64), *map(_keys, moved)]))
    return _from_keys(keys, users, items)


def unrated_pairs(ratings: Ratings) -> Ratings:
    """Pairs of who took what without a rating, where a source tells of such."""
    pairs = ratings.unrated
    keys = np.empty(0, np.int64)
    if pairs is not None:
        keys = np.unique(pairs[:, 0].astype(np.int64) * ratings.n_items + pairs[:, 1])
    return _from_keys(keys, ratings.users, ratings.items)


def without_pairs(pairs: Ratings, parts: Iterable[Ratings]) -> Ratings:
    """`pairs` less those that one of `parts` holds."""
    keys, kept = _keys(pairs), np.ones(len(pairs), bool)
    for part in parts:
        if len(part):
            # the keys of ratings ascend: to look a few up is many times faster than to sort all again
            theirs = _keys(reindexed(part, pairs.users, pairs.items))
            place = np.searchsorted(theirs, keys).clip(max=max(len(theirs) - 1, 0))
            kept &= theirs[place] != keys if len(theirs) else True
    return pairs if kept.all() else pairs.take(kept)


def seen_pattern(pattern: SparsePattern, left_out: Iterable[Ratings], users: NDArray[np.int64]) -> SparsePattern:
    """The items that lists of some users must not contain.

    Parameters
    ----------
    pattern : SparsePattern
        (n, n_items): rated items of each.
    left_out : iterable of Ratings
        Pairs beside them.
    users : (n,) int array
        Their indices.
    """
    more = [_matrix(pairs.indptr, pairs.indices, pairs.n_items)[users] for pairs in left_out if len(pairs)]
    if not any(each.nnz for each in more):
        return pattern
    found = _matrix(pattern.crow.cpu().numpy(), pattern.col.cpu().numpy(), pattern.shape[1])
    for each in more:
        found = found + each
    return SparsePattern.from_numpy(found.indptr, found.indices, pattern.shape[1], pattern.crow.device)


def _matrix(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_items: int) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(indices), bool), indices, indptr), shape=(len(indptr) - 1, n_items))


def _keys(ratings: Ratings) -> NDArray[np.int64]:
    return ratings.user_index.astype(np.int64) * ratings.n_items + ratings.indices


def _from_keys(keys: NDArray[np.int64], users: Vocabulary, items: Vocabulary) -> Ratings:
    if not len(keys):
        return Ratings.empty(users, items, (0.0, 0.0))
    return Ratings.from_indices(users, items, keys // len(items), keys % len(items), np.zeros(len(keys)))
