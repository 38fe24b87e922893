"""What commands print: tables for people, JSON for programs, and files written whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hyvae.errors import DataError
from hyvae.files import cannot_be_written, written_whole

stdout = Console()
stderr = Console(stderr=True)


def print_json(content: Any) -> None:
    """Print for a program."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


@contextmanager
def notes_shown() -> Iterator[None]:
    """Show what hyvae logs meanwhile, a line each, on standard error."""
    logger, handler = logging.getLogger("hyvae"), _Notes()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def note(line: str) -> None:
    """Tell a person something beside the answer."""
    stderr.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)


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
    write = frame.write_csv if out.suffix == ".csv" else frame.write_parquet
    try:
        with written_whole(out) as part:
            write(part)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(cannot_be_written(out, error)) from error
