"""Times of any common form as whole seconds since 1970."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import ReadOptions
from hyvae.wording import say

_SECONDS_A_DAY = 86_400
# ratings on computers are not older, and none is from the future
_EARLIEST, _LATEST = 631_152_000, 4_102_444_800  # 1990-01-01, 2100-01-01
# numbers that count something else than time since 1970: of such only the order tells
STEPS = "steps"
_MOST_STEPS = 1_000_000
_IN_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EXCEL_1970 = 25_569
# 03/04/2018, 3.4.2018, 03-04-18, with or without a time of day after it
_DAY_AND_MONTH = r"^([0-9]{1,2})([/.-])([0-9]{1,2})[/.-]([0-9]{4}|[0-9]{2})(?:\s|$)"
_OTHER_FORMS = (
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%m %d, %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%a %b %d %H:%M:%S %z %Y",
)
_CLOCKS = {0: "", 1: " %H:%M", 2: " %H:%M:%S"}


class Times(NamedTuple):
    """Seconds since 1970, null where there is no time; what they were read as, and what a reader must know of it."""

    seconds: pl.Series
    form: str
    remarks: tuple[str, ...] = ()


def read_times(column: pl.Series, options: ReadOptions, bad: BadRows, needed: pl.Series | None = None) -> Times:
    """Whole seconds since 1970 of numbers, dates, or text of either.

    Parameters
    ----------
    needed : Series of bool, optional
        Rows that cannot be used without a time; default: all.
    """
    needed = pl.repeat(True, len(column), dtype=pl.Boolean, eager=True) if needed is None else needed
    missing = column.is_null()
    bad.add(missing & needed, lambda _: "the timestamp is missing; fill it in or leave the column out")
    times = _times(column, options)
    form = say("time_format='%d/%m/%Y'", "--time-format %d/%m/%Y")
    leave_out = say("timestamp=''", "--time-column ''")
    bad.add(
        times.seconds.is_null() & ~missing & needed,
        lambda row: (
            f"the timestamp {column[row]!r} is no time as the others are ({times.form}); name their form ({form}), "
            f"or leave the column out ({leave_out})"
        ),
    )
    return times._replace(remarks=times.remarks + _oddness(times))


def _oddness(times: Times) -> tuple[str, ...]:
    known = times.seconds.drop_nulls()
    if not len(known) or times.form == STEPS:
        return ()
    first, last = int(known.to_numpy().min()), int(known.to_numpy().max())
    if first >= _EARLIEST and last < _LATEST:
        return ()
    run = " to ".join(str(np.datetime64(time, "s"))[:-9] for time in (first, last))
    mend = say("time_unit='ms'", "--time-unit ms")
    return (f"times run from {run}, read as {times.form}; if that is wrong, say what they are ({mend})",)


def _times(column: pl.Series, options: ReadOptions) -> Times:
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        return Times(column.dt.epoch("s").cast(pl.Int64), "dates")
    if options.time_format is not None and (column.dtype == pl.String or column.dtype.is_integer()):
        return _in_form(column.cast(pl.String).str.strip_chars(), options.time_format)
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
        if 2 * numbers.null_count() > len(column):
            return _dates(text)
        # whole numbers by themselves: a float holds no more than 53 bits
        whole = text.cast(pl.Int64, strict=False)
        return _numbers(whole if whole.null_count() == numbers.null_count() else numbers, options)
    if column.dtype.is_numeric():
        return _numbers(column, options)
    return Times(pl.repeat(None, len(column), dtype=pl.Int64, eager=True), "times")


def _numbers(numbers: pl.Series, options: ReadOptions) -> Times:
    unit = options.time_unit or _unit_of(numbers)
    if unit in ("s", STEPS):
        return Times(numbers.cast(pl.Int64, strict=False), unit)
    if unit in _IN_A_SECOND:
        return Times(numbers.cast(pl.Int64, strict=False) // _IN_A_SECOND[unit], unit)
    if unit == "excel":
        days = numbers.cast(pl.Float64) - _EXCEL_1970
        return Times((days * _SECONDS_A_DAY).round().cast(pl.Int64, strict=False), unit)
    digits = numbers.cast(pl.Int64, strict=False).cast(pl.String)
    return Times(_in_form(digits + "0101" if unit == "year" else digits, "%Y%m%d").seconds, unit)


def _unit_of(numbers: pl.Series) -> str:
    """The unit that puts the times between 1990 and 2100; where none does, one by their size."""
    known = numbers.drop_nulls()
    if not len(known):
        return "s"
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]
    if low >= _EARLIEST and high < _LATEST:  # nearly always, and the median of many takes a while
        return "s"
    middle = float(known.median())  # type: ignore[arg-type]
    for unit, parts in _IN_A_SECOND.items():
        if _EARLIEST * parts <= middle < _LATEST * parts:
            return unit
    if low >= 1990_01_01 and high <= 2099_12_31:
        month, day = known.cast(pl.Int64, strict=False) // 100 % 100, known.cast(pl.Int64, strict=False) % 100
        if month.is_between(1, 12).all() and day.is_between(1, 31).all():
            return "yyyymmdd"
    if low >= 1990 and high < 2100:
        return "year"
    if low >= _EXCEL_1970 + _EARLIEST / _SECONDS_A_DAY and high < _EXCEL_1970 + _LATEST / _SECONDS_A_DAY:
        return "excel"
    if max(abs(low), abs(high)) < _MOST_STEPS:
        return STEPS
    return next((unit for unit, parts in _IN_A_SECOND.items() if abs(middle) < 1e11 * parts), "s")


def _dates(text: pl.Series) -> Times:
    """Dates in the form of the first ones."""
    parts = text.str.extract_groups(_DAY_AND_MONTH).struct.unnest()
    if 2 * parts["1"].null_count() <= len(text):
        form, remarks = _day_or_month_first(text, parts)
        return _in_form(text, form)._replace(remarks=remarks)
    try:
        # a name of a zone is not read in every form
        times = text.str.to_datetime(strict=False)
        return Times(times.dt.epoch("s").cast(pl.Int64), "dates")
    except pl.exceptions.PolarsError:
        found = (_in_form(text, form) for form in _OTHER_FORMS)
        return max(found, key=lambda times: len(text) - times.seconds.null_count())


def _day_or_month_first(text: pl.Series, parts: pl.DataFrame) -> tuple[str, tuple[str, ...]]:
    first, second = (int(parts[name].cast(pl.Int64, strict=False).fill_null(0).to_numpy().max()) for name in ("1", "3"))
    mark, year = parts["2"].drop_nulls()[0], "%Y" if parts["4"].str.len_bytes().max() == 4 else "%y"
    clock = _CLOCKS.get(int(text.str.count_matches(":").max() or 0), "")  # type: ignore[arg-type]
    forms = [mark.join((*order, year)) + clock for order in (("%d", "%m"), ("%m", "%d"))]
    if first > 12 or mark == ".":
        return forms[0], ()
    if second > 12:
        return forms[1], ()
    other = say(f"time_format={forms[1]!r}", f"--time-format '{forms[1]}'")
    return forms[0], (
        f"dates such as {text.drop_nulls()[0]} can begin with the day or with the month; read as day first; "
        f"for the month first: {other}",
    )


def _in_form(text: pl.Series, form: str) -> Times:
    try:
        times = text.str.to_datetime(form, strict=False)
        return Times(times.dt.epoch("s").cast(pl.Int64), f"dates {form}")
    except pl.exceptions.PolarsError:
        return Times(pl.repeat(None, len(text), dtype=pl.Int64, eager=True), f"dates {form}")
