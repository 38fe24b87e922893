"""The text of the Netflix Prize: `movie:` on a line of its own, then user, rating and day of each of its ratings."""

from __future__ import annotations

import re

import polars as pl

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import Columns, ReadOptions
from hyvae.data.encodings import as_utf8, not_utf8
from hyvae.data.tables import ratings_from_frame
from hyvae.errors import DataError
from hyvae.layout import SourceLayout
from hyvae.ratings import Ratings

FIRST_LINE = re.compile(rb"\s*[0-9]+:\s*\r?\n")
_HEADER = b"user,rating,date\n"


def ratings_from_netflix(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read blocks of ratings, one of each movie.

    Source: J. Bennett, S. Lanning, The Netflix Prize, KDD Cup and Workshop 2007.

    Raises
    ------
    DataError
    """
    data = as_utf8(data, source, options.encoding)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(data, source, 1 + data.count(b"\n", 0, error.start))) from error
    # a header of our own: the first line has one field, where Polars would see one column
    frame = pl.read_csv(_HEADER + data, infer_schema_length=0, quote_char=None, truncate_ragged_lines=True)
    movie = pl.col("user").str.strip_chars().str.ends_with(":") & pl.col("rating").is_null()
    fields = (
        frame.with_row_index("line", offset=1)
        .with_columns(pl.when(movie).then(pl.col("user").str.strip_chars(" \t:")).forward_fill().alias("item"))
        .filter(~movie, pl.col("user").is_not_null() | pl.col("rating").is_not_null())
    )
    timed = options.timestamp != "" and fields["date"].null_count() < fields.height
    columns = Columns(timestamp="date" if timed else None)
    numbers, bad = fields["line"], BadRows(fields.height)
    bad.add(fields["rating"].is_null(), lambda _: "no rating; write user,rating,day below a line 'movie:'")
    return ratings_from_frame(
        fields,
        columns,
        options,
        source=source,
        place=lambda row: f"line {numbers[row - 1]}",
        bad=bad,
        text_ids=True,
        layout=SourceLayout(**columns.fields(), notes=("blocks 'movie:' of the Netflix Prize",)),
    )
