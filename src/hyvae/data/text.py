"""Delimited text (CSV, TSV, `::`): guessing its separator and columns, and reading it as `Ratings`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from hyvae.data.tables import Columns, ratings_from_frame, require_columns
from hyvae.errors import DataError
from hyvae.ratings import Ratings

# Lower case without punctuation, best guess first.
COMMON_NAMES = {
    role: names.split()
    for role, names in (
        (
            "user",
            "user userid uid userno usernumber reviewerid reviewer customerid customer memberid member "
            "personid person visitorid profilename username author",
        ),
        (
            "item",
            "item itemid iid movieid movie filmid film bookid book isbn asin parentasin productid product "
            "sku businessid business trackid track songid song artistid artist animeid anime gameid game "
            "recipeid jokeid joke",
        ),
        (
            "rating",
            "rating ratings stars star score overall bookrating starrating rate ratingvalue userrating",
        ),
        ("timestamp", "timestamp time unixreviewtime unixtime ts tstamp ratingtimestamp datetime date"),
        ("title", "title itemtitle movietitle booktitle producttitle itemname moviename productname"),
    )
}
_SEPARATORS = (",", "\t", ";", "|", "::")
# Polars takes one byte as separator; a longer one is swapped for this control character, made for the purpose
_UNIT_SEPARATOR = b"\x1f"


@dataclass(frozen=True)
class ReadOptions:
    """What the caller of `read` says about a file; None is guessed, '' leaves the column out."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None
    separator: str | None = None
    scale: tuple[float, float] | None = None


def read_text(path: Path, options: ReadOptions) -> Ratings:
    """Read a delimited text file with a header line."""
    if options.separator is None and path.suffix.lower() == ".tsv":
        options = replace(options, separator="\t")
    return ratings_from_text(path.read_bytes(), str(path), options)


def ratings_from_text(
    data: bytes,
    source: str,
    options: ReadOptions,
    *,
    header: Sequence[str] | None = None,
    listed: pl.DataFrame | None = None,
) -> Ratings:
    """Read delimited text.

    Parameters
    ----------
    header : sequence of str, optional
        Names of the columns of a file that has no header line.
    listed : DataFrame, optional
        Text columns ``item`` and ``title`` of the source's catalogue.
    """
    text = TextTable(data, source, separator=options.separator, header=header)
    columns = choose_columns(text.frame.columns[1:], options, source)
    frame = text.frame
    items = frame[columns.item] if listed is None else pl.concat([frame[columns.item], listed["item"]])
    items = ids_from_text(items, "item", source)
    typed = [
        ids_from_text(frame[columns.user], "user", source),
        items.head(frame.height).rename(columns.item),
        _ratings_from_text(frame[columns.rating], text),
    ]
    if columns.timestamp is not None:
        typed.append(_times_from_text(frame[columns.timestamp], text))
    if listed is not None:
        listed = listed.with_columns(items.tail(listed.height).rename("item"))
        columns = replace(columns, title=None)
    return ratings_from_frame(
        frame.with_columns(typed),
        columns,
        source=source,
        scale=options.scale,
        place=text.place,
        listed=listed,
    )


class TextTable:
    """A delimited text as a frame of strings, which knows on which line each row stands.

    Attributes
    ----------
    frame : DataFrame
        First the number of the record (0-based, blank lines counted), then the columns of the text. Blank
        lines are left out, an empty field is null.
    """

    def __init__(
        self, data: bytes, source: str, *, separator: str | None = None, header: Sequence[str] | None = None
    ) -> None:
        self.source = source
        data = data.removeprefix(b"\xef\xbb\xbf")
        body = data.lstrip(b"\r\n")
        _require_text(body, source)
        if b"\n" not in body:  # line ends of old Macintoshes, which Polars does not take
            body = body.replace(b"\r", b"\n")
        self._skipped_lines = data[: len(data) - len(body)].count(b"\n")
        self._has_header = header is None
        self.separator = separator or guess_separator(body)
        self._quote = '"'
        if len(self.separator.encode()) > 1:
            if _UNIT_SEPARATOR in body:
                raise DataError(f"{source}: holds control characters (unit separators); remove them")
            body = body.replace(self.separator.encode(), _UNIT_SEPARATOR)
            self.separator, self._quote = _UNIT_SEPARATOR.decode(), ""
        self._body = body
        self.frame = self._parse(source, header)

    def _parse(self, source: str, header: Sequence[str] | None) -> pl.DataFrame:
        try:
            frame = pl.read_csv(
                self._body,
                separator=self.separator,
                quote_char=self._quote or None,
                has_header=header is None,
                infer_schema_length=0,  # everything stays text: '007' must not become 7
            )
        except pl.exceptions.PolarsError as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{source}: not a table separated by {self.separator!r} ({reason}); "
                "give every line the same fields, or name the separator with separator=…"
            ) from error
        names = list(header or [name.strip() for name in frame.columns])[: frame.width]
        if len(set(names)) < len(names):
            raise DataError(f"{source}: two columns are called the same; there are: {', '.join(names)}")
        frame = frame.rename(dict(zip(frame.columns, names, strict=False))).with_row_index("\0record")
        if frame.width > 1 and frame[:, 1].null_count():
            frame = frame.filter(~pl.all_horizontal(pl.all().exclude("\0record").is_null()))
        return frame

    def place(self, row: int) -> str:
        """Name the line of the file on which data row `row` (from 1) stands."""
        wanted = int(self.frame[row - 1, 0]) + self._has_header
        text = io.StringIO(self._body.decode(), newline="")
        if self._quote:
            lines = csv.reader(text, delimiter=self.separator)
        else:
            lines = csv.reader(text, delimiter=self.separator, quoting=csv.QUOTE_NONE)
        line = 1
        try:
            for _ in range(wanted):
                next(lines, None)
                # quoted fields may hold line ends, so that a record is not always a line
                line = lines.line_num + 1
        except csv.Error:  # a field longer than Python's csv takes, where Polars has no limit
            return f"data row {row}"
        return f"line {self._skipped_lines + line}"


