"""The text of the Netflix Prize: `movie:` on a line of its own, then user, rating and day of each of its ratings."""

from __future__ import annotations

import re

import polars as pl

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import Columns, ReadOptions
from hyvae.data.tables import ratings_from_frame
from hyvae.errors import DataError
from hyvae.layout import SourceLayout
from hyvae.ratings import Ratings

FIRST_LINE = re.compile(rb"\s*[0-9]+:\s*\r?\n")
_ITEM = r"^([0-9]+):$"
_ROW = r"^\s*([^,]+),([^,]+)(?:,([^,]*))?$"


def ratings_from_netflix(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read blocks of ratings, one of each movie.

    Source: J. Bennett, S. Lanning, The Netflix Prize, KDD Cup and Workshop 2007.

    Raises
    ------
    DataError
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise DataError(f"{source}, line {line}: not UTF-8 text; save the file as UTF-8") from error
    lines = pl.DataFrame({"text": pl.Series([text]).str.split("\n").explode().str.strip_chars()})
    lines = lines.with_row_index("line", offset=1).filter(pl.col("text") != "")
    lines = lines.with_columns(pl.col("text").str.extract(_ITEM).forward_fill().alias("item"))
    lines = lines.filter(~pl.col("text").str.ends_with(":"))
    fields = lines.select(
        "item", pl.col("text").str.extract_groups(_ROW).struct.rename_fields(["user", "rating", "date"]).alias("row")
    ).unnest("row")
    timed = options.timestamp != "" and fields["date"].null_count() < fields.height
    columns = Columns(timestamp="date" if timed else None)
    numbers, texts, bad = lines["line"], lines["text"], BadRows(fields.height)
    bad.add(
        fields["user"].is_null(),
        lambda row: f"{texts[row][:60]!r} is no rating; write user,rating,day below a line 'movie:'",
    )
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
