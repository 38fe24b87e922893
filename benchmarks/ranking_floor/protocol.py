"""The protocol of the ranking floor: what is an interaction, who is ranked among what, and how lists are measured.

MovieLens-1M, split 80/10/10 by `Ratings.split(seed=0)`; an interaction is a rating of 4 or more. A user's list is the
10 best items by score among the items with a training interaction, without the user's own training interactions.
Inputs are the training interactions alone, at test time too: validation interactions are neither input nor masked.
NDCG@10 and recall@10 are means over the users with a relevant item and a training interaction.

    train, valid, test = map(interactions, parts())
    lists = top_lists(score, train)             # score(users) -> (len(users), n_items) array, higher is better
    measure(lists, valid, train)                # for choosing; `test` for reporting

Needs numpy alone, except for `parts` and `measure`, which are called on our side.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA, SEED = "ml-1m", 0
LIKED = 4.0
TOP = 10
# as results files tell it
ABOUT = {"data": DATA, "seed": SEED, "liked": LIKED, "top": TOP}


class Interactions(NamedTuple):
    """The liked items of one part, sorted by user; users and items are numbered as in the `Ratings`."""

    users: np.ndarray
    items: np.ndarray
    n_users: int
    n_items: int

    def indptr(self) -> np.ndarray:
        """Where each user's items begin, shape (n_users + 1,)."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.users, minlength=self.n_users))])

    def by_user(self) -> list[np.ndarray]:
        """Items of each user."""
        return np.split(self.items, self.indptr()[1:-1])


def parts() -> tuple[Any, Any, Any]:
    """Training, validation and test `Ratings`; HYVAE_DATA says where the data set lies."""
    from hyvae import Ratings

    return Ratings.read(DATA).split(seed=SEED)


def interactions(part: Any) -> Interactions:
    """The interactions of `Ratings` (what are interactions already are returned as they are)."""
    if isinstance(part, Interactions):
        return part
    liked = part.values >= LIKED
    users, items = part.user_index[liked].astype(np.int64), part.indices[liked].astype(np.int64)
    return Interactions(users, items, part.n_users, part.n_items)


def top_lists(
    score: Callable[[np.ndarray], np.ndarray], train: Interactions, block: int = 1024, top: int = TOP
) -> np.ndarray:
    """The lists of all users, best first, shape (n_users, top); users without a training interaction have −1 only."""
    indptr = train.indptr()
    untrained = np.bincount(train.items, minlength=train.n_items) == 0
    known = np.flatnonzero(np.diff(indptr))
    lists = np.full((train.n_users, top), -1, dtype=np.int64)
    for users in np.split(known, range(block, len(known), block)):
        scores = np.array(score(users), dtype=np.float64)
        if not np.isfinite(scores[:, ~untrained]).all():
            raise ValueError("scores are not finite")
        scores[:, untrained] = -np.inf
        for row, user in enumerate(users):
            scores[row, train.items[indptr[user] : indptr[user + 1]]] = -np.inf
        best = np.argpartition(-scores, top, axis=1)[:, :top]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        lists[users] = np.take_along_axis(best, order, 1)
    return lists


def measure(lists: np.ndarray, part: Any, train: Any) -> dict[str, float]:
    """NDCG and recall of the lists of all users against a part's interactions; lists against the protocol raise."""
    from hyvae import metrics

    part, train = interactions(part), interactions(train)
    _check(lists, train)
    relevant, n_relevant = part.by_user(), np.bincount(part.users, minlength=part.n_users)
    ranked = np.flatnonzero((n_relevant > 0) & (np.bincount(train.users, minlength=train.n_users) > 0))
    hit = metrics.hits(lists[ranked], [relevant[user] for user in ranked])
    return {
        "ndcg": float(metrics.ndcg(hit, n_relevant[ranked]).mean()),
        "recall": float(metrics.recall(hit, n_relevant[ranked]).mean()),
        "users": len(ranked),
    }


def _check(lists: np.ndarray, train: Interactions) -> None:
    if lists.shape != (train.n_users, TOP):
        raise ValueError(f"lists are {lists.shape}, not {(train.n_users, TOP)}")
    users, ranks = np.nonzero(lists >= 0)
    items = lists[users, ranks]
    if np.isin(users * train.n_items + items, train.users * train.n_items + train.items).any():
        raise ValueError("a list holds a training interaction of its user")
    if not np.isin(items, train.items).all():
        raise ValueError("a list holds an item without a training interaction")
    if any(len(np.unique(row)) != TOP for row in lists[np.unique(users)]):
        raise ValueError("a list holds an item twice, or is too short")


def save(path: Path, **named: Interactions) -> None:
    """Parts as one .npz file, for other systems' Pythons."""
    arrays = {f"{name}_{field}": value for name, part in named.items() for field, value in part._asdict().items()}
    np.savez(path, **arrays)


def load(path: Path | str, name: str) -> Interactions:
    """One part of a file that `save` wrote."""
    with np.load(path) as file:
        users, items, n_users, n_items = (file[f"{name}_{field}"] for field in Interactions._fields)
    return Interactions(users, items, int(n_users), int(n_items))
