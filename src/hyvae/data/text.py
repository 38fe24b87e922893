"""Delimited text (CSV, TSV, triplets, `::`): its layout, and two ways to read it.

Clean text is read by Polars with typed columns. Whatever is unusual (a gap, a bad row, '007' as an id) is read once
more as text, field by field, which is slower and knows the line on which each row stands.
"""

from __future__ import annotations

import csv
import io
import mmap
import re
from array import array
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import Columns, ReadOptions, choose_columns
from hyvae.data.compressed import DECOMPRESSORS, ending, read_bytes
from hyvae.data.encodings import as_utf8, mend_of_binary, not_utf8
from hyvae.data.limits import size_limit
from hyvae.data.quotes import with_literal_quotes
from hyvae.data.tables import ratings_from_frame
from hyvae.data.unnamed import checked_order
from hyvae.data.wide import ratings_from_wide
from hyvae.errors import DataError
from hyvae.layout import SourceLayout
from hyvae.ratings import Ratings
from hyvae.wording import say

_SEPARATORS = (",", "\t", ";", "|", "::")
# Polars takes one byte as separator; a longer one is swapped for this control character, made for the purpose
_UNIT_SEPARATOR = b"\x1f"
_SAMPLE_ROWS = 100
_CHUNK = 1 << 20
_LARGE = 1 << 25
# Excel's note for itself
_TOLD_SEPARATOR = re.compile(rb"\s*\"?sep=([,;|\t])\"?\r?\n", re.IGNORECASE)


def read_text(path: Path, options: ReadOptions) -> Ratings:
    """Read a delimited text file, compressed or not, with or without a header line."""
    if options.separator is None and ending(path) == ".tsv":
        options = replace(options, separator="\t")
    size = path.stat().st_size
    if path.suffix.lower() not in DECOMPRESSORS and _LARGE < size <= size_limit(options.max_size):
        ratings = _read_large(path, options)
        if ratings is not None:
            return ratings
    return ratings_from_text(read_bytes(path, options.max_size), str(path), options)


def _read_large(path: Path, options: ReadOptions) -> Ratings | None:
    """Leave a large file to Polars, without a copy of it in memory; None unless it is clean UTF-8 as it stands."""
    with path.open("rb") as file:
        head = file.read(_CHUNK)
    head = head[: head.rfind(b"\n") + 1]
    layout = find_layout(head, str(path), options) if head else None
    if layout is None or layout.text != head or options.encoding != "utf-8" or options.wide:
        return None
    if options.quote is None:
        layout = replace(layout, quote='"')  # it may come later in the file
    return _ratings_if_clean(layout, path, columns_of(layout, str(path), options), str(path), options)


def ratings_from_text(data: bytes, source: str, options: ReadOptions, *, listed: pl.DataFrame | None = None) -> Ratings:
    """Read delimited text.

    Parameters
    ----------
    listed : DataFrame, optional
        Text columns ``item`` and ``title`` of the source's catalogue.

    Raises
    ------
    DataError
    """
    layout = find_layout(data, source, options)
    if options.wide:
        return _ratings_from_wide(layout, source, options)
    columns = columns_of(layout, source, options)
    if listed is not None:
        columns = replace(columns, title=None)
    ratings = _ratings_if_clean(layout, layout.text, columns, source, options, listed)
    if ratings is not None:
        return ratings
    text = TextTable(layout, source)
    return ratings_from_frame(
        text.frame,
        columns,
        options,
        source=source,
        place=text.place,
        bad=text.bad,
        text_ids=True,
        listed=listed,
        layout=layout.told(columns, options),
    )


def _ratings_from_wide(layout: Layout, source: str, options: ReadOptions) -> Ratings:
    text = TextTable(layout, source)
    told = layout.told(Columns(), options)
    return ratings_from_wide(text.frame, options, source=source, place=text.place, bad=text.bad, layout=told)


def columns_of(layout: Layout, source: str, options: ReadOptions) -> Columns:
    """Which column of a text holds what.

    Raises
    ------
    DataError
        As `choose_columns`; without a header line, a content that contradicts the order of the columns.
    """
    columns = choose_columns(layout.names, options, source, named=layout.named, separator=layout.shown_separator)
    if layout.named or options.user or options.item or options.rating or not columns.rating:
        return columns
    head = b"\n".join(layout.text.split(b"\n", _SAMPLE_ROWS)[:_SAMPLE_ROWS])
    sample = TextTable(replace(layout, text=head), source).frame
    return columns if sample.is_empty() else checked_order(columns, sample, source)


