"""From a table with one rating a row (pandas, Polars, Arrow, or what a reader made) to `Ratings`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.data.bad_rows import BadRows, Place
from hyvae.data.columns import BadRowsPolicy, Columns, ReadOptions, require_columns
from hyvae.errors import DataError
from hyvae.ratings import Duplicates, Ratings, Vocabulary, check_ids, checked_scale

# what a table that cannot be converted raises: pyarrow's own errors derive from the built-in ones
_CONVERSION_ERRORS = (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError, NotImplementedError)
_LARGEST = float(np.finfo(np.float32).max)
# integer ids are looked up in an array where it holds at most this many places a rating
_PLACES_A_RATING = 4


def ratings_from_table(
    table: Any,
    *,
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
    timestamp: str | None = None,
    title: str | None = None,
    scale: tuple[float, float] | None = None,
    on_duplicates: Duplicates = "error",
    on_bad_rows: BadRowsPolicy = "error",
    source: str = "table",
) -> Ratings:
    """Build ratings from a table with one rating a row.

    Parameters
    ----------
    table : pandas, Polars (eager or lazy) or Arrow table, or anything with the Arrow PyCapsule interface
        A subclass of pandas' own and a relation of DuckDB are such.
    user, item, rating : str or int
        Names of the columns. Ids are integers of any width, text or UUIDs; text stays text (``'007'`` is never 7).
    timestamp : str, optional
        Column of seconds since 1970, or of dates.
    title : str, optional
        Column of item titles; an item's first title counts.
    scale : pair of float, optional
        Lowest and highest rating that can be given. Default: the observed ones.
    on_duplicates : ``error``, ``last`` or ``mean``
        What becomes of several ratings of one user for one item; see `hyvae.data.read`.
    on_bad_rows : ``error`` or ``skip``
        What becomes of rows that cannot be used; see `hyvae.data.read`.
    source : str
        How error messages call the table.

    Raises
    ------
    DataError
        A missing column; in some row (counted from 1) a missing id or rating, an id that is neither integer
        nor text, a rating that is not a finite number or off the scale, or a repeated user-item pair.
    """
    columns = Columns(*(_column_name(name) for name in (user, item, rating, timestamp, title)))
    options = ReadOptions(scale=scale, on_duplicates=on_duplicates, on_bad_rows=on_bad_rows)
    return ratings_from_frame(_as_frame(table, columns, source), columns, options, source=source)


def ratings_from_frame(
    frame: pl.DataFrame,
    columns: Columns,
    options: ReadOptions,
    *,
    source: str,
    place: Place = "row {}".format,
    bad: BadRows | None = None,
    text_ids: bool = False,
    listed: pl.DataFrame | None = None,
) -> Ratings:
    """Build ratings from a Polars frame that has these columns.

    Parameters
    ----------
    place : callable
        How error messages call the 1-based data row (readers give the line of the file).
    bad : BadRows, optional
        Rows that the reader has found unusable already.
    text_ids : bool
        Ids were read from text, so that those written as plain integers are integers.
    listed : DataFrame, optional
        Columns ``item`` and ``title``: items of the source's catalogue, rated or not.

    Raises
    ------
    DataError
    """
    if not frame.height:
        raise DataError(f"{source}: no ratings; give at least one row of user, item, rating")
    if options.scale is not None:
        checked_scale(options.scale, source)
    bad = bad or BadRows(frame.height)
    users, items = (_present(frame[name], noun, bad, text_ids) for name, noun in _id_columns(columns))
    values = _numbers(frame[columns.rating], options.scale, bad)
    times = None if columns.timestamp is None else _seconds(frame[columns.timestamp], bad)
    kept = bad.settle(source, place, skip=options.on_bad_rows == "skip")
    if kept is not None:
        frame, users, items, values = frame[kept], users[kept], items[kept], values[kept]
        times = None if times is None else times[kept]
        place = _place_of_kept(place, kept)
    if listed is None and columns.title is not None:
        listed = pl.DataFrame({"item": items, "title": frame[columns.title]}).unique(
            "item", keep="first", maintain_order=True
        )
    if listed is not None:
        n_rated = len(items)
        items = pl.concat([items, listed["item"].rename(items.name)])
    where = f"{source}, {place(1)}"

    def typed_and_indexed(column: pl.Series, noun: str) -> tuple[Vocabulary, NDArray[Any]]:
        vocabulary, index = _indexed(_typed_ids(column, noun, where, text_ids))
        return check_ids(vocabulary, noun, source), index

    # side by side: Polars and numpy work outside the interpreter's lock
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(typed_and_indexed, (users, items), ("user id", "item id"))
        (user_vocabulary, user_index), (item_vocabulary, item_index) = both
    titles = None
    if listed is not None:
        titles = _titles(item_vocabulary, item_index[n_rated:], listed["title"])
        item_index = item_index[:n_rated]
    return Ratings.from_indices(
        user_vocabulary,
        item_vocabulary,
        user_index,
        item_index,
        values,
        scale=options.scale,
        timestamps=times,
        titles=titles,
        on_duplicates=options.on_duplicates,
        source=source,
        place=place,
    )


def _id_columns(columns: Columns) -> tuple[tuple[str, str], tuple[str, str]]:
    return (columns.user, "user id"), (columns.item, "item id")


def _place_of_kept(place: Place, kept: NDArray[np.int64]) -> Place:
    return lambda row: place(int(kept[row - 1]) + 1)


def _as_frame(table: Any, columns: Columns, source: str) -> pl.DataFrame:
    wanted = list(columns.named().values())
    try:
        if isinstance(table, pl.LazyFrame):
            table = table.collect()
        if _is_pandas(table):
            names = [str(name) for name in table.columns]
            require_columns(names, columns, source)
            twice = next((name for name in wanted if names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{source}: {names.count(twice)} columns are called {twice!r}; rename all but one")
            named = table.set_axis(names, axis=1)
            # only the columns in use: an exotic one beside them must not stop the reading
            table = _from_pandas(named[wanted])
        elif not isinstance(table, pl.DataFrame) and _speaks_arrow(table):
            table = pl.DataFrame(table)
    except ImportError as error:
        raise DataError(f"{source}: reading pandas needs pyarrow; pip install 'hyvae[pandas]'") from error
    except _CONVERSION_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{source}: not readable as a table ({reason}); give each column one type") from error
    if not isinstance(table, pl.DataFrame):
        raise DataError(f"{source}: expected a pandas, Polars or Arrow table, got {type(table).__name__}")
    require_columns(table.columns, columns, source)
    return table.select(wanted)


def _column_name(name: Any) -> Any:
    """Columns of pandas may be called by numbers."""
    return str(name) if isinstance(name, int | np.integer) else name


def _is_pandas(table: Any) -> bool:
    # a subclass lives elsewhere, as that of geopandas does
    homes = {base.__module__.partition(".")[0] for base in type(table).__mro__}
    return "pandas" in homes and hasattr(table, "columns")


def _from_pandas(table: Any) -> pl.DataFrame:
    """The frame as Polars has it, with UUIDs as their text."""
    uuids = [
        name
        for name in table.columns
        if table[name].dtype == object and table[name].map(lambda value: isinstance(value, UUID)).any()
    ]
    return pl.from_pandas(table.assign(**{name: table[name].map(str, na_action="ignore") for name in uuids}))


def _speaks_arrow(table: Any) -> bool:
    return hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")


def _present(column: pl.Series, noun: str, bad: BadRows, text_ids: bool) -> pl.Series:
    """Ids as text or 64-bit integers; gaps, and integers that do not fit, are bad rows."""
    missing = column.is_null()
    if text_ids and column.dtype == pl.String:
        # to strip 25 million ids takes seconds, and few files have blanks around them
        blank = column.str.starts_with(" ").any()
        missing = missing | ((column.str.strip_chars() if blank else column) == "").fill_null(False)
    bad.add(missing, lambda _: f"the {noun} is missing; fill it in or leave the row out")
    if not column.dtype.is_integer():
        return column
    numbers = column.cast(pl.Int64, strict=False)
    bad.add(
        numbers.is_null() & ~missing,
        lambda row: f"the {noun} {column[row]} is too large for 64 bits; make the ids text",
    )
    return numbers


def _numbers(column: pl.Series, scale: tuple[float, float] | None, bad: BadRows) -> NDArray[np.float32]:
    """Ratings as numbers; those that are missing, no number, infinite or off the declared scale are bad rows."""
    missing = column.is_null()
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        missing = missing | (text == "").fill_null(False)
        numbers = text.cast(pl.Float64, strict=False)
        bad.add(
            numbers.is_null() & ~missing, lambda row: f"the rating {column[row]!r} is no number{_mend(column[row])}"
        )
    elif column.dtype.is_numeric():
        numbers = column.cast(pl.Float64)
    else:
        numbers = pl.repeat(None, len(column), dtype=pl.Float64, eager=True)
        bad.add(~missing, lambda row: f"the rating {column[row]!r} is of type {column.dtype}; make the column numeric")
    bad.add(missing, lambda _: "the rating is missing; fill it in or leave the row out")
    # what float32 cannot hold is infinite too
    finite = numbers.is_between(-_LARGEST, _LARGEST).fill_null(True)
    bad.add(~finite, lambda row: f"the rating is {numbers[row]}; give a finite number")
    values = numbers.fill_null(0.0).cast(pl.Float32, strict=False)
    if scale is not None:
        low, high = scale
        off = ~values.is_between(pl.lit(low, pl.Float32), pl.lit(high, pl.Float32)) & finite & ~missing
        bad.add(
            off,
            lambda row: (
                f"the rating {values[row]:g} is off the declared scale {low:g} to {high:g}; "
                "mend the rating or declare another scale"
            ),
        )
    return values.to_numpy()


def _mend(rating: str) -> str:
    try:
        return f"; write it with a point: {float(rating.replace(',', '.')):g}"
    except ValueError:
        return ""


def _seconds(column: pl.Series, bad: BadRows) -> NDArray[np.int64]:
    """Times as whole seconds since 1970: from numbers, dates, or text of either."""
    missing = column.is_null()
    bad.add(missing, lambda _: "the timestamp is missing; fill it in or leave the column out")
    times = _times_from_text(column) if column.dtype == pl.String else column
    if isinstance(times.dtype, pl.Datetime | pl.Date):
        seconds = times.dt.epoch("s").cast(pl.Int64)
    elif times.dtype.is_numeric():
        seconds = times.cast(pl.Int64, strict=False)
    else:
        seconds = pl.repeat(None, len(column), dtype=pl.Int64, eager=True)
    bad.add(
        seconds.is_null() & ~missing,
        lambda row: (
            f"the timestamp {column[row]!r} is no time; "
            "give seconds since 1970 or dates of one form, or leave the column out (--time-column '')"
        ),
    )
    return seconds.fill_null(0).to_numpy()


def _times_from_text(column: pl.Series) -> pl.Series:
    """Numbers where most are, else dates in the form of the first ones."""
    text = column.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if 2 * numbers.null_count() <= len(column):
        # whole numbers by themselves: a float holds no more than 53 bits
        return text.cast(pl.Int64, strict=False).fill_null(numbers.cast(pl.Int64, strict=False))
    try:
        return text.str.to_datetime(strict=False)
    except pl.exceptions.PolarsError:
        return pl.repeat(None, len(column), dtype=pl.Int64, eager=True)


def _typed_ids(ids: pl.Series, noun: str, where: str, text_ids: bool) -> pl.Series:
    """Ids as 64-bit integers or as text."""
    if isinstance(ids.dtype, pl.Categorical | pl.Enum):
        return ids.cast(pl.String)
    if ids.dtype == pl.String:
        return _ids_from_text(ids, noun, where) if text_ids else ids
    if ids.dtype == pl.Object and all(isinstance(value, UUID) for value in ids):
        return pl.Series(ids.name, [str(value) for value in ids])
    if ids.dtype != pl.Int64:
        raise DataError(f"{where}: the {noun} {ids[0]!r} is of type {ids.dtype}; ids must be integers or text")
    return ids


def _ids_from_text(ids: pl.Series, noun: str, where: str) -> pl.Series:
    """Ids as integers where every one is written as a plain integer, else as the text that they are."""
    numbers = _plain_integers(ids)
    if numbers is None:
        # blanks around them do not count, but to strip 25 million ids takes seconds
        numbers = _plain_integers(ids.str.strip_chars())
    if numbers is not None:
        return numbers
    unique = ids.unique().str.strip_chars()
    if unique.str.contains(r"^-?[0-9]+\.0+$").all():
        raise DataError(f"{where}: the {noun}s are decimal numbers ({unique[0]}); write them as integers")
    return ids


def _plain_integers(ids: pl.Series) -> pl.Series | None:
    numbers = ids.cast(pl.Int64, strict=False)
    # '007' and '+7' read as numbers but are longer than a number is written: they are names
    plain = not numbers.null_count() and ids.str.len_bytes().sum() == _written_length(numbers)
    return numbers if plain else None


def _written_length(numbers: pl.Series) -> int:
    """Number of characters that all these integers take when they are written plainly."""
    if numbers.min() < 0:  # type: ignore[operator]
        return int(numbers.cast(pl.String).str.len_bytes().sum())
    digits = range(1, len(str(numbers.max())))
    return len(numbers) + sum(int((numbers >= 10**digit).sum()) for digit in digits)


def _indexed(ids: pl.Series) -> tuple[Vocabulary, NDArray[Any]]:
    """The sorted unique ids, and the place of each id among them."""
    if ids.dtype == pl.Int64:
        numbers = ids.to_numpy()
        low, high = int(numbers.min()), int(numbers.max())
        if low >= 0 and high < _PLACES_A_RATING * len(numbers) + 2**20:
            # a table with a place for each number is many times faster than hashing
            used = np.zeros(high + 1, dtype=bool)
            used[numbers] = True
            return Vocabulary(np.flatnonzero(used)), (np.cumsum(used, dtype=np.int32) - 1)[numbers]
    unique = ids.unique().sort()
    index = ids.replace_strict(unique, pl.Series(np.arange(len(unique))), return_dtype=pl.Int64).to_numpy()
    return Vocabulary(unique.to_numpy() if ids.dtype == pl.Int64 else np.array(unique.to_list(), dtype=object)), index


def _titles(items: Vocabulary, index: NDArray[np.int64], titles: pl.Series) -> NDArray[Any]:
    """Titles aligned with the items; an item without one gets its id as text."""
    out = np.array([str(id_) for id_ in items.ids.tolist()], dtype=object)
    known = titles.is_not_null().to_numpy()
    out[index[known]] = titles.drop_nulls().cast(pl.String).to_list()
    return out
