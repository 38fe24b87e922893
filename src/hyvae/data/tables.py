"""From a table with one rating a row (pandas, Polars, Arrow) to `Ratings`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.errors import DataError
from hyvae.ratings import Ratings, Vocabulary

# what a table that cannot be converted raises: pyarrow's own errors derive from the built-in ones
_CONVERSION_ERRORS = (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError, NotImplementedError)

Place = Callable[[int], str]


@dataclass(frozen=True)
class Columns:
    """Which column of a table holds what."""

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    timestamp: str | None = None
    title: str | None = None

    def named(self) -> dict[str, str]:
        """Column name of each role that has one."""
        return {role: name for role, name in vars(self).items() if name is not None}


def ratings_from_table(
    table: Any,
    *,
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
    timestamp: str | None = None,
    title: str | None = None,
    scale: tuple[float, float] | None = None,
    source: str = "table",
) -> Ratings:
    """Build ratings from a table with one rating a row.

    Parameters
    ----------
    table : pandas, Polars (eager or lazy) or Arrow table, or anything with the Arrow PyCapsule interface
    user, item, rating : str
        Names of the columns. Ids are integers of any width or text; text stays text (``'007'`` is never 7).
    timestamp : str, optional
        Column of seconds since 1970, or of dates.
    title : str, optional
        Column of item titles; an item's first title counts.
    scale : pair of float, optional
        Lowest and highest rating that can be given. Default: the observed ones.
    source : str
        How error messages call the table.

    Raises
    ------
    DataError
        A missing column; in some row (counted from 1) a missing id or rating, an id that is neither integer
        nor text, a rating that is not a finite number or off the scale, or a repeated user-item pair.
    """
    columns = Columns(user, item, rating, timestamp, title)
    return ratings_from_frame(_as_frame(table, columns, source), columns, source=source, scale=scale)


def ratings_from_frame(
    frame: pl.DataFrame,
    columns: Columns,
    *,
    source: str,
    scale: tuple[float, float] | None = None,
    place: Place = "row {}".format,
    listed: pl.DataFrame | None = None,
) -> Ratings:
    """Build ratings from a Polars frame that has these columns.

    Parameters
    ----------
    place : callable
        How error messages call the 1-based data row (readers give the line of the file).
    listed : DataFrame, optional
        Columns ``item`` and ``title``: items of the source's catalogue, rated or not.
    """
    if not frame.height:
        raise DataError(f"{source}: no ratings; give at least one row of user, item, rating")

    def where(row: int) -> str:
        return f"{source}, {place(row + 1)}"

    user_ids = _ids(frame[columns.user], "user id", where)
    item_ids = _ids(frame[columns.item], "item id", where)
    values = _numbers(frame[columns.rating], where)
    times = None if columns.timestamp is None else _seconds(frame[columns.timestamp], where)
    if listed is None and columns.title is not None:
        listed = pl.DataFrame({"item": item_ids, "title": frame[columns.title]}).unique("item", keep="first")
    all_items = item_ids if listed is None else pl.concat([item_ids, listed["item"].rename(item_ids.name)])
    users, items = user_ids.unique().sort(), all_items.unique().sort()
    return Ratings.from_indices(
        _vocabulary(users),
        _vocabulary(items),
        _codes(user_ids, users),
        _codes(item_ids, items),
        values,
        scale=scale,
        timestamps=times,
        titles=None if listed is None else _titles(items, listed),
        source=source,
        place=place,
    )


def require_columns(names: Sequence[str], columns: Columns, source: str) -> None:
    """Refuse a table that lacks one of the columns, or where one column plays two roles."""
    wanted = columns.named()
    for role, name in wanted.items():
        if name not in names:
            there = ", ".join(map(repr, names)) or "none"
            raise DataError(f"{source}: no column {name!r}; there are: {there}; name one with {role}=…")
    if len(set(wanted.values())) < len(wanted):
        name = next(name for name in wanted.values() if list(wanted.values()).count(name) > 1)
        raise DataError(f"{source}: column {name!r} is named for two purposes; give each its own column")


def _as_frame(table: Any, columns: Columns, source: str) -> pl.DataFrame:
    wanted = list(columns.named().values())
    try:
        if isinstance(table, pl.LazyFrame):
            table = table.collect()
        if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
            require_columns([str(name) for name in table.columns], columns, source)
            # only the columns in use: an exotic one beside them must not stop the reading
            table = pl.from_pandas(table[wanted])
        elif not isinstance(table, pl.DataFrame) and _speaks_arrow(table):
            table = pl.from_arrow(table)
    except ImportError as error:
        raise DataError(f"{source}: reading pandas needs pyarrow; pip install 'hyvae[pandas]'") from error
    except _CONVERSION_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{source}: not readable as a table ({reason}); give each column one type") from error
    if not isinstance(table, pl.DataFrame):
        raise DataError(f"{source}: expected a pandas, Polars or Arrow table, got {type(table).__name__}")
    require_columns(table.columns, columns, source)
    return table.select(wanted)


def _speaks_arrow(table: Any) -> bool:
    return hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")


def _present(column: pl.Series, noun: str, where: Callable[[int], str]) -> pl.Series:
    row = column.is_null().arg_max() if column.null_count() else None
    if row is not None:
        raise DataError(f"{where(row)}: the {noun} is missing; fill it in or leave the row out")
    return column


def _ids(column: pl.Series, noun: str, where: Callable[[int], str]) -> pl.Series:
    _present(column, noun, where)
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if column.dtype == pl.String:
        return column
    if not column.dtype.is_integer():
        raise DataError(f"{where(0)}: the {noun} {column[0]!r} is of type {column.dtype}; ids must be integers or text")
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count():
        row = numbers.is_null().arg_max() or 0
        raise DataError(f"{where(row)}: the {noun} {column[row]} is too large for 64 bits; make the ids text")
    return numbers


def _numbers(column: pl.Series, where: Callable[[int], str]) -> NDArray[np.float64]:
    _present(column, "rating", where)
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy()
    row = 0
    if column.dtype == pl.String:
        row = column.cast(pl.Float64, strict=False).is_null().arg_max() or 0
    raise DataError(f"{where(row)}: the rating {column[row]!r} is of type {column.dtype}; make the column numeric")


def _seconds(column: pl.Series, where: Callable[[int], str]) -> NDArray[np.int64]:
    _present(column, "timestamp", where)
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        return column.dt.epoch("s").cast(pl.Int64).to_numpy()
    seconds = column.cast(pl.Int64, strict=False)
    if seconds.null_count() or not column.dtype.is_numeric():
        row = seconds.is_null().arg_max() or 0
        raise DataError(
            f"{where(row)}: the timestamp {column[row]!r} is no time; "
            "give seconds since 1970 or a column of dates, or leave the column out"
        )
    return seconds.to_numpy()


def _vocabulary(ids: pl.Series) -> Vocabulary:
    return Vocabulary(ids.to_numpy() if ids.dtype == pl.Int64 else np.array(ids.to_list(), dtype=object))


def _codes(ids: pl.Series, vocabulary: pl.Series) -> NDArray[np.int64]:
    codes = pl.Series(np.arange(len(vocabulary)))
    return ids.replace_strict(vocabulary, codes, return_dtype=pl.Int64).to_numpy()


def _titles(items: pl.Series, listed: pl.DataFrame) -> NDArray[Any]:
    """Titles aligned with the items; an item without one gets its id as text."""
    titles = np.array(items.cast(pl.String).to_list(), dtype=object)
    known = listed.drop_nulls()
    titles[_codes(known["item"], items)] = known["title"].cast(pl.String).to_list()
    return titles
