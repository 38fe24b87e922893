"""Find items by what people call them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyvae.errors import DataError
from hyvae.ratings import Vocabulary

_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
_ARTICLE_LAST = re.compile(r"^(.*), (the|a|an)$")


def normalise(title: str) -> str:
    """``'Matrix, The (1999)'`` as people type it: ``'the matrix'``."""
    plain = _YEAR.sub("", title.strip()).casefold()
    return _ARTICLE_LAST.sub(r"\2 \1", plain)


class TitleIndex:
    """Look-up from titles to item indices, exact first, then without year, case and order of the article.

    Parameters
    ----------
    titles : (n_items,) array of str
    """

    def __init__(self, titles: NDArray[Any]) -> None:
        self.titles = titles
        self._exact: dict[str, list[int]] = {}
        self._normal: dict[str, list[int]] = {}
        for index, title in enumerate(titles.tolist()):
            self._exact.setdefault(title, []).append(index)
            self._normal.setdefault(normalise(title), []).append(index)

    def find(self, text: str) -> list[int]:
        """Indices of the items called `text`; empty where there is none."""
        return self._exact.get(text) or self._normal.get(normalise(text), [])

    def similar(self, text: str, n: int = 3) -> list[str]:
        """Titles spelt like `text`, or containing it, for a hint."""
        wanted = normalise(text)
        containing = [key for key in self._normal if wanted and wanted in key]
        close = difflib.get_close_matches(wanted, self._normal, n=n, cutoff=0.6)
        keys = list(dict.fromkeys([*close, *sorted(containing, key=len)]))[:n]
        return [str(self.titles[self._normal[key][0]]) for key in keys]


class ItemFinder:
    """Items as people name them: by id, by the id as text, or by title.

    Parameters
    ----------
    items : Vocabulary
    titles : (n_items,) array of str or None
    """

    def __init__(self, items: Vocabulary, titles: NDArray[Any] | None) -> None:
        self.items = items
        self.titles = None if titles is None else TitleIndex(titles)

    def indices(self, names: Iterable[Any], *, hints: bool = True) -> NDArray[np.int64]:
        """Index of each name, shape (n,).

        Parameters
        ----------
        hints : bool
            Whether errors name titles that are close, which takes some 20 ms with 10,000 titles.

        Raises
        ------
        DataError
            A name that no item has, with those that are close, or that several items have.
        """
        return np.array([self._index(name, hints) for name in names], dtype=np.int64)

    def distinct(self, names: Iterable[Any]) -> NDArray[np.int64]:
        """As `indices`, of names that must all be of different items.

        Raises
        ------
        DataError
            As `indices`, or two names of one item.
        """
        known: dict[int, Any] = {}
        for name in names:
            first = known.setdefault(self._index(name, hints=True), name)
            if first is not name:
                raise DataError(f"{first!r} and {name!r} are the same item; give its rating once")
        return np.array(list(known), dtype=np.int64)

    def _index(self, name: Any, hints: bool) -> int:
        index = int(self.items.index([self.items.parse(name) if isinstance(name, str) else name])[0])
        if index >= 0:
            return index
        if self.titles is None or not isinstance(name, str):
            other_type = isinstance(name, int | np.integer) and not self.items.is_integer
            mend = "ids of items are text here" if other_type else "give the id of an item that was there at training"
            raise DataError(f"item {name!r} is not known; {mend}")
        found = self.titles.find(name)
        if len(found) == 1:
            return found[0]
        if found:
            choices = "; ".join(f"{self.titles.titles[i]} (id {self.items.ids[i]})" for i in found[:5])
            raise DataError(f"{len(found)} items are called {name!r}: {choices}; give the id")
        close = " or ".join(map(repr, self.titles.similar(name))) if hints else ""
        raise DataError(f"item {name!r} is not known; {f'did you mean {close}?' if close else 'give its id or title'}")
