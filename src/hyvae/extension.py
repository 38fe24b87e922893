"""A fitted model carried over to other vocabularies: more users and items, or fewer users."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyvae.errors import ConfigError, DataError, DataWarning
from hyvae.inputs import as_ids
from hyvae.models.base import RatingBlock, RatingModel
from hyvae.nn.precision import single_precision
from hyvae.nn.randomness import seeded
from hyvae.ratings import Id, Ratings, Vocabulary, title_array


@dataclass(frozen=True)
class Move:
    """Which rows of the tables of one vocabulary go where in those of another.

    Attributes
    ----------
    source, target : (n,) int64 tensors
        Old and new index of each id that is in both.
    size : int
        Length of the new vocabulary.
    """

    source: Tensor
    target: Tensor
    size: int

    @classmethod
    def between(cls, old: Vocabulary, new: Vocabulary) -> Self:
        """The move that keeps every id's row with it."""
        place = new.index(old.ids)
        return cls(torch.from_numpy(np.flatnonzero(place >= 0)), torch.from_numpy(place[place >= 0]), len(new))

    def apply(self, table: Tensor, into: Tensor | None = None) -> Tensor:
        """Rows of `table` at their new places, over those of `into` (default: zeros)."""
        moved = table.new_zeros((self.size, *table.shape[1:])) if into is None else into.clone()
        moved[self.target] = table[self.source]
        return moved


def moved_model(model: RatingModel, users: Move, items: Move) -> RatingModel:
    """A copy for other vocabularies, ready to answer; the rows of what is new are zero."""
    make: Any = type(model)
    with seeded(0), single_precision():
        copy: RatingModel = make(model.config, users.size, items.size, model.scale).to(model.item_rows.device)
    state = {name: _moved(model, name, tensor, users, items) for name, tensor in model.answering_state().items()}
    fresh = copy.state_dict()
    if any(fresh[name].shape != tensor.shape for name, tensor in state.items()):
        raise ConfigError(f"{model.name}, as it is set, has layers that fix the items; train again with the new items")
    copy.load_state_dict(state, strict=False)
    return copy.eval()


def warm_start(model: RatingModel, earlier: RatingModel, trained_on: RatingBlock, users: Move, items: Move) -> None:
    """Give a fresh model the weights of an earlier one; rows of new users and items stay as they were drawn.

    Parameters
    ----------
    trained_on : RatingBlock
        What the earlier model was trained on, from which it recovers the weights that a run leaves out.

    Raises
    ------
    ConfigError
        The earlier model cannot be trained further from a run.
    """
    fresh = model.state_dict()
    state = earlier.answering_state() | earlier.recover_training_state(trained_on)
    model.load_state_dict(
        {name: _moved(earlier, name, tensor, users, items, fresh[name]) for name, tensor in state.items()},
        strict=False,
    )


def _moved(
    model: RatingModel, name: str, tensor: Tensor, users: Move, items: Move, into: Tensor | None = None
) -> Tensor:
    if name in model.item_tables:
        return items.apply(tensor, into)
    return users.apply(tensor, into) if name in model.user_tables else tensor


def known_users(history: Ratings, users: Sequence[Id]) -> NDArray[np.int64]:
    """Indices of users by id, shape (n,).

    Raises
    ------
    DataError
        Someone is not known.
    """
    index = history.users.index(users)
    if (index < 0).any():
        user = users[int((index < 0).argmax())]
        known = f"user {user!r} is not among the {history.n_users:,} known users"
        if isinstance(user, str) == history.users.is_integer:
            kind, given = ("integers", "text") if history.users.is_integer else ("text", "an integer")
            raise DataError(f"{known}: their ids are {kind}, and {user!r} is {given}; ask with an id of their type")
        raise DataError(f"{known}; for someone new, give their ratings instead")
    return index


def warn_of_forgotten(known: Ratings, ratings: Ratings) -> None:
    """Say that a training forgets users: those of an earlier one's history who have no ratings in the new one.

    Warns
    -----
    DataWarning
    """
    place = ratings.users.index(known.users.ids[known.user_counts > 0])
    gone = np.count_nonzero((place < 0) | (ratings.user_counts[place] == 0))
    if gone:
        warnings.warn(
            f"{gone:,} of the {len(place):,} users that the earlier model knows have no ratings here, and are "
            "forgotten; to keep them, train on hyvae.data.merge(model.history, ratings)",
            DataWarning,
            stacklevel=5,
        )


def read_columns(history: Ratings, columns: Mapping[Id, Mapping[Id, float]], titles: Mapping[Id, str]) -> Ratings:
    """Ratings of new items by known users.

    Raises
    ------
    DataError
        An item that is known already, an unknown user, or no ratings.
    """
    ids = as_ids(list(columns))
    known = history.items.index(ids) >= 0
    if known.any():
        raise DataError(
            f"item {ids[known].tolist()[0]!r} is known already; give new ratings of known items to with_ratings"
        )
    items = Vocabulary.of(ids)
    users = [user for column in columns.values() for user in column]
    return Ratings.from_indices(
        history.users,
        items,
        known_users(history, users) if users else np.empty(0, np.int64),
        items.index(np.repeat(ids, [len(column) for column in columns.values()])),
        [rating for column in columns.values() for rating in column.values()],
        scale=history.scale,
        titles=title_array(items, titles) if titles else None,
        source="ratings of new items",
    )
