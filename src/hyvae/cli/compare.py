"""hyvae compare: several models on identical splits."""

from __future__ import annotations

import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hyvae.cli import options
from hyvae.cli.output import note, print_json, stdout
from hyvae.cli.watching import Watch, require_writable, terminable
from hyvae.errors import ConfigError, TrainingWarning
from hyvae.evaluation import Comparison, default_cache
from hyvae.evaluation import compare as compare_models
from hyvae.models.settings import parse_setting
from hyvae.reports import write_comparison
from hyvae.reports.comparison import PAGE, PLUS_MINUS, explanation, short_table


@options.reads_source
def compare(
    source: options.Source,
    reading: options.Reading,
    models: Annotated[
        str,
        typer.Option(help="NAME or NAME:PRESET, several with commas between; 'all': every model there is."),
    ],
    seeds: Annotated[int, typer.Option(help="How many splits: seeds 0 to N-1, each also that of the training.")] = 5,
    split: Annotated[str, typer.Option(help="Kind of split, as for 'hyvae train'.")] = "random",
    reference: Annotated[
        str | None, typer.Option(help="The model that differences are to; default: the best one.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of one model, MODEL.key=value; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.json, comparison.md and comparison.html.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of finished cells; default: 'comparisons' in hyvae's cache.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train all models anew, also those that are finished.")
    ] = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Train and test several models on the same rows, and say how sure their differences are.

    Each model on each split is a cell. Finished cells are kept: after Ctrl-C the same command goes on from them.

    Examples
    --------
        hyvae compare movielens-small --models bias,hyvae --seeds 5

        hyvae compare ratings.csv --models all --set hyvae.epochs=50 --out comparison
    """
    options.set_threads(threads)
    chosen = _parsed(settings or [])
    if out is not None:
        require_writable(out)
    ratings = reading.read(source, told=not json)
    # the URL of a database may hold a password
    told = ratings.source if "://" in source else source
    alone = nullcontext() if out is None else options.writing(out / PAGE)
    with alone, terminable(), Watch() as watch, warnings.catch_warnings():
        # its table has the bias model beside each
        warnings.simplefilter("ignore", TrainingWarning)
        result = compare_models(
            ratings,
            models.split(","),
            seeds,
            split=split,
            reference=reference,
            settings=chosen,
            device=device,
            cache=cache,
            fresh=fresh,
            on_cell=watch,
        )
    command = ["hyvae", *(told if argument == source else argument for argument in sys.argv[1:])]
    result = replace(
        result,
        provenance={
            "source": told,
            "layout": None if ratings.layout is None else ratings.layout.to_dict(),
            "command": command,
        }
        | result.provenance,
    )
    if result.found:
        total = result.seeds * len(result.cells)
        note(f"{result.found} of {total} cells were found in {cache or default_cache()}; --fresh trains them anew")
    if out is not None:
        write_comparison(result, out)
    if json:
        print_json(result.to_dict())
        return
    _print(result)
    if out is not None:
        stdout.print(f"comparison written to {out}; open {out / PAGE}", markup=False, highlight=False)


def _parsed(settings: list[str]) -> dict[str, dict[str, Any]]:
    parsed: dict[str, dict[str, Any]] = {}
    for setting in settings:
        model, dot, change = setting.partition(".")
        if not dot or not model or "=" in model or change.find("=") < 1:
            raise ConfigError(f"--set takes MODEL.key=value, got {setting!r}; for example --set hyvae.epochs=50")
        key, value = parse_setting(change)
        parsed.setdefault(model, {})[key] = value
    return parsed


def _print(result: Comparison) -> None:
    heads, cells = short_table(result)
    # compact, as a terminal is narrow; the star for where nothing can be bold
    rows = [[f"{cell.text.replace(PLUS_MINUS, '±')}{'*' if cell.best else ''}" for cell in row] for row in cells]
    shown = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for number, head in enumerate(heads):
        # a long head may break, a number may not
        longest = max(len(row[number]) for row in rows)
        shown.add_column(head, justify="right" if number else "left", min_width=longest, vertical="bottom")
    for row, from_ in zip(rows, cells, strict=True):
        shown.add_row(*(Text(said, "bold" if cell.best else "") for said, cell in zip(row, from_, strict=True)))
    # wider than a narrow terminal rather than with cells cut short
    stdout.print(shown, crop=False)
    stdout.print(f"{explanation(result)} *: the best of its column.", markup=False, highlight=False)
