"""Ids of users and items as text or 64-bit integers, and the vocabulary that they make."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.data.bad_rows import BadRows
from hyvae.errors import DataError
from hyvae.ratings import Vocabulary

# what programs write where a table has a gap
_GAPS = ("NA", "N/A", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "None", "\\N")
_ROUNDED = r"^-?[0-9](\.[0-9]+)?E\+[0-9]+$"
_FORMULA = '="'
# integer ids are looked up in an array where it holds at most this many places a rating
_PLACES_A_RATING = 4


def usable_ids(column: pl.Series, noun: str, bad: BadRows, text_ids: bool) -> pl.Series:
    """Ids as text or 64-bit integers; gaps, and ids that have lost their meaning, are bad rows.

    Parameters
    ----------
    noun : str
        ``user id`` or ``item id``.
    text_ids : bool
        They were read from text: blanks around them do not count, and ``NA`` marks a gap.
    """
    if column.dtype == pl.Object and all(value is None or isinstance(value, UUID) for value in column):
        column = pl.Series(column.name, [None if value is None else str(value) for value in column], pl.String)
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        return _usable_text(column, noun, bad, text_ids)
    missing = column.is_null()
    bad.add(missing, lambda _: f"the {noun} is missing; fill it in or leave the row out")
    if not column.dtype.is_integer():
        return column
    numbers = column.cast(pl.Int64, strict=False)
    bad.add(
        numbers.is_null() & ~missing,
        lambda row: f"the {noun} {column[row]} is too large for 64 bits; make the ids text",
    )
    return numbers


def _usable_text(column: pl.Series, noun: str, bad: BadRows, text_ids: bool) -> pl.Series:
    if text_ids:
        numbers = _plain_integers(column)
        if numbers is not None:
            return numbers
        column = stripped(column)
    bad.add(
        column.is_null() | (column == "").fill_null(False),
        lambda _: f"the {noun} is missing; fill it in or leave the row out",
    )
    if not text_ids:
        return column
    bad.add(
        column.is_in(_GAPS).fill_null(False),
        lambda row: f"the {noun} is {column[row]!r}, which marks a gap; fill it in or leave the row out",
    )
    bad.add(
        column.str.starts_with(_FORMULA).fill_null(False),
        lambda row: f"the {noun} {column[row]!r} is a formula of a spreadsheet; write {column[row].strip('=').strip()}",
    )
    # a search for plain text first: a pattern takes seconds for 25 million ids
    if column.str.contains("E+", literal=True).any():
        bad.add(
            column.str.contains(_ROUNDED).fill_null(False),
            lambda row: f"the {noun} {column[row]!r} was rounded by a spreadsheet; export the column as text",
        )
    return column


def stripped(column: pl.Series) -> pl.Series:
    """Text without the blanks around it."""
    # to strip 25 million ids takes seconds, and few files have blanks around them
    ends = [getattr(column.str, f"{side}_with")(blank).any() for side in ("starts", "ends") for blank in (" ", "\t")]
    return column.str.strip_chars() if any(ends) else column


def alike(ids: pl.Series, listed: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Ids and those of a catalogue in one type."""
    if ids.dtype == listed.dtype:
        return ids, listed
    numbers = _plain_integers(listed) if listed.dtype == pl.String else None
    return (ids, numbers) if numbers is not None else (ids.cast(pl.String), listed.cast(pl.String))


def typed_ids(ids: pl.Series, noun: str, where: str, text_ids: bool) -> pl.Series:
    """Ids as 64-bit integers or as text.

    Raises
    ------
    DataError
        Ids of another type, or decimal numbers.
    """
    if ids.dtype == pl.String:
        return _ids_from_text(ids, noun, where) if text_ids else ids
    if ids.dtype != pl.Int64:
        raise DataError(f"{where}: the {noun} {ids[0]!r} is of type {ids.dtype}; ids must be integers or text")
    return ids


def _ids_from_text(ids: pl.Series, noun: str, where: str) -> pl.Series:
    """Ids as integers where every one is written as a plain integer, else as the text that they are."""
    numbers = _plain_integers(ids)
    if numbers is not None:
        return numbers
    if ids.str.contains(".", literal=True).any():
        unique = ids.unique(maintain_order=True)
        decimal = unique.filter(unique.str.contains(r"^-?[0-9]+\.0+$"))
        if len(decimal) and unique.str.contains(r"^-?[0-9]+(\.0+)?$").all():
            raise DataError(f"{where}: {noun}s are decimal numbers ({decimal[0]}); write them as integers")
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


def indexed(ids: pl.Series) -> tuple[Vocabulary, NDArray[Any]]:
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
