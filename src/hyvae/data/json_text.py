"""JSON: one object a line, or one array of objects; also the Python literals that some data sets are published in."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import polars as pl

from hyvae.data.columns import Columns, ReadOptions, choose_columns
from hyvae.data.tables import ratings_from_frame
from hyvae.data.values import ValueTable
from hyvae.errors import DataError
from hyvae.ratings import Ratings

_SAMPLE_LINES = 100
_BATCH = 1 << 16
_MOST_REASON = 200
_EXPECTED = 'write one object a line, such as {"user": 1, "item": 2, "rating": 5}'
# how a dictionary of Python begins, where JSON has double quotes
_PYTHON = re.compile(rb"\s*\{u?'")


def ratings_from_json(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read one object a line, or one array of objects.

    Clean lines are read by Polars. Whatever is unusual is read once more line by line, which is slower and knows what
    is wrong where. Lines that are Python dictionaries are evaluated as literals, which runs nothing.

    Raises
    ------
    DataError
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data.lstrip().startswith(b"["):
        return _ratings_from_array(data, source, options)
    samples = [_parsed(line)[0] for _, line in islice(_lines(data), _SAMPLE_LINES)]
    if not samples:
        raise DataError(f"{source}: the file is empty; give one JSON object a line, with at least one rating")
    objects = [sample for sample in samples if sample is not None]
    if not objects:
        number, line = next(_lines(data))
        raise DataError(f"{source}, line {number}: {_parsed(line)[1]}")
    names = list(dict.fromkeys(name for sample in objects for name in sample))
    columns = choose_columns(names, options, source)

    @cache
    def lines() -> list[int]:
        return [number for number, _ in _lines(data)]

    def place(row: int) -> str:
        return f"line {lines()[row - 1]}"

    frame = _read_json_typed(data, columns, objects)
    if frame is not None:
        return ratings_from_frame(frame, columns, options, source=source, place=place)
    table = _read_json_values(data, columns)
    return ratings_from_frame(table.frame(), columns, options, source=source, place=place, bad=table.bad_rows())


def _ratings_from_array(data: bytes, source: str, options: ReadOptions) -> Ratings:
    try:
        values = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8 text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{source}, line {error.lineno}: not JSON ({error.msg} at character {error.colno}); write one whole array"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{source}: not JSON that can be read ({' '.join(str(error).split())[:_MOST_REASON]})"
        ) from error
    if not values:
        raise DataError(f"{source}: the array is empty; give at least one rating")
    objects = [value for value in values[:_SAMPLE_LINES] if isinstance(value, dict)]
    if not objects:
        raise DataError(f"{source}: its array holds no objects; {_EXPECTED}")
    columns = choose_columns(list(dict.fromkeys(name for value in objects for name in value)), options, source)
    table = ValueTable(columns)
    for begin in range(0, len(values), _BATCH):
        _add(table, columns, list(map(_object, values[begin : begin + _BATCH])))
    return ratings_from_frame(
        table.frame(), columns, options, source=source, place="object {}".format, bad=table.bad_rows()
    )


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line that is not blank."""
    return ((number, line) for number, line in enumerate(io.BytesIO(data), start=1) if line.strip())


def _parsed(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """The object of a line, or what is wrong with it."""
    try:
        value = ast.literal_eval(line.decode().strip()) if _PYTHON.match(line) else json.loads(line.decode())
    except UnicodeDecodeError:
        return None, "not UTF-8 text; save the file as UTF-8"
    except json.JSONDecodeError as error:
        return None, f"not JSON ({error.msg} at character {error.pos + 1}); write one whole object a line"
    # a number of thousands of digits, thousands of brackets
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        return None, f"not JSON that can be read ({' '.join(str(error).split())[:_MOST_REASON]}); mend the line"
    return _object(value)


def _object(value: Any) -> tuple[dict[str, Any] | None, str]:
    return (value, "") if isinstance(value, dict) else (None, f"holds no JSON object; {_EXPECTED}")


def _read_json_typed(data: bytes, columns: Columns, samples: list[dict[str, Any]]) -> pl.DataFrame | None:
    """The columns in use; None unless the text is clean throughout."""
    schema: dict[str, type[pl.DataType]] = {}
    for role, name in columns.named().items():
        kinds = {type(sample[name]) for sample in samples if sample.get(name) is not None}
        if role == "rating":
            schema[name] = pl.Float64
        elif role == "title":
            schema[name] = pl.String
        elif kinds in ({int}, {str}):
            schema[name] = pl.Int64 if kinds == {int} else pl.String
        else:
            return None
        if schema[name] == pl.String and _not_text_in_json(data, name):
            return None
    if _LONE_SURROGATE.search(data):  # which Polars takes for another character
        return None
    try:
        return pl.read_ndjson(data, schema=schema)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def _not_text_in_json(data: bytes, name: str) -> bool:
    """Whether a value of this key may be no text, which Polars would make text on the quiet.

    The same key deeper in an object only costs the faster reading.
    """
    key = b"|".join({re.escape(json.dumps(name, ensure_ascii=ascii_only).encode()) for ascii_only in (True, False)})
    return re.search(b"(?:" + key + rb')[ \t\r]*:[ \t\r]*[^"n \t\r]', data) is not None


def _read_json_values(data: bytes, columns: Columns) -> ValueTable:
    table, lines = ValueTable(columns), _lines(data)
    while batch := [_parsed(line) for _, line in islice(lines, _BATCH)]:
        _add(table, columns, batch)
    return table


def _add(table: ValueTable, columns: Columns, batch: Sequence[tuple[dict[str, Any] | None, str]]) -> None:
    table.add(
        {name: [None if value is None else value.get(name) for value, _ in batch] for name in columns.named().values()},
        {row: reason for row, (value, reason) in enumerate(batch) if value is None},
    )
