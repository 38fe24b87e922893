"""hyvae compare: several models on identical splits."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, Self

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hyvae.cli import options
from hyvae.cli.output import note, print_json, stderr, stdout
from hyvae.errors import ConfigError, DataError
from hyvae.evaluation import Comparison, Standing, default_cache
from hyvae.evaluation import compare as compare_models
from hyvae.models.settings import parse_setting
from hyvae.reports import write_comparison
from hyvae.reports.comparison import PAGE, PLUS_MINUS, explanation, short_table

# a comparison that is over sooner needs no bar
BAR_AFTER_SECONDS = 2.0


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
    ratings = reading.read(source)
    # the URL of a database may hold a password
    told = ratings.source if "://" in source else source
    with terminable(), Watch() as watch:
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
    result = replace(result, provenance={"source": told, "command": command} | result.provenance)
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


def require_writable(out: Path) -> None:
    """Say before the training, not after it, that the results could not be written."""
    place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise DataError(f"{out} cannot be written: {place} is not a folder; choose another place")
    if not os.access(place, os.W_OK):
        raise DataError(f"{out} cannot be written: {place} is not yours to write to; choose another place")


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


class Watch:
    """Is told of each cell: shows a bar once it takes long, and tells what was done where a signal stops it.

    Parameters
    ----------
    unit : str
        What is counted, one of them.
    """

    def __init__(self, unit: str = "cell") -> None:
        self.unit = unit
        self.standing: Standing | None = None
        self.progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=16),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=stderr,
            disable=not stderr.is_terminal,
        )
        self.task = self.progress.add_task("splitting", total=None)
        self.timer = threading.Timer(BAR_AFTER_SECONDS, self.progress.start)

    def __call__(self, standing: Standing) -> None:
        """Show where it stands."""
        self.standing = standing
        done, total, _, now = standing
        said = f"{self.unit} {done + 1} of {total}: {now}" if now else ""
        self.progress.update(self.task, completed=done, total=total, description=said)

    def __enter__(self) -> Self:
        self.timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timer.cancel()
        # the bar may be about to appear
        self.timer.join()
        self.progress.stop()
        if isinstance(value, KeyboardInterrupt) and self.standing is not None:
            done, total, *_ = self.standing
            stderr.print(
                f"stopped with {done} of {total} {self.unit}s done; the same command goes on from them",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            sys.exit(128 + (value.args[0] if value.args else signal.SIGINT))


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt with its number; one that the process was told to ignore stays ignored."""
    before = signal.getsignal(signal.SIGTERM)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)