@dataclass(frozen=True)
class Layout:
    """A text and how it is laid out.

    Attributes
    ----------
    text : bytes
        With its header line, where it has one.
    begin : int
        Where in `text` the rows begin; 0 without a header line.
    names : tuple of str
        Of the columns; 1, 2, 3, … where nothing names them.
    named : bool
        Whether a header line (or the caller) names the columns.
    separator : str
        One character.
    quote : str or None
    first_line : int
        Line of the source at which the rows begin, from 1.
    source_separator : str or None
        The separator of the source, where it takes more than one character.
    """

    text: bytes
    begin: int
    names: tuple[str, ...]
    named: bool
    separator: str
    quote: str | None
    first_line: int
    source_separator: str | None = None

    @property
    def shown_separator(self) -> str:
        """The separator as it stands in the source."""
        return self.source_separator or self.separator

    def told(self, columns: Columns, options: ReadOptions) -> SourceLayout:
        """What commands and runs say of it."""
        return SourceLayout(
            **columns.fields(),
            named=self.named,
            separator=self.shown_separator,
            header=self.begin > 0,
            encoding=options.encoding,
            quote=options.quote,
        )


def find_layout(data: bytes, source: str, options: ReadOptions) -> Layout:
    """Take a text apart into header and rows, and find its separator.

    Raises
    ------
    DataError
        Empty, not text, two columns of one name, or control characters in the way.
    """
    data = blanked(as_utf8(data, source, options.encoding), options.skip_lines)
    if options.separator is None and (told := _TOLD_SEPARATOR.match(data)):
        data = blanked(data, data.count(b"\n", 0, told.end()))
        options = replace(options, separator=told[1].decode())
    text = data.lstrip(b"\r\n")
    if not text or text.isspace():
        raise DataError(f"{source}: the file is empty; give a header line and at least one rating")
    if b"\n" not in text:  # line ends of old Macintoshes, which Polars does not take
        text = text.replace(b"\r", b"\n")
    line = 1 + data[: len(data) - len(text)].count(b"\n")
    if b"\0" in text[:_CHUNK]:
        raise DataError(f"{source}: not a text file (it holds NUL bytes); {mend_of_binary(text)}")
    separator = options.separator or guess_separator(text)
    around = '"' if options.quote is None else options.quote
    quote = around if around and around.encode() in text else None
    long = separator if len(separator.encode()) > 1 else None
    if long:
        if _UNIT_SEPARATOR in text:
            raise DataError(f"{source}: holds control characters (unit separators); remove them")
        text, quote = text.replace(separator.encode(), _UNIT_SEPARATOR), None
        separator = _UNIT_SEPARATOR.decode()
    elif separator == " ":  # any run of blanks parts two fields
        text = re.sub(rb"[ \t]+", b" ", re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", text))
    begin = text.find(b"\n") + 1 or len(text)
    try:
        fields = _fields(text[:begin].decode(), separator, quote)
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(data, source, line)) from error
    # the items of a wide matrix may be called by numbers
    looked_at = fields[:1] if options.wide else fields
    if options.header is False or (options.header is None and any(map(_is_number, looked_at))):
        numbers = tuple(str(number + 1) for number in range(len(fields)))
        return Layout(text, 0, numbers, False, separator, quote, line, long)
    names = tuple(field.strip() for field in fields)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{source}: more than one column is called {twice!r}; rename one in the header line")
    return Layout(text, begin, names, True, separator, quote, line + 1, long)


def blanked(data: bytes, n_lines: int) -> bytes:
    """The text with its first lines blank, so that the others keep their numbers."""
    at = 0
    for _ in range(n_lines):
        at = data.find(b"\n", at) + 1
        if not at:
            return b"\n" * n_lines
    return b"\n" * n_lines + data[at:] if n_lines else data


def guess_separator(text: bytes) -> str:
    """Find the separator that the first line holds most often; blanks if it holds no other, a comma if none."""
    first = text[: text.find(b"\n") if b"\n" in text else None].strip()
    best = max(_SEPARATORS, key=lambda separator: first.count(separator.encode()) * len(separator))
    return " " if best.encode() not in first and b" " in first else best


def _fields(line: str, separator: str, quote: str | None) -> list[str]:
    if quote is None:
        return line.rstrip("\r\n").split(separator)
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator, quotechar=quote), [])
    except csv.Error:
        return line.split(separator)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


# -- clean text ------------------------------------------------------------------------------------------------


def _ratings_if_clean(
    layout: Layout,
    text: bytes | Path,
    columns: Columns,
    source: str,
    options: ReadOptions,
    listed: pl.DataFrame | None = None,
) -> Ratings | None:
    """Ratings of a text that is clean throughout; None where only the reading field by field can say what is wrong."""
    if options.finish is not None:
        return None
    types: dict[str, type[pl.DataType]] = dict.fromkeys(layout.names, pl.String)
    types[columns.rating] = pl.Float64
    if columns.timestamp is not None and options.time_format is None:
        head = _parse(layout, text, types, n_rows=_SAMPLE_ROWS)
        if head is not None and not head[columns.timestamp].cast(pl.Int64, strict=False).null_count():
            types[columns.timestamp] = pl.Int64
    frame = _parse(layout, text, types, decimal=options.decimal)
    if frame is None or (layout.quote and not _is_a_row_a_line(frame, layout, text)):
        return None
    frame = frame.select(columns.named().values())
    if any(frame[name].null_count() for name in frame.columns if name != columns.title):
        return None
    # bad rows are told by their lines, which only the other reading knows
    strict, told = replace(options, on_bad_rows="error"), layout.told(columns, options)
    try:
        return ratings_from_frame(frame, columns, strict, source=source, text_ids=True, listed=listed, layout=told)
    except DataError:
        return None