def choose_columns(names: Sequence[str], options: ReadOptions, source: str) -> Columns:
    """Columns as the caller named them, else guessed from common names."""
    given = {role: getattr(options, role) for role in COMMON_NAMES}
    free = [name for name in names if name not in given.values()]
    chosen = {role: guess_column(free, role) if name is None else name or None for role, name in given.items()}
    for role, name in chosen.items():
        if f"{name}_duplicated_0" in names:  # what Polars calls the second of two columns
            raise DataError(f"{source}: more than one column is called {name!r}; rename one in the header line")
        if name is None and role in ("user", "item", "rating"):
            raise DataError(
                f"{source}: no column of {role}s among {', '.join(map(repr, names))}; "
                f"name it with {role}=… (--{role}-column on the command line); the file must start with a header line"
            )
    columns = Columns(
        user=chosen["user"] or "",
        item=chosen["item"] or "",
        rating=chosen["rating"] or "",
        timestamp=chosen["timestamp"],
        title=chosen["title"],
    )
    require_columns(names, columns, source)
    return columns


def guess_column(names: Sequence[str], role: str) -> str | None:
    """Find the column that plays a role by its common names; of two spellings of one name the first wins."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[name] for name in COMMON_NAMES[role] if name in plain), None)


def guess_separator(data: bytes) -> str:
    """Find the separator that the first line holds most often (a comma if it holds none)."""
    first = re.split(rb"[\r\n]", data, maxsplit=1)[0]
    return max(_SEPARATORS, key=lambda separator: first.count(separator.encode()) * len(separator))


def ids_from_text(ids: pl.Series, noun: str, source: str) -> pl.Series:
    """Ids as integers where every one is written as a plain integer, else as the text that they are."""
    unique = ids.unique().str.strip_chars()
    numbers = unique.cast(pl.Int64, strict=False)
    # '007' and '+7' read as numbers but are not how a number is written: they are names
    if (numbers.cast(pl.String).eq_missing(unique) | (unique == "")).all():
        return ids.str.strip_chars().cast(pl.Int64, strict=False)
    if unique.drop_nulls().str.contains(r"^-?[0-9]+\.0+$").all():
        raise DataError(
            f"{source}: the {noun} ids are decimal numbers ({unique.drop_nulls()[0]}); write them as integers"
        )
    return ids.set(ids == "", None)


def _ratings_from_text(column: pl.Series, text: TextTable) -> pl.Series:
    stripped = column.str.strip_chars()
    numbers = stripped.cast(pl.Float64, strict=False)
    # an empty field is a missing rating, which is told apart from a bad one
    bad = (numbers.is_null() & (stripped != "")).fill_null(False)
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{text.source}, {text.place(row + 1)}: the rating {column[row]!r} is no number")
    return numbers


def _times_from_text(column: pl.Series, text: TextTable) -> pl.Series:
    """Read as seconds, else as dates; what is neither stays text, refused later with its row."""
    for kind in (pl.Int64, pl.Float64):
        numbers = column.str.strip_chars().cast(kind, strict=False)
        if numbers.null_count() == column.null_count():
            return numbers
    try:
        dates = column.str.to_datetime(strict=False)
    except pl.exceptions.PolarsError:
        return column
    bad = dates.is_null() & column.is_not_null()
    if bad.any() and not bad.all():
        row = bad.arg_max() or 0
        raise DataError(f"{text.source}, {text.place(row + 1)}: {column[row]!r} is not a date like those above")
    return column if bad.any() else dates


def _require_text(data: bytes, source: str) -> None:
    if not data.strip():
        raise DataError(f"{source}: the file is empty; give a header line and at least one rating")
    if b"\0" in data:
        raise DataError(f"{source}: not a text file (it holds NUL bytes); save it as UTF-8 text")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{source}, line {line}: not UTF-8 text; save the file as UTF-8") from error
