"""Plain Python values (of JSON, of a database) as typed columns, batch by batch."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import Columns

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_MOST_SHOWN = 60

Converter = Callable[[Any], tuple[Any, str | None]]


class ValueTable:
    """A table that grows by batches of Python values; a value that cannot be used makes its row a bad one.

    Ids are integers or text, as the first one of their column is: ``'7'`` among integers is a bad row.

    Parameters
    ----------
    columns : Columns
    """

    def __init__(self, columns: Columns) -> None:
        self._roles = {name: role for role, name in columns.named().items()}
        self._pieces: dict[str, list[pl.Series]] = {name: [] for name in self._roles}
        self._types: dict[str, type[pl.DataType]] = {}
        self._reasons: dict[int, str] = {}
        self.n_rows = 0

    def add(self, batch: Mapping[str, Sequence[Any]], unusable: Mapping[int, str] | None = None) -> None:
        """Append the values of each column.

        Parameters
        ----------
        unusable : dict of int to str, optional
            What is wrong with rows of the batch (from 0) that cannot be used whatever they hold.
        """
        for row, reason in (unusable or {}).items():
            self._reasons[self.n_rows + row] = reason
        for name, pieces in self._pieces.items():
            pieces.append(self._series(name, batch[name]))
        self.n_rows += len(batch[next(iter(self._pieces))])

    def frame(self) -> pl.DataFrame:
        """Build the columns; a value that cannot be used is null."""
        return pl.DataFrame(
            {
                # null so far: of a batch that came before the first value
                name: pl.concat([piece.cast(self._type_of(name)) for piece in pieces]) if pieces else pl.Series([])
                for name, pieces in self._pieces.items()
            }
        )

    def bad_rows(self) -> BadRows:
        """Build the list of rows that cannot be used."""
        bad = BadRows(self.n_rows)
        rows = np.zeros(self.n_rows, dtype=bool)
        rows[list(self._reasons)] = True
        bad.add(pl.Series(rows), self._reasons.__getitem__)
        return bad

    def _type_of(self, name: str) -> type[pl.DataType]:
        return self._types.get(name, pl.Float64 if self._roles[name] == "rating" else pl.String)

    def _series(self, name: str, values: Sequence[Any]) -> pl.Series:
        role = self._roles[name]
        kinds = set(map(type, values)) - {type(None)}
        if name not in self._types and kinds:
            self._types[name] = _type_of_column(role, next(value for value in values if value is not None))
        dtype = self._type_of(name)
        if not kinds or (dtype == pl.Float64 and kinds <= {int, float, decimal.Decimal}) or kinds <= _NATIVE[dtype]:
            try:
                plain = list(map(_as_float, values)) if dtype == pl.Float64 else values
                return pl.Series(name, plain, dtype, strict=True)
            except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
                pass  # value by value, below
        return pl.Series(name, self._converted(values, _converter(role, dtype)), dtype, strict=True)

    def _converted(self, values: Sequence[Any], convert: Converter) -> list[Any]:
        out = []
        for row, value in enumerate(values, start=self.n_rows):
            plain, reason = (None, None) if value is None else convert(value)
            if reason is not None:
                self._reasons.setdefault(row, reason)
            out.append(plain)
        return out


_NATIVE: dict[type[pl.DataType], set[type]] = {pl.Int64: {int}, pl.String: {str}, pl.Float64: {float}}


def _type_of_column(role: str, first: Any) -> type[pl.DataType]:
    if role == "rating":
        return pl.Float64
    if role == "timestamp":
        return pl.String if isinstance(first, str) else pl.Int64
    return pl.Int64 if role != "title" and _as_integer(first) is not None else pl.String


def _converter(role: str, dtype: type[pl.DataType]) -> Converter:
    if role == "rating":
        return _rating
    if role == "title":
        return lambda value: (_without_surrogates(str(value)), None)
    if role == "timestamp":
        return _text_of_time if dtype == pl.String else _seconds
    convert = _integer_id if dtype == pl.Int64 else _text_id
    return lambda value: convert(value, f"{role} id")


def _integer_id(value: Any, noun: str) -> tuple[int | None, str | None]:
    number = _as_integer(value)
    if number is None:
        what = "text among integers" if isinstance(value, str) else f"of type {type(value).__name__} among integers"
        return None, f"the {noun} {_shown(value)} is {what}; give all ids of a column one type"
    if not _LOWEST <= number <= _HIGHEST:
        return None, f"the {noun} {_shown(value)} is too large for 64 bits; make the ids text"
    return number, None


def _text_id(value: Any, noun: str) -> tuple[str | None, str | None]:
    if isinstance(value, uuid.UUID):
        return str(value), None
    if not isinstance(value, str):
        what = f"of type {type(value).__name__}, not text"
        return None, f"the {noun} {_shown(value)} is {what}; give all ids of a column one type"
    if _without_surrogates(value) != value:
        return None, f"the {noun} {_shown(value)} holds half a character (a lone surrogate); mend the id"
    return value, None


def _rating(value: Any) -> tuple[float | None, str | None]:
    wrong = f"the rating {_shown(value)} is no number; give a number or leave the row out"
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal | str):
        return None, wrong
    try:
        return _as_float(value), None
    except ValueError:
        return None, wrong


def _seconds(value: Any) -> tuple[int | None, str | None]:
    """Whole seconds since 1970; a date without a time zone is one of UTC."""
    seconds: float | None = None
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        seconds = (aware - _EPOCH) // datetime.timedelta(seconds=1)
    elif isinstance(value, datetime.date):
        seconds = 86_400 * (value - _EPOCH.date()).days
    elif isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool) and math.isfinite(value):
        seconds = int(value)
    if seconds is None or not _LOWEST <= seconds <= _HIGHEST:
        return None, _no_time(value)
    return int(seconds), None


def _text_of_time(value: Any) -> tuple[str | None, str | None]:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return _without_surrogates(str(value)), None
    return None, _no_time(value)


def _no_time(value: Any) -> str:
    return f"the timestamp {_shown(value)} is no time; give seconds since 1970 or a date, as in the other rows"


def _as_integer(value: Any) -> int | None:
    """An integer, also one that a database calls a decimal number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, decimal.Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    return None


def _as_float(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:  # an integer beyond 1e308, which is refused as infinite
        return math.inf if value > 0 else -math.inf


def _shown(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) and _without_surrogates(value) != value else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
