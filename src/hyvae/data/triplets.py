"""libFM's text (also called SVMlight's): a rating, then one feature for the user and one for the item."""

from __future__ import annotations

import polars as pl

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import Columns, ReadOptions
from hyvae.data.tables import ratings_from_frame
from hyvae.errors import DataError
from hyvae.ratings import Ratings

# a feature's number and its value: 17:1
_FEATURE = r"([0-9]+):(\S+)"
_ROW = rf"^\s*(\S+)\s+{_FEATURE}\s+{_FEATURE}\s*$"
_EXPECTED = "write 'rating user:1 item:1', where user and item are numbers of features"
_MOST_SHOWN = 60


def ratings_from_libfm(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read lines of ``rating user:1 item:1``; ids are the numbers of the features.

    What follows a ``#`` is a comment. Data with more features than these two, or with other values than 1, are
    not ratings of users for items alone, and refused.

    Source: S. Rendle, Factorization machines with libFM, ACM TIST 3(3), 2012.
    """
    lines = _rows(data, source)
    if not lines.height:
        raise DataError(f"{source}: no ratings; {_EXPECTED}")
    fields = lines.select(
        "line", "text", pl.col("text").str.extract_groups(_ROW).struct.rename_fields(list("ruviw")).alias("fields")
    ).unnest("fields")
    ones = [pl.col(value).cast(pl.Float64, strict=False).eq(1.0).fill_null(False) for value in ("v", "w")]
    bad = BadRows(lines.height)
    texts, numbers = fields["text"], fields["line"]
    bad.add(fields["r"].is_null(), lambda row: _what_is_wrong(texts[row]))
    bad.add(
        fields.select(pl.col("r").is_not_null() & ~pl.all_horizontal(ones)).to_series(),
        lambda row: f"a feature of {_shown(texts[row])} has another value than 1; {_EXPECTED}",
    )
    bad.add(
        fields.select(
            pl.any_horizontal(
                pl.col(id_).is_not_null() & pl.col(id_).cast(pl.Int64, strict=False).is_null() for id_ in "ui"
            )
        ).to_series(),
        lambda row: f"a feature's number in {_shown(texts[row])} is too large for 64 bits; number from 0",
    )
    frame = fields.select(
        pl.col("u").cast(pl.Int64, strict=False).alias("user"),
        pl.col("i").cast(pl.Int64, strict=False).alias("item"),
        pl.col("r").alias("rating"),
    )
    return ratings_from_frame(
        frame, Columns(), options, source=source, place=lambda row: f"line {numbers[row - 1]}", bad=bad
    )


def _rows(data: bytes, source: str) -> pl.DataFrame:
    """Columns line (from 1) and text, of the lines that hold more than a comment."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise DataError(f"{source}, line {line}: not UTF-8 text; save the file as UTF-8") from error
    texts = pl.Series("text", [text]).str.split("\n").explode().str.replace("#.*$", "").str.strip_chars()
    return pl.DataFrame({"text": texts}).with_row_index("line", offset=1).filter(pl.col("text") != "")


def _what_is_wrong(text: str) -> str:
    n_features = len(text.split()) - 1
    if n_features > 2:
        return f"{n_features} features, where a rating has two; {_EXPECTED}, and leave other features out"
    return f"{_shown(text)} is no rating; {_EXPECTED}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")
