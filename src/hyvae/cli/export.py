"""hyvae export: a run as a file that answers without hyvae."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hyvae.cli import options
from hyvae.cli.output import print_json, stdout
from hyvae.errors import ConfigError
from hyvae.recommender import Recommender


def export(
    run: options.RunFolder,
    out: Annotated[Path, typer.Option(help="File to write.")],
    to: Annotated[str, typer.Option("--format", help="Of the file: onnx.")] = "onnx",
    json: options.Json = False,
) -> None:
    """Write a model that answers without hyvae, Python or torch: people's ratings in, scores of all items out.

    Its inputs are offsets, items and values, people's ratings row after row; its metadata say which ids the items'
    indices stand for.

    Example:

        hyvae export run --out model.onnx
    """
    # what it needs of torch takes a while to import
    from hyvae.export import FORMATS

    if to not in FORMATS:
        raise ConfigError(f"no format is called {to!r}; there is: {', '.join(FORMATS)}")
    recommender = Recommender.load(run)
    FORMATS[to](recommender, out)
    size = out.stat().st_size
    if json:
        print_json({"out": str(out), "format": to, "bytes": size, "items": recommender.history.n_items})
        return
    stdout.print(
        f"model of {recommender.history.n_items:,} items written to {out} ({size / 1e6:,.1f} MB)", markup=False
    )
