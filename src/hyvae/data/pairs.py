"""Read the pairs of users and items that predictions are wanted for: any source that ratings are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.data.bad_rows import BadRows, Place
from hyvae.data.columns import Columns, ReadOptions
from hyvae.data.ids import typed_ids, usable_ids
from hyvae.data.readers import read_source
from hyvae.errors import DataError
from hyvae.ratings import Vocabulary

_Ids = NDArray[Any]


def read_pairs(source: str | Path, users: Vocabulary, items: Vocabulary, **options: Any) -> tuple[_Ids, _Ids]:
    """Ids of users and items in the order of a source, in the types of two vocabularies.

    Parameters
    ----------
    source : str or Path
        As for `hyvae.data.read`; a column of ratings is not needed, and pairs may repeat.
    **options
        As for `hyvae.data.read`.

    Returns
    -------
    (n,) and (n,) arrays of int64 or of str

    Raises
    ------
    DataError
        No such source, no such column, an empty id, or an id that is no integer where the vocabulary's are.
    """

    def pairs(
        frame: pl.DataFrame,
        columns: Columns,
        options: ReadOptions,
        *,
        source: str,
        place: Place,
        bad: BadRows | None,
        text_ids: bool,
    ) -> tuple[_Ids, _Ids]:
        if frame.is_empty():
            raise DataError(f"{source}: no pairs; give at least one row of user and item")
        bad = bad or BadRows(frame.height)
        sides = ((columns.user, "user id", users), (columns.item, "item id", items))
        ids = [_ids(frame[name], noun, known, bad, text_ids) for name, noun, known in sides]
        kept = bad.settle(source, place, skip=options.on_bad_rows == "skip")
        whose, what = (_array(column if kept is None else column[kept]) for column in ids)
        return whose, what

    found: Any = read_source(source, ReadOptions(**options, finish=pairs))
    # matrices and named data sets are ratings whatever is asked of them
    return found if isinstance(found, tuple) else (found.user_ids, found.item_ids)


def _ids(column: pl.Series, noun: str, known: Vocabulary, bad: BadRows, text_ids: bool) -> pl.Series:
    """Ids in the type of those that a run knows."""
    ids = usable_ids(column, noun, bad, text_ids)
    if known.is_integer and ids.dtype == pl.String:
        numbers = ids.str.strip_chars().cast(pl.Int64, strict=False)
        bad.add(
            numbers.is_null() & ids.is_not_null(),
            lambda row: f"the {noun} {ids[row]!r} is no integer, as the {noun}s of the run are",
        )
        return numbers
    if not known.is_integer and ids.dtype != pl.String:
        # '007' is no 7: what was text in a text file is text here too
        return column.str.strip_chars() if text_ids else ids.cast(pl.String)
    return ids if ids.dtype in (pl.String, pl.Int64) else typed_ids(ids, noun, "the pairs", text_ids)


def _array(ids: pl.Series) -> _Ids:
    if ids.dtype == pl.Int64:
        return ids.to_numpy()
    out = np.empty(len(ids), dtype=object)
    out[:] = ids.to_list()
    return out
