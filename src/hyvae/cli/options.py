"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
import typer

from hyvae.cli.output import stdout
from hyvae.data import DATASETS
from hyvae.errors import ConfigError, DataError
from hyvae.files import cannot_be_written, held
from hyvae.ratings import Ratings

Source = Annotated[
    str,
    typer.Argument(
        help="A data set by name (see 'hyvae data list'), a file or folder (CSV, TSV, Parquet, Arrow, JSON lines, "
        "MovieLens, and more: docs/data.md), a URL, a database with --query, or '-' for standard input."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder that 'hyvae train' wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Seed = Annotated[int, typer.Option(help="Seed of the training; the split has its own.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores that it may use.")]
Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.")]


_PANEL = "How to read the source (default: guessed)"

ForSpreadsheets = Annotated[
    bool,
    typer.Option(
        "--for-spreadsheets", help="In CSV, put an apostrophe before text that a spreadsheet would take for a formula."
    ),
]


def _reading(names: str, explanation: str) -> Any:
    return typer.Option(*names.split(), help=explanation, rich_help_panel=_PANEL)


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
    max_size: Annotated[
        str | None, _reading("--max-size", "Most bytes to download or unpack, as 500M or 64G; else 8G (docs/data.md).")
    ] = None

    decimal: Annotated[str, _reading("--decimal", "Decimal mark of the ratings in a text: '.' or ','.")] = "."
    skip_lines: Annotated[
        int, typer.Option("--skip-lines", min=0, help="Lines of a text before its table.", rich_help_panel=_PANEL)
    ] = 0
    wide: Annotated[bool, _reading("--wide", "A matrix: a row is a user, a column an item.")] = False
    titles: Annotated[str | None, _reading("--titles", "A text file with item ids and their titles.")] = None
    quote: Annotated[str | None, _reading("--quote", "Around fields of a text; '' if quotes are plain.")] = None
    time_unit: Annotated[str | None, _reading("--time-unit", "Of times: s, ms, us, ns, yyyymmdd, year or excel.")] = (
        None
    )
    time_format: Annotated[str | None, _reading("--time-format", "Of dates, for example %d/%m/%Y.")] = None
    not_rated: Annotated[
        list[str] | None, _reading("--not-rated", "A rating that stands for 'not rated', such as -1; may be repeated.")
    ] = None

    def read(self, source: str, *, told: bool = True) -> Ratings:
        """Read a source, and tell what was taken for what, unless the caller does (`told` is false)."""
        ratings = Ratings.read(source, **self.arguments())
        if told and ratings.layout is not None and source not in DATASETS:
            stdout.print(f"read {ratings.layout}", markup=False, highlight=False, soft_wrap=True)
        return ratings

    def arguments(self) -> dict[str, Any]:
        """The options as `hyvae.data.read` takes them."""
        return {
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
            "quote": self.quote,
            "time_unit": self.time_unit,
            "time_format": self.time_format,
            "not_rated": tuple(self.not_rated or ()),
            "max_size": self.max_size,
            "decimal": self.decimal,
            "skip_lines": self.skip_lines,
            "wide": self.wide,
            "titles": self.titles,
        }


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


def holds_run(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that writes a run (``out``, else ``run``) begin only where no other one is writing it.

    From its start to its end: what is trained, or read to be changed, would else be lost to the other's writing.
    """

    @functools.wraps(command)
    def alone(**arguments: Any) -> None:
        with writing(arguments["out"] or arguments["run"]):
            command(**arguments)

    return alone


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Hold a file or a folder that is about to be written.

    Raises
    ------
    DataError
        Another command holds it, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(held(place))
        except OSError as error:
            raise DataError(cannot_be_written(place, error)) from error
        yield


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
