"""hyvae data: list named data sets, describe any source."""

from __future__ import annotations

from typing import Any

import typer

from hyvae.cli import options
from hyvae.cli.commands import add
from hyvae.cli.output import print_json, stdout, table
from hyvae.data import DATASETS, describe, find_local

app = typer.Typer(help="List the named data sets, describe any source.", no_args_is_help=True)


def list_(json: options.Json = False) -> None:
    """List the data sets that have a name.

    Example:

        hyvae data list
    """
    if json:
        print_json([{**vars(dataset), "where_from": find_local(name)} for name, dataset in DATASETS.items()])
        return
    rows = [(name, dataset.title, dataset.ratings, find_local(name)) for name, dataset in DATASETS.items()]
    table("Named data sets", ("name", "what", "ratings", "where from"), rows)


@options.reads_source
def describe_(source: options.Source, reading: options.Reading, json: options.Json = False) -> None:
    """Describe a source: the paper's Table I, and more.

    Example:

        hyvae data describe movielens-small
    """
    ratings = reading.read(source, told=False)
    facts = describe(ratings)
    if json:
        print_json({"source": source, "fingerprint": ratings.fingerprint, **facts})
        return
    if ratings.layout is not None:
        stdout.print(str(ratings.layout), markup=False, highlight=False, soft_wrap=True)
    table(source, ("", "rated", "listed"), _sizes(facts))
    stdout.print(
        f"{facts['ratings']:,} ratings · sparsity {facts['sparsity']:.2%} · mean {facts['mean']:.4f} · "
        f"scale {facts['scale'][0]:g} to {facts['scale'][1]:g}"
    )
    if facts["unrated"]:
        stdout.print(f"{facts['unrated']:,} pairs without a rating")
    for kind in ("user", "item"):
        spread = facts[f"ratings_per_{kind}"]
        stdout.print(
            f"ratings per {kind}: min {spread['min']}, median {spread['median']:g}, mean {spread['mean']:.1f}, "
            f"max {spread['max']:,}"
        )
    if facts["first"]:
        stdout.print(f"from {facts['first']} to {facts['last']}")
    if facts["levels"]:
        rows = [(f"{level:g}", count, count / facts["ratings"]) for level, count in facts["levels"].items()]
        table("Ratings by level", ("rating", "count", "share"), rows)


def _sizes(facts: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(kind, facts[kind], facts[f"listed_{kind}"]) for kind in ("users", "items")]


add(app, list_, "list")
add(app, describe_, "describe")
