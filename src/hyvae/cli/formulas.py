"""Text in a CSV file that a spreadsheet would run as a formula (CWE-1236)."""

from __future__ import annotations

import polars as pl

# how such text begins, as OWASP lists it; a number is none
_BEGINS = r"^[=+\-@\t\r]"


def count_formulas(frame: pl.DataFrame) -> int:
    """Number of cells that begin like a formula, in columns of text."""
    columns = [column for column in frame if column.dtype == pl.String]
    return sum(int(column.str.contains(_BEGINS).sum()) for column in columns)


def without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """With an apostrophe in front of each such cell. Columns of numbers are as they were."""
    text = pl.col(pl.String)
    return frame.with_columns(pl.when(text.str.contains(_BEGINS)).then("'" + text).otherwise(text).name.keep())
