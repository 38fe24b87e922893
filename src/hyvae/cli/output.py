"""What commands print: tables for people, JSON for programs, and files written whole."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hyvae.errors import DataError

stdout = Console()
stderr = Console(stderr=True)


def print_json(content: Any) -> None:
    """Print for a program."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print for a person; columns that start with a number-like cell are set flush right."""
    shown = Table(title=escape(title), title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(rows) and isinstance(rows[0][number], int | float)
        shown.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    stdout.print(shown)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    # a title may hold brackets, which Rich would take for its markup
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def write_table(frame: pl.DataFrame, out: Path) -> None:
    """Write CSV or Parquet, by the ending, beside its place and rename it there.

    Raises
    ------
    DataError
        Another ending, or a place that cannot be written.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise DataError(f"{out}: the output must end in .csv or .parquet")
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        if out.suffix == ".csv":
            frame.write_csv(staging)
        else:
            frame.write_parquet(staging)
        os.replace(staging, out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        staging.unlink(missing_ok=True)
