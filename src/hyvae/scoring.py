"""A fitted model applied to ratings, by index: blocks of rows, codes of users, scores of pairs, and the best k.

Ratings go into a model's unit in `rating_block`, and scores come out of it by `RatingModel.ratings`: nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyvae import metrics
from hyvae.errors import DataError
from hyvae.models.base import RatingBlock, RatingModel
from hyvae.nn import kernels
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings

USER_BLOCK = 1024
MIN_ITEM_BLOCK = 512
SCORES_AT_A_TIME = 1 << 19


def rating_block(
    model: RatingModel | None, ratings: Ratings, users: NDArray[np.int64] | None = None, row_gradients: bool = False
) -> RatingBlock:
    """Rows of `ratings` as a block for a model: in its unit, and on its device.

    Parameters
    ----------
    model : RatingModel or None
        None: ratings as they were given, on the CPU.
    users : (n_rows,) int array, optional
        User indices; default: all, in order.
    row_gradients : bool
        See `SparsePattern`.
    """
    device = "cpu" if model is None else str(model.item_rows.device)
    if users is None:
        users = np.arange(ratings.n_users)
    rows: slice | NDArray[np.int64]
    if len(users) and (np.diff(users) == 1).all():  # consecutive: no rating has to be looked for
        crow = ratings.indptr[users[0] : users[-1] + 2]
        rows = slice(crow[0], crow[-1])
        keys, crow = np.arange(crow[0], crow[-1]), crow - crow[0]
    else:
        counts = ratings.user_counts[users]
        crow = np.concatenate([[0], np.cumsum(counts)])
        rows = keys = np.arange(crow[-1]) + np.repeat(ratings.indptr[users] - crow[:-1], counts)
    pattern = SparsePattern.from_numpy(crow, ratings.indices[rows], ratings.n_items, device)
    values = torch.from_numpy(ratings.values[rows].copy()).to(device)
    return RatingBlock(
        replace(pattern, row_gradients=row_gradients),
        values if model is None else model.in_unit(values),
        torch.from_numpy(np.asarray(users, dtype=np.int64)).to(device),
        torch.from_numpy(keys).to(device),
    )


def user_blocks(n_users: int, size: int = USER_BLOCK) -> Iterator[NDArray[np.int64]]:
    """Indices 0 … n_users − 1 in consecutive blocks."""
    for start in range(0, n_users, size):
        yield np.arange(start, min(start + size, n_users))


@torch.no_grad()
def predict_pairs(model: RatingModel, history: Ratings, pairs: Ratings) -> NDArray[np.float32]:
    """Predicted ratings of every (user, item) of `pairs`, each user answered from their row of `history`.

    Not clipped. Both share their vocabularies.

    Returns
    -------
    (n,) array
        In the row order of `pairs`.
    """
    model.eval()
    out = np.empty(len(pairs), dtype=np.float32)
    for users in user_blocks(pairs.n_users):
        users = users[pairs.user_counts[users] > 0]
        if not len(users):
            continue
        codes = model.encode(rating_block(model, history, users))
        wanted = rating_block(model, pairs, users)
        assert wanted.keys is not None
        out[wanted.keys.cpu().numpy()] = model.ratings(model.score_pairs(codes, wanted.pattern)).cpu().numpy()
    return out


@torch.no_grad()
def best_items(
    model: RatingModel, codes: Tensor, n: int, seen: SparsePattern | None, candidates: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `n` items of highest score for each code, in blocks of items with a running list of the best.

    Parameters
    ----------
    codes : (n_users, width) tensor
    seen : SparsePattern, optional
        (n_users, n_items), columns ascending in each row: items that a user's list must not contain.
    candidates : (n_items,) bool array
        Items that any list may contain.

    Returns
    -------
    items : (n_users, n) int64 array
        Best first; −1 where fewer than `n` remain.
    scores : (n_users, n) float32 array
        As ratings, where the model predicts them, not clipped; NaN where the item is −1.

    Raises
    ------
    DataError
        `n` is below 1.
    """
    if n < 1:
        raise DataError(f"the length of a list must be at least 1, got {n}")
    allowed = None if candidates.all() else torch.from_numpy(np.ascontiguousarray(candidates)).to(codes.device)
    k = min(n, model.n_items)
    best = torch.full((len(codes), k), -torch.inf, dtype=codes.dtype, device=codes.device)
    items = torch.full((len(codes), k), -1, device=codes.device)
    # scores that stay in the cache until they are looked through
    block = max(MIN_ITEM_BLOCK, SCORES_AT_A_TIME // max(len(codes), 1))
    for start in range(0, model.n_items, block):
        scores = model.score(codes, slice(start, min(start + block, model.n_items)))
        crow, col = (None, None) if seen is None else (seen.crow, seen.col)
        kernels.best_(scores, start, crow, col, allowed, best, items)
    found, values = items.cpu().numpy(), model.ratings(best).cpu().numpy()
    values[found < 0] = np.nan
    short = n - k
    return (
        np.pad(found, ((0, 0), (0, short)), constant_values=-1),
        np.pad(values, ((0, 0), (0, short)), constant_values=np.nan),
    )


# of the lists that validation looks at
VALIDATION_LIST = 10


@torch.no_grad()
def ranking_ndcg(model: RatingModel, history: Ratings, held_out: Ratings, n: int = VALIDATION_LIST) -> float:
    """Mean NDCG@n of lists against held-out ratings, over the users who have a relevant one.

    Relevant is what `hyvae.metrics.relevant_from` says; what a user has rated in `history` is left out of their list.
    """
    model.eval()
    candidates = history.item_counts > 0
    wanted = held_out.take(held_out.values >= metrics.relevant_from(held_out.scale))
    gains = []
    for users in user_blocks(wanted.n_users):
        users = users[wanted.user_counts[users] > 0]
        if len(users):
            block = rating_block(model, history, users)
            lists, _ = best_items(model, model.encode(block), n, block.pattern, candidates)
            relevant = [wanted.history(user)[0].astype(np.int64) for user in users.tolist()]
            gains.append(metrics.ndcg(metrics.hits(lists, relevant), wanted.user_counts[users]))
    return float(np.concatenate(gains).mean()) if gains else 0.0
