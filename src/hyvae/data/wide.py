"""Wide matrices: a row for each user, a column for each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from hyvae.data.bad_rows import BadRows, Place
from hyvae.data.columns import Columns, ReadOptions, candidates
from hyvae.data.sentinels import not_rated_rows
from hyvae.data.tables import ratings_from_frame
from hyvae.errors import DataError
from hyvae.layout import SourceLayout
from hyvae.ratings import Ratings
from hyvae.wording import say

_USER, _ITEM, _RATING, _ROW = "user", "item", "rating", "row"


def ratings_from_wide(
    frame: pl.DataFrame, options: ReadOptions, *, source: str, place: Place, bad: BadRows, layout: SourceLayout
) -> Ratings:
    """Build ratings from a frame of text with a row a user and a column an item.

    Items are called by the names of the columns (by their numbers where there is no header line). Users are called by
    the column that the caller names or that has a common name, else by the numbers of the rows, from 1. An empty cell,
    and one with a value of `not_rated`, is no rating. A first column that counts the ratings of its row, as Jester's,
    is left out.

    Raises
    ------
    DataError
        No such column of users, or a cell that is no rating.
    """
    if options.user and options.user not in frame.columns:
        asked = say("user=…", "--user-column …")
        raise DataError(f"{source}: no column {options.user!r}; name the column of users with {asked}")
    guessed = candidates(frame.columns, "user") if layout.named and options.user is None else []
    user = options.user or next(iter(guessed), None)
    kept = bad.settle(source, place, skip=options.on_bad_rows == "skip")
    rows = np.arange(len(frame)) if kept is None else kept
    frame = frame[rows]
    items, notes = [name for name in frame.columns if name != user], ["a row is a user, a column an item"]
    rated = {name: _is_rated(frame[name], options) for name in items}
    if user is None and _counts(frame[items[0]], [rated[name] for name in items[1:]]):
        notes.append(f"column {items[0]!r} counts the ratings of its row and is left out")
        items = items[1:]
    users = pl.Series(_USER, rows + 1).cast(pl.String) if user is None else frame[user]
    cells = pl.concat(
        pl.DataFrame(
            {_USER: users, _ITEM: pl.repeat(name, len(frame), eager=True), _RATING: frame[name], _ROW: rows + 1}
        ).filter(rated[name])
        for name in items
    ).sort(_ROW, maintain_order=True)
    if not cells.height:
        raise DataError(f"{source}: none of its cells is rated")
    row_of, item_of = cells[_ROW], cells[_ITEM]
    told = SourceLayout(
        user="number of the row" if user is None else user,
        item="name of the column" if layout.named else "number of the column",
        rating="cell",
        separator=layout.separator,
        header=layout.header,
        encoding=layout.encoding,
        not_rated=options.not_rated,
        notes=tuple(notes),
    )
    return ratings_from_frame(
        cells,
        Columns(_USER, _ITEM, _RATING),
        replace(options, not_rated=()),
        source=source,
        place=lambda cell: f"{place(row_of[cell - 1])}, column {item_of[cell - 1]!r}",
        text_ids=True,
        layout=told,
    )


def _is_rated(column: pl.Series, options: ReadOptions) -> pl.Series:
    rated = ~(column.is_null() | (column.str.strip_chars() == "").fill_null(False))
    unrated = not_rated_rows(column, options.not_rated)
    return rated if unrated is None else rated & ~unrated


def _counts(column: pl.Series, rated: Sequence[pl.Series]) -> bool:
    """Whether a column says in each of several rows how many of its other cells are rated."""
    numbers = column.str.strip_chars().cast(pl.Int64, strict=False)
    if len(column) < 2 or len(rated) < 2 or numbers.null_count():
        return False
    return bool((numbers.to_numpy() == np.sum([cells.to_numpy() for cells in rated], axis=0)).all())
