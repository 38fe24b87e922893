"""Ratings put together with others, or carried over to other vocabularies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hyvae.data.splits import FEWEST_RATINGS, Split, split
from hyvae.errors import DataError
from hyvae.ratings import Id, Ratings, Vocabulary, joined_pairs, title_array


def merge(old: Ratings, new: Ratings) -> Ratings:
    """Both together, in the vocabularies of both; where both rate a pair, the new rating counts.

    Timestamps are kept where both have them (no ratings have all), titles where one has: for an item that both know,
    the old one's. The scale is that of the old ones. Pairs without a rating are those of both that neither rates.

    Raises
    ------
    DataError
        Ids of different types, or a new rating off the scale.
    """
    low, high = old.scale
    if len(new) and (new.values.min() < np.float32(low) or new.values.max() > np.float32(high)):
        raise DataError(
            f"{new.source}: its ratings run from {new.values.min():g} to {new.values.max():g}, off the scale "
            f"{low:g} to {high:g} of the ratings that they join; bring them to that scale"
        )
    users, items = joint(old.users, new.users, "user", new.source), joint(old.items, new.items, "item", new.source)
    titles = _real_titles(new) | _real_titles(old)
    has_titles = old.titles is not None or new.titles is not None
    first, second = reindexed(old, users, items), reindexed(new, users, items)
    again = np.isin(_keys(first), _keys(second))
    parts = [part for part in (first.take(~again), second) if len(part)]
    unrated = joined_pairs([first.unrated, second.unrated])
    if not parts:
        nothing = Ratings.empty(users, items, old.scale, title_array(items, titles) if has_titles else None)
        return nothing.with_unrated(unrated)
    times = [part.timestamps for part in parts if part.timestamps is not None]
    return Ratings.from_indices(
        users,
        items,
        np.concatenate([part.user_index for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
        scale=old.scale,
        timestamps=np.concatenate(times) if len(times) == len(parts) else None,
        titles=title_array(items, titles) if has_titles else None,
        source=old.source,
        unrated=unrated,
        layout=new.layout,
    )


def joint(old: Vocabulary, new: Vocabulary, noun: str, source: str) -> Vocabulary:
    """The ids of both vocabularies.

    Raises
    ------
    DataError
        Integers in one, text in the other.
    """
    if len(old) and len(new) and old.is_integer != new.is_integer:
        kinds = ("integers", "text") if old.is_integer else ("text", "integers")
        raise DataError(
            f"{source}: its {noun} ids are {kinds[1]}, where they are {kinds[0]} in the ratings that they join; "
            "write them alike"
        )
    return old if old == new else Vocabulary.of(np.concatenate([old.ids, new.ids]))


def reindexed(ratings: Ratings, users: Vocabulary, items: Vocabulary) -> Ratings:
    """The same ratings in other vocabularies; those of a user or item that is not there are left out."""
    if ratings.users == users and ratings.items == items:
        return ratings
    user_place, item_place = users.index(ratings.users.ids), items.index(ratings.items.ids)
    kept = ratings.take((user_place[ratings.user_index] >= 0) & (item_place[ratings.indices] >= 0))
    titles = None
    if ratings.titles is not None:
        titles = title_array(items, dict(zip(ratings.items.ids.tolist(), ratings.titles, strict=True)))
    unrated = None
    if ratings.unrated is not None:
        unrated = np.stack([user_place[ratings.unrated[:, 0]], item_place[ratings.unrated[:, 1]]], axis=1)
        unrated = unrated[(unrated >= 0).all(axis=1)]
    if not len(kept):
        return Ratings.empty(users, items, ratings.scale, titles).with_unrated(unrated)
    return Ratings.from_indices(
        users,
        items,
        user_place[kept.user_index],
        item_place[kept.indices],
        kept.values,
        scale=ratings.scale,
        timestamps=kept.timestamps,
        titles=titles,
        parts=kept.parts,
        source=ratings.source,
        unrated=unrated,
        layout=ratings.layout,
    )


def without_users(ratings: Ratings, gone: Sequence[Id]) -> Ratings:
    """Without these users, who are no longer in the vocabulary either."""
    left = ~np.isin(np.arange(ratings.n_users), ratings.users.index(list(gone)))
    return reindexed(ratings, Vocabulary(ratings.users.ids[left]), ratings.items)


def transposed(ratings: Ratings, items: np.ndarray) -> Ratings:
    """The columns of some items (by index) as rows: items as users, users as items."""
    place = np.full(ratings.n_items, -1)
    place[items] = np.arange(len(items))
    kept = ratings.take(place[ratings.indices] >= 0)
    rows = Vocabulary(ratings.items.ids[items])
    if not len(kept):
        return Ratings.empty(rows, ratings.users, ratings.scale)
    return Ratings.from_indices(
        rows, ratings.users, place[kept.indices], kept.user_index, kept.values, scale=ratings.scale
    )


def extend_split(old: Sequence[Ratings], new: Ratings, kind: str = "random", *, seed: int = 0) -> Split:
    """A split that keeps what an earlier one decided, and parts the ratings that are new to it.

    What was held out stays held out, so that weights from the earlier training have not seen it. A pair that is rated
    again stays in its part, with the new rating.

    Parameters
    ----------
    old : three Ratings
        Training, validation and test part, in the same vocabularies.
    kind, seed
        Of the split of the new ratings; fewer than ten of them all go to training.

    Raises
    ------
    ConfigError, DataError
        As `hyvae.data.split` and `merge`.
    """
    users = joint(old[0].users, new.users, "user", new.source)
    items = joint(old[0].items, new.items, "item", new.source)
    parts = [reindexed(part, users, items) for part in old]
    added = reindexed(new, users, items)
    keys = _keys(added)
    known = [np.isin(keys, _keys(part)) for part in parts]
    unseen = added.take(~np.logical_or.reduce(known))
    if len(unseen) < FEWEST_RATINGS:
        nothing = unseen.take(np.empty(0, np.int64))
        fresh = Split(unseen, nothing, nothing, nothing, kind, seed)
    else:
        fresh = split(unseen, kind, seed=seed)
    train, valid, test = (
        merge(merge(part, piece), added.take(again)) for part, piece, again in zip(parts, fresh, known, strict=True)
    )
    return Split(train, valid, test, fresh.given, kind, seed)


def _real_titles(ratings: Ratings) -> dict[Id, str]:
    """Titles by item id, less those that only repeat the id: `title_array` gives such to an item that has none."""
    if ratings.titles is None:
        return {}
    titles = zip(ratings.items.ids.tolist(), ratings.titles, strict=True)
    return {id_: title for id_, title in titles if title != str(id_)}


def _keys(ratings: Ratings) -> np.ndarray:
    return ratings.user_index.astype(np.int64) * ratings.n_items + ratings.indices
