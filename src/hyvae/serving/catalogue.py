"""The items of a run: found by id or title, by likeness, and on a map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from hyvae.errors import DataError
from hyvae.likeness import directions
from hyvae.ratings import Id
from hyvae.recommender import Recommender
from hyvae.serving import schemas
from hyvae.serving.problems import Problem
from hyvae.titles import ItemFinder, normalise

#: items that the map shows, of those rated most
MAPPED = 2_000


class UnknownItem(Problem):
    """No item has a name. Similar titles take a while to find, so `Catalogue.hinted` looks for them, once a request.

    Parameters
    ----------
    name : int or str
    detail : str
    field : str
    """

    def __init__(self, name: Id, detail: str, field: str) -> None:
        super().__init__(404, "unknown-item", detail, field=field)
        self.name = name


class Catalogue:
    """What is known of the items of a run.

    Parameters
    ----------
    recommender : Recommender
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        items = recommender.history.items
        self.n_items = len(items)
        self.ids: list[Id] = items.ids.tolist()
        self._index_of = {id_: index for index, id_ in enumerate(self.ids)}
        self._finder = ItemFinder(items, recommender.history.titles)
        self._rows = recommender.model.item_rows

    def index(self, name: Id, field: str) -> int:
        """Index of an item by id or title.

        Raises
        ------
        UnknownItem
            404.
        """
        index = self._index_of.get(name)
        if index is not None:
            return index
        try:
            return int(self._finder.indices([name], hints=False)[0])
        except DataError as error:
            raise UnknownItem(name, str(error), field) from error

    def hinted(self, unknown: UnknownItem) -> UnknownItem:
        """The same problem, with titles that are close."""
        try:
            self._finder.indices([unknown.name])
        except DataError as error:
            unknown.detail = str(error)
        return unknown

    def indices(self, names: Sequence[Id], field: str) -> NDArray[np.int64]:
        """Indices of several, as `index`; the problem names the place in the field."""
        return np.array([self.index(name, f"{field}.{place}") for place, name in enumerate(names)], np.int64)

    def directions(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of items, without the constant that some have last, of length 1."""
        return directions(self._rows[items])

    def title(self, item: int) -> str:
        """What an item is called; its id where it has no title."""
        titles = self.recommender.history.titles
        return str(self.ids[item] if titles is None else titles[item])

    def _item(self, item: int) -> dict[str, Any]:
        return {
            "item": self.ids[item],
            "title": self.title(item),
            "ratings": int(self.recommender.item_counts[item]),
        }

    @cached_property
    def _searchable(self) -> list[str]:
        return [normalise(self.title(item)) for item in range(self.n_items)]

    def search(self, query: str, limit: int) -> schemas.Items:
        """Items whose titles hold what was typed: those that begin with it first, and of these what is rated most."""
        wanted = normalise(query)
        words = wanted.split()
        counts = self.recommender.item_counts
        found = []
        for item, title in enumerate(self._searchable):
            if all(word in title for word in words):
                rank = 0 if title == wanted else 1 if title.startswith(wanted) else 2 if wanted in title else 3
                found.append((rank, -int(counts[item]), item))
        if not found and self._finder.titles is not None:
            close = self._finder.titles.similar(query, limit)
            found = [(4, 0, index) for title in close for index in self._finder.titles.find(title)[:1]]
        return schemas.Items(items=[schemas.Item(**self._item(item)) for *_, item in sorted(found)[:limit]])

    def popular(self, limit: int) -> schemas.Items:
        """What is rated most."""
        order = np.argsort(-self.recommender.item_counts, kind="stable")[:limit]
        return schemas.Items(items=[schemas.Item(**self._item(item)) for item in order.tolist()])

    def similar(self, name: Id, limit: int) -> schemas.SimilarItems:
        """Items that the model knows the most alike.

        Raises
        ------
        Problem
            404.
        """
        item = self.index(name, "item")
        return schemas.SimilarItems(
            items=[
                schemas.SimilarItem(**self._item(self._index_of[other.item]), similarity=other.similarity)
                for other in self.recommender.similar_items(self.ids[item], limit)
            ]
        )

    @cached_property
    def map(self) -> schemas.Map:
        """The most rated items in two dimensions: the principal components of their directions."""
        items = np.argsort(-self.recommender.item_counts, kind="stable")[:MAPPED]
        rows = self.directions(items)
        places = _principal(rows - rows.mean(0))
        places = places / (np.abs(places).max(0) + 1e-12)
        return schemas.Map(
            items=[
                schemas.Place(**self._item(item), x=float(x), y=float(y))
                for item, (x, y) in zip(items.tolist(), places.tolist(), strict=True)
            ]
        )


def _principal(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places of centred rows along their two principal components, (n, 2); zeros where there are fewer."""
    places = np.zeros((len(rows), 2))
    size = min(rows.shape)
    if (found := min(2, size - 1)) > 0:
        start = np.random.default_rng(0).standard_normal(size)
        left, lengths, _ = svds(rows.astype(np.float64), k=found, v0=start)
        order = np.argsort(-lengths)
        places[:, :found] = left[:, order] * lengths[order]
    return places
