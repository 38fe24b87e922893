"""Find items by what people call them."""

from __future__ import annotations

import difflib
import re
from typing import Any

from numpy.typing import NDArray

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
