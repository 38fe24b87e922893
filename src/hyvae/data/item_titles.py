"""Titles from a file of their own: a column of items, a column of titles."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

import polars as pl

from hyvae.data.columns import ReadOptions, guess_column
from hyvae.data.compressed import read_bytes
from hyvae.data.ids import alike
from hyvae.data.limits import require_regular
from hyvae.errors import DataError
from hyvae.wording import say


def titles_of_items(file: str | PathLike[str], item: str, rated: pl.Series, options: ReadOptions) -> pl.DataFrame:
    """Columns ``item`` and ``title`` of a delimited text, the first title of each item.

    Parameters
    ----------
    file : path
        Read with the encoding of `options`.
    item : str
        The column of items in the ratings: taken here too where there is one of that name, else guessed.
    rated : Series
        Ids of the ratings.

    Raises
    ------
    DataError
        No such file or column, or none of the rated items is in it.
    """
    from hyvae.data.text import TextTable, find_layout

    path = Path(os.path.expanduser(file))
    try:
        require_regular(path)
        data = read_bytes(path, options.max_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); check the file") from error
    text = TextTable(find_layout(data, str(path), ReadOptions(encoding=options.encoding)), str(path))
    names = text.frame.columns
    items = item if item in names else guess_column(names, "item")
    titles = options.title or guess_column(names, "title")
    if items is None or titles not in names:
        missing = "items" if items is None else "titles"
        raise DataError(
            f"{path}: no column of {missing} among {', '.join(map(repr, names[:12]))}; call it as in the ratings, or "
            f"name it with {say('title=…', '--title-column …')}"
        )
    kept = text.bad.settle(str(path), text.place, skip=options.on_bad_rows == "skip")
    frame = text.frame if kept is None else text.frame[kept]
    listed = frame.select(item=items, title=titles).filter(pl.col("item").is_not_null())
    ours, theirs = alike(rated, listed["item"])
    if not ours.is_in(theirs.implode()).any():
        raise DataError(f"{path}: its column {items!r} holds none of the rated items, such as {rated[0]!r}")
    return listed.unique("item", keep="first", maintain_order=True)
