"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from hyvae.errors import ConfigError
from hyvae.ratings import Ratings

Source = Annotated[
    str,
    typer.Argument(
        help="A data set by name (see 'hyvae data list') or a path: CSV/TSV with a header, MovieLens .dat, zip or "
        "folder, Monti .mat."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder that 'hyvae train' wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Seed = Annotated[int, typer.Option(help="Seed of the training; the split has its own.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.")]
UserColumn = Annotated[str | None, typer.Option("--user-column", help="Column of user ids; default: guessed.")]
ItemColumn = Annotated[str | None, typer.Option("--item-column", help="Column of item ids; default: guessed.")]
RatingColumn = Annotated[str | None, typer.Option("--rating-column", help="Column of ratings; default: guessed.")]
TimeColumn = Annotated[
    str | None, typer.Option("--time-column", help="Column of timestamps; default: guessed; '' for none.")
]
TitleColumn = Annotated[
    str | None, typer.Option("--title-column", help="Column of item titles; default: guessed; '' for none.")
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="Lowest and highest rating, for example 1,5; default: the observed.")
]


def read_source(
    source: str,
    user: str | None,
    item: str | None,
    rating: str | None,
    timestamp: str | None,
    title: str | None,
    scale: str | None,
) -> Ratings:
    """Read a source with the columns that the options name."""
    return Ratings.read(
        source, user=user, item=item, rating=rating, timestamp=timestamp, title=title, scale=_parse_scale(scale)
    )


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
