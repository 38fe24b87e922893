"""A fitted model and its history with more items than they were trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyvae.errors import DataError
from hyvae.models.base import RatingModel
from hyvae.nn.randomness import seeded
from hyvae.ratings import Id, Ratings, Vocabulary, as_ids, title_array


def known_users(history: Ratings, users: Sequence[Id]) -> NDArray[np.int64]:
    """Indices of users by id, shape (n,).

    Raises
    ------
    DataError
        Someone is not known.
    """
    index = history.users.index(users)
    if (index < 0).any():
        raise DataError(
            f"user {users[int((index < 0).argmax())]!r} is not among the {history.n_users:,} known users; "
            "for someone new, give their ratings instead"
        )
    return index


def read_columns(history: Ratings, columns: Mapping[Id, Mapping[Id, float]]) -> Ratings:
    """Ratings of new items by known users, with items as rows and users as columns.

    Raises
    ------
    DataError
        An item that is known already, an unknown user, or no ratings.
    """
    ids = as_ids(list(columns))
    known = history.items.index(ids) >= 0
    if known.any():
        raise DataError(f"item {ids[known].tolist()[0]!r} is known already; new ratings of known items need training")
    items = Vocabulary.of(ids)
    users = [user for column in columns.values() for user in column]
    return Ratings.from_indices(
        items,
        history.users,
        items.index(np.repeat(ids, [len(column) for column in columns.values()])),
        known_users(history, users) if users else np.empty(0, np.int64),
        [rating for column in columns.values() for rating in column.values()],
        scale=history.scale,
        source="ratings of new items",
    )


def extend_model(
    model: RatingModel, new: tuple[Tensor, Tensor], old_place: NDArray[np.int64], new_place: NDArray[np.int64]
) -> RatingModel:
    """A copy that scores old and new items; encoders give the new ones no weight.

    Parameters
    ----------
    new : (n_new, width) and (n_new,) tensors
        Rows and biases of the new items, from `RatingModel.encode_items`.
    old_place, new_place : int arrays
        Indices of the old and of the new items in the new vocabulary.
    """
    n_items = len(old_place) + len(new_place)
    make: Any = type(model)
    with seeded(0):
        copy: RatingModel = make(model.config, model.n_users, n_items, model.scale).to(model.item_rows.device)
    state = {}
    for name, tensor in model.answering_state().items():
        if name in model.item_tables:
            grown = tensor.new_zeros((n_items, *tensor.shape[1:]))
            grown[torch.from_numpy(old_place)] = tensor
            state[name] = grown
        else:
            state[name] = tensor
    for name, rows in zip(("item_rows", "item_bias"), new, strict=True):
        state[name][torch.from_numpy(new_place)] = rows
    copy.load_state_dict(state, strict=False)
    return copy.eval()


def extend_history(
    history: Ratings,
    columns: Ratings,
    items: Vocabulary,
    old_place: NDArray[np.int64],
    new_place: NDArray[np.int64],
    titles: dict[Any, str],
) -> Ratings:
    """The training ratings together with those of the new items.

    Parameters
    ----------
    columns : Ratings
        New items as rows, known users as columns.
    """
    known = {} if history.titles is None else dict(zip(history.items.ids.tolist(), history.titles, strict=True))
    return Ratings.from_indices(
        history.users,
        items,
        np.concatenate([history.user_index, columns.indices]),
        np.concatenate([old_place[history.indices], new_place[columns.user_index]]),
        np.concatenate([history.values, columns.values]),
        scale=history.scale,
        titles=title_array(items, known | titles) if known or titles else None,
    )
