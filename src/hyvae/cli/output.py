"""What commands print: tables for people, JSON for programs, and files written whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from hyvae.cli.formulas import count_formulas, without_formulas
from hyvae.errors import DataError
from hyvae.files import cannot_be_written, written_whole
from hyvae.terminal import Stream, console, json_escaped, one_line, visible

# all that a command prints goes through these two, or through `print_json`
stdout = console("stdout")
stderr = console("stderr")

#: as the name of a file: standard output
STDOUT = Path("-")


def print_json(content: Any) -> None:
    """Print for a program."""
    text = json_escaped(json.dumps(content, indent=2, ensure_ascii=False))
    out = Stream("stdout")
    try:
        text.encode(out.encoding)
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2)
    out.write(f"{text}\n")
    out.flush()


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
    """Tell a person something beside the answer; it may have several lines."""
    stderr.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print one line on standard error, whatever is in it."""
    stderr.print(one_line(line), markup=False, highlight=False, soft_wrap=True)


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
    # made visible here too, so that columns are as wide as what is shown
    return f"{value:,}" if isinstance(value, int) else escape(visible(str(value)))


def require_table(out: Path) -> None:
    """Refuse, before anything is worked out, a name that `write_table` cannot write.

    Raises
    ------
    DataError
        Another ending, or a folder that is not there or not to be written to.
    """
    if out == STDOUT:
        return
    if out.suffix not in (".csv", ".parquet"):
        raise DataError(f"{out}: the output must end in .csv or .parquet, or be - for standard output")
    try:
        with written_whole(out) as part:
            part.touch()
            raise _NotYet
    except _NotYet:
        return
    except OSError as error:
        raise DataError(cannot_be_written(out, error)) from error


class _NotYet(Exception):  # noqa: N818 — nothing is wrong
    """Ends a trial without a file."""


def write_table(frames: Iterable[pl.DataFrame], out: Path, *, for_spreadsheets: bool = False) -> int:
    """Write CSV or Parquet, by the ending, beside its place and rename it there; as CSV to standard output for ``-``.

    Parameters
    ----------
    frames : iterable of DataFrame
        The table in pieces; memory is that of one.
    for_spreadsheets : bool
        Whether text that a spreadsheet would take for a formula gets an apostrophe in front, in CSV.

    Returns
    -------
    int
        Cells that begin like a formula and were written as they are.

    Raises
    ------
    DataError
        Another ending, or a place that cannot be written.
    """
    require_table(out)
    formulas = 0

    def told(pieces: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        nonlocal formulas
        for piece in pieces:
            formulas += 0 if for_spreadsheets else count_formulas(piece)
            yield without_formulas(piece) if for_spreadsheets else piece

    if out == STDOUT:
        _print_csv(told(frames))
        return formulas
    try:
        with written_whole(out) as part:
            if out.suffix == ".csv":
                with part.open("wb") as file:
                    for number, piece in enumerate(told(frames)):
                        piece.write_csv(file, include_header=number == 0)
            else:
                _write_parquet(frames, part)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(cannot_be_written(out, error)) from error
    return formulas


def tell_written(out: Path, written: str, facts: dict[str, Any], json: bool, formulas: int) -> None:
    """Say what was written, to a person or a program: beside it, where it went to standard output."""
    if formulas and out.suffix != ".parquet":
        note(
            f"{formulas:,} cells begin like a formula (=, +, -, @): before a spreadsheet opens the file, write it with "
            "--for-spreadsheets"
        )
    if out == STDOUT:
        return
    if json:
        print_json(facts)
    else:
        stdout.print(written, markup=False, highlight=False, soft_wrap=True)


def _write_parquet(frames: Iterable[pl.DataFrame], out: Path) -> None:
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        files = []
        for number, piece in enumerate(frames):
            files.append(Path(folder) / f"{number}.parquet")
            piece.write_parquet(files[-1])
        if len(files) == 1:
            files[0].replace(out)
        else:
            pl.scan_parquet(files, glob=False).sink_parquet(out)


def _print_csv(frames: Iterable[pl.DataFrame]) -> None:
    out = Stream("stdout")
    for number, piece in enumerate(frames):
        text = piece.write_csv(include_header=number == 0)
        # a program gets what is there, a terminal what can be shown
        out.write(visible(text) if out.isatty() else text)
    out.flush()