def _is_a_row_a_line(frame: pl.DataFrame, layout: Layout, text: bytes | Path) -> bool:
    """Whether no quote has made one row of several lines; true of a text without quotes."""
    mark = (layout.quote or "").encode()
    if isinstance(text, bytes):
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
    else:
        with text.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(mark) < 0:
                return True
            pieces = (content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK))
            lines = sum(piece.count(b"\n") for piece in pieces) + (content[-1:] != b"\n")
    return len(frame) + (layout.begin > 0) == lines


def _parse(
    layout: Layout,
    text: bytes | Path,
    types: dict[str, type[pl.DataType]],
    *,
    n_rows: int | None = None,
    decimal: str = ".",
) -> pl.DataFrame | None:
    try:
        return pl.read_csv(
            text,
            separator=layout.separator,
            quote_char=layout.quote,
            has_header=False,
            skip_rows=int(layout.begin > 0),
            schema=types,
            n_rows=n_rows,
            glob=False,
            decimal_comma=decimal == ",",
        )
    except pl.exceptions.PolarsError:
        return None


# -- any text --------------------------------------------------------------------------------------------------


class TextTable:
    """A delimited text as a frame of strings, which knows on which line each row stands.

    Attributes
    ----------
    frame : DataFrame
        The columns of the text; blank lines are left out, an empty field is null.
    bad : BadRows
        Rows with more fields than there are columns.

    Raises
    ------
    DataError
        Not UTF-8, or not a table.
    """

    def __init__(self, layout: Layout, source: str) -> None:
        self.source, self.layout = source, layout
        width = len(layout.names)
        self._rows = layout.text[layout.begin :]
        if layout.quote is not None:
            self._rows = with_literal_quotes(self._rows, layout.separator, layout.quote, width)
        self._require_utf8()
        # a line of our own decides how many fields a row may have: one more shows which rows have too many
        ruler = layout.separator.join(f"c{number}" for number in range(width + 1)).encode() + b"\n"
        try:
            frame = pl.read_csv(
                ruler + self._rows,
                separator=layout.separator,
                quote_char=layout.quote,
                infer_schema_length=0,  # everything stays text: '007' must not become 7
                truncate_ragged_lines=True,
            )
        except pl.exceptions.PolarsError as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{source}: not a table separated by {layout.shown_separator!r} ({reason}); give every line the same "
                f"fields, or name the separator ({say('separator=…', '--separator …')})"
            ) from error
        filled = ~frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        self._records = np.flatnonzero(filled.to_numpy())
        frame = frame.filter(filled)
        self.frame = frame[:, :width].rename(dict(zip(frame.columns, layout.names, strict=False)))
        self.bad = BadRows(len(frame))
        self.bad.add(
            frame[:, width].is_not_null(),
            lambda _: (
                f"more fields than the {width} columns; quote a field that holds {layout.shown_separator!r}, or name "
                f"the separator ({say('separator=…', '--separator …')})"
            ),
        )

    def _require_utf8(self) -> None:
        body = self._rows
        if b"\0" in body:
            line = self.layout.first_line + body[: body.index(b"\0")].count(b"\n")
            raise DataError(f"{self.source}, line {line}: not a text file (it holds NUL bytes); save it as UTF-8 text")
        try:
            body.decode()
        except UnicodeDecodeError as error:
            line = self.layout.first_line + body[: error.start].count(b"\n")
            raise DataError(not_utf8(body, self.source, line)) from error

    def place(self, row: int) -> str:
        """Name the line of the file on which data row `row` (from 1) stands."""
        record = int(self._records[row - 1])
        if self.layout.quote is None:
            return f"line {self.layout.first_line + record}"
        if record >= len(self._record_lines):
            return f"data row {row}"
        return f"line {self.layout.first_line + self._record_lines[record]}"

    @cached_property
    def _record_lines(self) -> array[int]:
        """Line within the body at which each record begins: quoted fields may hold line ends."""
        begins = array("q")
        text = io.StringIO(self._rows.decode(), newline="")
        lines = csv.reader(text, delimiter=self.layout.separator, quotechar=self.layout.quote)
        line = 0
        try:
            for _ in lines:
                begins.append(line)
                line = lines.line_num
        except csv.Error:  # a field longer than Python's csv takes, where Polars has no limit
            pass
        return begins
