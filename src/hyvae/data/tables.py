"""From a table with one rating a row (pandas, Polars, Arrow, or what a reader made) to `Ratings`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.data.bad_rows import BadRows, Place
from hyvae.data.columns import BadRowsPolicy, Columns, ReadOptions, require_columns
from hyvae.data.counts import warn_of_counts
from hyvae.data.ids import alike, indexed, typed_ids, usable_ids
from hyvae.data.item_titles import titles_of_items
from hyvae.data.sentinels import not_rated_rows, warn_of_sentinel
from hyvae.data.times import Times, read_times
from hyvae.errors import DataError, warn
from hyvae.forks import require_polars
from hyvae.layout import SourceLayout
from hyvae.ratings import Duplicates, Ratings, Vocabulary, check_ids, checked_scale
from hyvae.wording import say

# what a table that cannot be converted raises: pyarrow's own errors derive from the built-in ones
_CONVERSION_ERRORS = (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError, NotImplementedError)
_LARGEST = float(np.finfo(np.float32).max)
# an item has one title; where more items than this share have several, the column holds something else
_MOST_RETITLED = 0.2


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
    time_unit: str | None = None,
    time_format: str | None = None,
    not_rated: float | str | Sequence[float | str] = (),
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
        Column of times: numbers, dates, or text of either.
    title : str, optional
        Column of item titles; an item's first title counts.
    scale : pair of float, optional
        Lowest and highest rating that can be given. Default: the observed ones.
    on_duplicates : ``error``, ``last`` or ``mean``
        What becomes of several ratings of one user for one item; see `hyvae.data.read`.
    on_bad_rows : ``error`` or ``skip``
        What becomes of rows that cannot be used; see `hyvae.data.read`.
    time_unit, time_format, not_rated
        See `hyvae.data.read`.
    source : str
        How error messages call the table.

    Raises
    ------
    DataError
        A missing column; in some row (counted from 1) a missing id or rating, an id that is neither integer
        nor text, a rating that is not a finite number or off the scale, or a repeated user-item pair.
    """
    require_polars("taking ratings from a table")
    columns = Columns(*(_column_name(name) for name in (user, item, rating, timestamp, title)))
    options = ReadOptions(
        title=title,
        scale=scale,
        on_duplicates=on_duplicates,
        on_bad_rows=on_bad_rows,
        time_unit=time_unit,
        time_format=time_format,
        not_rated=not_rated,  # type: ignore[arg-type]  # made a tuple
    )
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
    layout: SourceLayout | None = None,
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
    layout : SourceLayout, optional
        What the reader knows of how the source is laid out; default: its columns.

    Raises
    ------
    DataError
    """
    if options.finish is not None:
        return options.finish(frame, columns, options, source=source, place=place, bad=bad, text_ids=text_ids)
    if not frame.height:
        raise DataError(f"{source}: no ratings; give at least one row of user, item, rating")
    if options.scale is not None:
        checked_scale(options.scale, source)
    layout = layout or SourceLayout(**columns.fields())
    if options.decimal == ",":
        frame = frame.with_columns(_with_points(frame[columns.rating]))
    rows, times = _usable_rows(frame, columns, options, source, place, bad or BadRows(frame.height), text_ids)
    if times is not None:
        layout = replace(layout, time_unit=times.form)
    if options.titles is not None:
        listed = titles_of_items(options.titles, columns.item, rows.items, options)
        layout = replace(layout, title=None, notes=(*layout.notes, f"titles from {options.titles}"))
    elif listed is None and rows.titles is not None:
        listed, notes = _titles_of_rows(rows.items, rows.titles, guessed=options.title is None)
        layout = replace(layout, title=columns.title if listed is not None else None, notes=layout.notes + notes)
    (users, user_index), (items, item_index) = _indexed(rows, listed, source, text_ids)
    titles = None
    if listed is not None:
        titles = _titles(items, item_index[len(rows.values) :], listed["title"])
        item_index = item_index[: len(rows.values)]
    pairs, place = None, rows.place
    values, seconds = rows.values, rows.seconds
    if rows.unrated is not None:
        taken, rated = np.flatnonzero(rows.unrated), np.flatnonzero(~rows.unrated)
        layout = replace(layout, not_rated=options.not_rated)
        if not len(rated):
            asked = say("not_rated", "--not-rated")
            raise DataError(f"{source}: none of its {len(taken):,} rows is rated ({layout}); mend {asked}")
        pairs = np.stack([user_index[taken], item_index[taken]], axis=1)
        user_index, item_index, values = user_index[rated], item_index[rated], values[rated]
        seconds = None if seconds is None else seconds[rated]
        place = _place_of_kept(place, rated)
    ratings = Ratings.from_indices(
        users,
        items,
        user_index,
        item_index,
        values,
        scale=options.scale,
        timestamps=seconds,
        titles=titles,
        on_duplicates=options.on_duplicates,
        source=source,
        place=place,
        unrated=pairs,
        layout=layout,
    )
    # last: a reader that meets an error on its way reads again, and must not say things twice
    for remark in () if times is None else times.remarks:
        warn(f"{source}: {remark}")
    if options.scale is None:  # a declared scale says what is a rating
        warn_of_sentinel(ratings.values, source)
        warn_of_counts(ratings.values, source)
    return ratings


@dataclass(frozen=True)
class _Rows:
    """Rows that can be used, column by column."""

    users: pl.Series
    items: pl.Series
    values: NDArray[np.float32]
    seconds: NDArray[np.int64] | None
    titles: pl.Series | None
    unrated: NDArray[np.bool_] | None
    place: Place

    def at(self, rows: NDArray[np.int64]) -> _Rows:
        """Those at these row numbers."""
        return _Rows(
            self.users[rows],
            self.items[rows],
            self.values[rows],
            None if self.seconds is None else self.seconds[rows],
            None if self.titles is None else self.titles[rows],
            None if self.unrated is None else self.unrated[rows],
            _place_of_kept(self.place, rows),
        )


def _usable_rows(
    frame: pl.DataFrame,
    columns: Columns,
    options: ReadOptions,
    source: str,
    place: Place,
    bad: BadRows,
    text_ids: bool,
) -> tuple[_Rows, Times | None]:
    """The rows without bad ones, and what the times were read as."""
    ratings = frame[columns.rating]
    unrated = not_rated_rows(ratings, options.not_rated)
    users, items = (usable_ids(frame[name], noun, bad, text_ids) for name, noun in _id_columns(columns))
    values = _numbers(ratings, options.scale, bad, unrated)
    times = None
    if columns.timestamp is not None:
        times = read_times(frame[columns.timestamp], options, bad, None if unrated is None else ~unrated)
    _require_numbers(ratings, unrated, options, source)
    rows = _Rows(
        users,
        items,
        values,
        None if times is None else times.seconds.fill_null(0).to_numpy(),
        None if columns.title is None else frame[columns.title],
        None if unrated is None else unrated.to_numpy(),
        place,
    )
    kept = bad.settle(source, place, skip=options.on_bad_rows == "skip")
    return rows if kept is None else rows.at(kept), times


Indexed = tuple[Vocabulary, NDArray[Any]]


def _indexed(rows: _Rows, listed: pl.DataFrame | None, source: str, text_ids: bool) -> tuple[Indexed, Indexed]:
    """Vocabulary and indices of users and of items; those of the catalogue follow the items of the rows."""
    items = rows.items
    if listed is not None:
        items = pl.concat(alike(items, listed["item"].rename(items.name)))

    where = f"{source}, {rows.place(1)}"

    def typed_and_indexed(column: pl.Series, noun: str) -> Indexed:
        vocabulary, index = indexed(typed_ids(column, noun, where, text_ids))
        return check_ids(vocabulary, noun, source), index

    # side by side: Polars and numpy work outside the interpreter's lock
    with ThreadPoolExecutor(2) as pool:
        users, things = pool.map(typed_and_indexed, (rows.users, items), ("user id", "item id"))
    return users, things


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


def _titles_of_rows(
    items: pl.Series, titles: pl.Series, *, guessed: bool
) -> tuple[pl.DataFrame | None, tuple[str, ...]]:
    """Columns item and title, the first of each item; None for a guessed column that holds no titles of items."""
    pairs = pl.DataFrame({"item": items, "title": titles})
    different = pairs.unique(["item", "title"], keep="first", maintain_order=True)
    if guessed:
        titled = pl.col("title").is_not_null()
        several = pairs.filter(titled)["item"].value_counts(name="rows").filter(pl.col("rows") > 1)
        retitled = different.filter(titled)["item"].value_counts(name="titles").filter(pl.col("titles") > 1)
        if len(retitled) > _MOST_RETITLED * len(several):
            asked = say(f"title={titles.name!r}", f"--title-column {titles.name!r}")
            return None, (f"{titles.name!r} differs within an item and is no title ({asked} takes it)",)
    return different.unique("item", keep="first", maintain_order=True), ()


def _numbers(
    column: pl.Series, scale: tuple[float, float] | None, bad: BadRows, unrated: pl.Series | None
) -> NDArray[np.float32]:
    """Ratings as numbers; those that are missing, no number, infinite or off the declared scale are bad rows.

    Those that stand for *not rated* are any number.
    """
    if unrated is not None:
        filler = 0.0 if scale is None else scale[0]
        column = column.cast(pl.Float64) if column.dtype.is_numeric() else column
        column = column.set(unrated, str(filler) if column.dtype == pl.String else filler)
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


def _require_numbers(column: pl.Series, unrated: pl.Series | None, options: ReadOptions, source: str) -> None:
    """Refuse a column of ratings that holds text throughout: leaving its rows out would leave nothing."""
    if column.dtype != pl.String or options.on_bad_rows == "skip":
        return
    given = (column if unrated is None else column.filter(~unrated)).drop_nulls().str.strip_chars()
    if len(given) > 1 and given.cast(pl.Float64, strict=False).is_null().all() and not _mend(given[0]):
        shown = ", ".join(map(repr, given.unique(maintain_order=True)[:3]))
        asked = say("rating=…", "--rating-column …")
        raise DataError(
            f"{source}: column {column.name!r} holds no number in any row ({shown}, …); name the ratings: {asked}"
        )


def _with_points(column: pl.Series) -> pl.Series:
    """Numbers such as 1.234,5 as they are written elsewhere; a column of numbers as it is."""
    if column.dtype != pl.String:
        return column
    return column.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)


def _mend(rating: str) -> str:
    try:
        float(rating.replace(",", "."))
    except ValueError:
        return ""
    asked = say("decimal=','", "--decimal ,")
    return f"; if its decimal mark is a comma, say {asked}"


def _titles(items: Vocabulary, index: NDArray[np.int64], titles: pl.Series) -> NDArray[Any]:
    """Titles aligned with the items; an item without one gets its id as text."""
    out = np.array([str(id_) for id_ in items.ids.tolist()], dtype=object)
    known = titles.is_not_null().to_numpy()
    out[index[known]] = titles.drop_nulls().cast(pl.String).to_list()
    return out
