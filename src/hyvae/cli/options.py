"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
import typer

from hyvae.errors import ConfigError
from hyvae.ratings import Ratings

Source = Annotated[
    str,
    typer.Argument(
        help="A data set by name (see 'hyvae data list'), a file or folder (CSV, TSV, Parquet, Arrow, JSON lines, "
        "MovieLens, .inter, .libfm, .npz, .mat; docs/data.md), a URL, or a database with --query."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder that 'hyvae train' wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Seed = Annotated[int, typer.Option(help="Seed of the training; the split has its own.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.")]
UserColumn = Annotated[str | None, typer.Option("--user-column", help="Column of user ids; default: guessed.")]
ItemColumn = Annotated[str | None, typer.Option("--item-column", help="Column of item ids; default: guessed.")]

ForSpreadsheets = Annotated[
    bool,
    typer.Option(
        "--for-spreadsheets", help="In CSV, put an apostrophe before text that a spreadsheet would take for a formula."
    ),
]


def _reading(names: str, explanation: str) -> Any:
    return typer.Option(*names.split(), help=explanation, rich_help_panel="How to read the source (default: guessed)")


@dataclass(frozen=True)
class Reading:
    """How a source is to be read: a command with a parameter of this type has these options (see `reads_source`)."""

    user_column: Annotated[str | None, _reading("--user-column", "Column of user ids.")] = None
    item_column: Annotated[str | None, _reading("--item-column", "Column of item ids.")] = None
    rating_column: Annotated[str | None, _reading("--rating-column", "Column of ratings.")] = None
    time_column: Annotated[str | None, _reading("--time-column", "Column of timestamps; '' for none.")] = None
    title_column: Annotated[str | None, _reading("--title-column", "Column of item titles; '' for none.")] = None
    separator: Annotated[str | None, _reading("--separator", "Between the fields of a text.")] = None
    header: Annotated[bool | None, _reading("--header/--no-header", "Whether a text begins with column names.")] = None
    encoding: Annotated[str, _reading("--encoding", "Of a text, for example latin-1.")] = "utf-8"
    scale: Annotated[str | None, _reading("--scale", "Lowest and highest rating, as 1,5; else the observed ones.")] = (
        None
    )
    query: Annotated[str | None, _reading("--query", "SQL, where the source is the URL of a database.")] = None
    on_duplicates: Annotated[
        str, _reading("--on-duplicates", "Pairs rated more than once: error, last (the latest counts) or mean.")
    ] = "error"
    on_bad_rows: Annotated[
        str, _reading("--on-bad-rows", "Rows that cannot be used: error, or skip (counts and lists them).")
    ] = "error"

    def read(self, source: str) -> Ratings:
        """Read a source."""
        options: dict[str, Any] = {
            "user": self.user_column,
            "item": self.item_column,
            "rating": self.rating_column,
            "timestamp": self.time_column,
            "title": self.title_column,
            "separator": None if self.separator is None else self.separator.replace("\\t", "\t"),
            "header": self.header,
            "encoding": self.encoding,
            "scale": _parse_scale(self.scale),
            "query": self.query,
            "on_duplicates": self.on_duplicates,
            "on_bad_rows": self.on_bad_rows,
        }
        return Ratings.read(source, **options)


def reads_source(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that has a parameter ``reading`` the options of `Reading` in its place.

    A command's signature is its command line; a dozen options would otherwise stand in each that reads a source.
    """
    hints = get_type_hints(Reading, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name != "reading":
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in fields(Reading)
        ]

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        reading = Reading(**{field.name: arguments.pop(field.name) for field in fields(Reading)})
        command(reading=reading, **arguments)

    changed: Any = with_options
    changed.__signature__ = signature.replace(parameters=parameters)
    changed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return with_options


def _parse_scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--scale takes two numbers, for example 1,5; got {text!r}") from error
    return low, high


def set_threads(threads: int | None) -> None:
    """Use as many CPU threads as asked for."""
    if threads is not None:
        torch.set_num_threads(threads)
