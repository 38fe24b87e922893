"""Which column of a text without a header line holds what: by order, where its content does not contradict."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from hyvae.data.columns import Columns
from hyvae.errors import DataError, warn
from hyvae.wording import say

# Amazon's: a product is a B and nine characters or an ISBN, a reviewer an A and nine or more
_PRODUCT = r"^(?:B[0-9A-Z]{9}|[0-9]{9}[0-9X])$"
_REVIEWER = r"^A[0-9A-Z]{9,}$"
_EARLIEST_TIME = 1e8
# no scale goes further
_HIGHEST_RATING = 100


def checked_order(columns: Columns, sample: pl.DataFrame, source: str) -> Columns:
    """The columns by order, or with items first where they are Amazon's products.

    Parameters
    ----------
    sample : DataFrame
        The first rows, as text.

    Raises
    ------
    DataError
        The first column numbers the rows, or the ratings would be times or ids.

    Warns
    -----
    DataWarning
        The ratings would be large numbers that hardly repeat, or users would be 0, 1, 2, … without a repeat.
    """
    if _all_match(sample[columns.user], _PRODUCT) and _all_match(sample[columns.item], _REVIEWER):
        columns = replace(columns, user=columns.item, item=columns.user)
    ratings = sample[columns.rating].str.strip_chars().cast(pl.Float64, strict=False)
    last = sample[sample.columns[-1]].str.strip_chars().cast(pl.Float64, strict=False)
    timed = columns.timestamp is not None and not last.null_count() and bool((last >= _EARLIEST_TIME).all())
    counted = _counts_rows(sample[columns.user]) and not timed
    ids = _are_ids(ratings)
    if columns.timestamp is not None and (counted or ids) and not timed:
        what = "numbers the rows, as an index of pandas does" if counted else "may be an index"
        raise DataError(f"{source}: no header, and column {columns.user} {what}; {_number_them(1)}")
    if not ratings.null_count() and bool((ratings >= _EARLIEST_TIME).all()):
        raise DataError(
            f"{source}: no header, and column {columns.rating}, which would be the ratings, holds times "
            f"({sample[columns.rating][0]}); {_number_them(0)}; where nobody rated, add a column of ones"
        )
    if ids:
        warn(
            f"{source}: no header, and column {columns.rating} is taken for the ratings but looks like ids or counts "
            f"({sample[columns.rating][0]}, …); if it is not: {_number_them(0)}"
        )
    elif counted:
        warn(
            f"{source}: no header, and column {columns.user} is taken for the users but numbers the rows; if it is an "
            f"index: {_number_them(1)}"
        )
    return columns


def _number_them(shift: int) -> str:
    numbers = {role: place + shift for place, role in enumerate(("user", "item", "rating"), start=1)}
    python = ", ".join(f"{role}='{number}'" for role, number in numbers.items())
    flags = " ".join(f"--{role}-column {number}" for role, number in numbers.items())
    return f"number the columns, such as {say(python, flags)}"


def _all_match(column: pl.Series, pattern: str) -> bool:
    return bool(column.str.strip_chars().str.contains(pattern).fill_null(False).all())


def _counts_rows(column: pl.Series) -> bool:
    numbers = column.str.strip_chars().cast(pl.Int64, strict=False).to_list()
    return len(numbers) > 1 and numbers == list(range(len(numbers)))


def _are_ids(ratings: pl.Series) -> bool:
    """Whether these are whole numbers that no scale reaches, and hardly one twice."""
    if ratings.null_count() or len(ratings) < 2:
        return False
    whole = bool((ratings == ratings.round()).all())
    return whole and float(ratings.max()) > _HIGHEST_RATING and 2 * ratings.n_unique() > len(ratings)  # type: ignore[arg-type]
