"""hyvae recommend, similar: lists of items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from hyvae.cli import options
from hyvae.cli.answering import parse_ratings
from hyvae.cli.output import note, print_json, require_table, table, tell_written, write_table
from hyvae.errors import ConfigError, DataError
from hyvae.recommender import Recommendation, Recommender

_FILTERS = "Which items a list may hold"


def recommend(
    run: options.RunFolder,
    user: Annotated[str | None, typer.Option(help="Id of a known user.")] = None,
    ratings: Annotated[
        str | None, typer.Option(help='Ratings of someone new, as JSON: {"item id or title": rating, …}.')
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Lists for all known users; needs --out.")] = False,
    n: Annotated[int, typer.Option("-n", min=1, help="Length of a list.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also what the user rated.", rich_help_panel=_FILTERS)
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Only this item, by id or title; may be repeated.", rich_help_panel=_FILTERS),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option(help="Not this item, by id or title; may be repeated.", rich_help_panel=_FILTERS),
    ] = None,
    allow_from: Annotated[
        Path | None, typer.Option(help="Only the items of a text file, one a line.", rich_help_panel=_FILTERS)
    ] = None,
    deny_from: Annotated[
        Path | None, typer.Option(help="Not the items of a text file, one a line.", rich_help_panel=_FILTERS)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --all: file to write, .parquet or .csv; -: CSV to standard output.")
    ] = None,
    for_spreadsheets: options.ForSpreadsheets = False,
    json: options.Json = False,
) -> None:
    """Recommend to a known user, to someone never seen, or to everyone.

    What a user has rated is left out, whichever part of the source it fell into.

    Examples
    --------
        hyvae recommend run --user 42

        hyvae recommend run --ratings '{"The Matrix": 5, "Alien": 4}' -n 5 --deny Aliens

        hyvae recommend run --all --out lists.parquet
    """
    if sum((user is not None, ratings is not None, everyone)) != 1:
        raise ConfigError("say who: give exactly one of --user, --ratings and --all")
    if everyone != (out is not None):
        raise ConfigError("--all and --out go together: hyvae recommend RUN --all --out lists.parquet")
    filters: dict[str, Any] = {
        "include_seen": include_seen,
        "allow": None if allow is None and allow_from is None else [*(allow or []), *_names(allow_from)],
        "deny": [*(deny or []), *_names(deny_from)],
    }
    if out is not None:
        require_table(out)
    recommender = Recommender.load(run)
    if out is not None:
        _write_everyones(recommender, out, n, filters, for_spreadsheets, json)
        return
    if user is not None and not len(recommender.history):
        note("the run keeps no histories: the bias model answers, and what the user has rated is not left out")
    who = recommender.history.users.parse(user) if user is not None else parse_ratings(ratings or "")
    scored = "predicted" if recommender.predicts_ratings else "score"
    print_recommendations(recommender.recommend(who, n, **filters), json, scored=scored)


def _write_everyones(
    recommender: Recommender, out: Path, n: int, filters: dict[str, Any], for_spreadsheets: bool, json: bool
) -> None:
    users = rows = 0

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal users, rows
        # a user is in one piece alone
        for piece in recommender.recommend_blocks(n=n, **filters):
            users, rows = users + piece["user"].n_unique(), rows + len(piece)
            yield piece

    formulas = write_table(counted(), out, for_spreadsheets=for_spreadsheets)
    tell_written(
        out,
        f"lists for {users:,} users written to {out}",
        {"out": str(out), "users": users, "rows": rows},
        json,
        formulas,
    )


def _names(file: Path | None) -> list[str]:
    """The lines of a file that are not empty."""
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: cannot be read as UTF-8 text, one item a line ({reason})") from error
    return [line.strip() for line in lines if line.strip()]


def similar(
    run: options.RunFolder,
    item: Annotated[str, typer.Argument(help="Id or title of the item.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Length of the list.")] = 10,
    json: options.Json = False,
) -> None:
    """List the items that a model knows as most like one: the cosine of what it knows of both.

    Examples
    --------
        hyvae similar run "The Matrix"

        hyvae similar run 318 -n 5 --json
    """
    found = Recommender.load(run).similar_items(item, n)
    if json:
        print_json([line._asdict() for line in found])
        return
    rows = [(rank, line.title, line.similarity, str(line.item)) for rank, line in enumerate(found, 1)]
    table(f"Most like {item}", ("rank", "title", "similarity", "item"), rows)


def print_recommendations(
    items: list[Recommendation], json: bool = False, title: str | None = None, scored: str = "predicted"
) -> None:
    """Print one list."""
    if json:
        print_json([item._asdict() for item in items])
        return
    if not items:
        note("no item is left for the list")
        return
    columns: dict[str, list[Any]] = {
        "rank": list(range(1, len(items) + 1)),
        "title": [item.title for item in items],
        scored: [item.score for item in items],
    }
    # scores at the end of the scale are all the same, though their order is known
    if any(item.unclipped is not None and abs(item.unclipped - item.score) > 1e-6 for item in items):
        columns["unclipped"] = [item.unclipped for item in items]
    if any(item.sd is not None for item in items):
        columns["sd"] = ["" if item.sd is None else f"±{item.sd:.2f}" for item in items]
    columns["item"] = [str(item.item) for item in items]
    table(title or "Recommended", list(columns), list(zip(*columns.values(), strict=True)))
