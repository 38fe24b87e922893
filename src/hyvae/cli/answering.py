"""hyvae evaluate, predict, explain: questions to a run."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hyvae.cli import options
from hyvae.cli.output import print_json, require_table, stdout, table, tell_written, write_table
from hyvae.cli.training import print_metrics
from hyvae.data import read_pairs
from hyvae.errors import ConfigError, DataError
from hyvae.evaluation import evaluate as evaluate_recommender
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.runs import Run, read_run


@options.reads_source
def evaluate(
    run: options.RunFolder,
    reading: options.Reading,
    source: Annotated[
        str | None,
        typer.Argument(help="Ratings to evaluate on, less those of training and validation; default: the test part."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the ranked lists.")] = 10,
    json: options.Json = False,
) -> None:
    """Evaluate a run: errors in both aggregations, rankings, errors by activity and popularity.

    Examples
    --------
        hyvae evaluate run

        hyvae evaluate run new-ratings.csv --json
    """
    content = read_run(run)
    recommender = Recommender.from_run(content)
    if source is None:
        test = content.held_out.get("test")
        if test is None:
            if not len(recommender.history):
                raise DataError(f"{run} keeps no ratings (--no-history), so there is nothing to evaluate it on")
            raise DataError(f"{run} was trained without a split; name the ratings to evaluate on")
    else:
        test = _unseen(reading.read(source, told=not json), recommender, content)
    metrics = evaluate_recommender(recommender, test, k=k)
    if json:
        print_json(metrics if test.layout is None else {**metrics, "layout": test.layout.to_dict()})
        return
    print_metrics(metrics)
    if "uncertainty" in metrics:
        _print_uncertainty(metrics["uncertainty"])
    for title, key in (("user", "by_user_activity"), ("item", "by_item_popularity")):
        if key not in metrics:
            continue
        rows = [(_range(row), row["ratings"], row["rmse"], row["mae"]) for row in metrics[key]]
        table(f"By training ratings of the {title}", ("training ratings", "held out", "RMSE", "MAE"), rows)


def _print_uncertainty(found: dict[str, Any]) -> None:
    rows = [(f"{row['stated']:.0%}", f"{row['observed']:.1%}", row["width"]) for row in found["coverage"]]
    table("Intervals", ("stated", "held", "mean width"), rows)
    stdout.print(f"CRPS {found['crps']:.4f}, log-likelihood {found['log_likelihood']:.4f}, mean sd {found['sd']:.4f}")


def _range(row: dict[str, Any]) -> str:
    if row["to"] is None:
        return f"{row['from']} or more"
    return f"{row['from']}" if row["from"] == row["to"] else f"{row['from']}–{row['to']}"


def _unseen(ratings: Ratings, recommender: Recommender, run: Run) -> Ratings:
    """The ratings of a source that neither trained the run nor chose its weights."""
    seen = [recommender.history, *(part for name, part in run.held_out.items() if name == "validation")]
    if not len(recommender.history):
        raise DataError("the run keeps no training ratings, so nothing tells which ratings of a source are new")
    users, items = seen[0].users.index(ratings.user_ids), seen[0].items.index(ratings.item_ids)
    key = np.where((users < 0) | (items < 0), -1, users * seen[0].n_items + items)
    known = np.concatenate([part.user_index.astype(np.int64) * part.n_items + part.indices for part in seen])
    return ratings.take(~np.isin(key, known))


@options.reads_source
def predict(
    run: options.RunFolder,
    pairs: Annotated[
        str, typer.Argument(help="Any source of ratings; columns of user and item ids are enough. '-': standard input.")
    ],
    reading: options.Reading,
    out: Annotated[Path, typer.Option(help="File to write: .csv or .parquet; -: CSV to standard output.")],
    coverage: Annotated[float, typer.Option(help="Share of ratings that the intervals are to hold.")] = 0.9,
    for_spreadsheets: options.ForSpreadsheets = False,
    json: options.Json = False,
) -> None:
    """Predict the ratings of pairs: prediction, standard deviation, interval, and what the bias model had to answer.

    Examples
    --------
        hyvae predict run pairs.csv --out predictions.csv

        hyvae predict run pairs.csv --out predictions.parquet --coverage 0.8

        zcat pairs.jsonl.gz | hyvae predict run - --out predictions.csv
    """
    require_table(out)
    recommender = Recommender.load(run)
    users, items = read_pairs(pairs, recommender.history.users, recommender.history.items, **reading.arguments())
    predictions = recommender.predict_table(users, items, coverage=coverage)
    formulas = write_table([predictions], out, for_spreadsheets=for_spreadsheets)
    fallbacks = int((predictions["fallback"] != "").sum())
    written = f"{len(predictions):,} predictions written to {out}; {fallbacks:,} by the bias model"
    tell_written(
        out, written, {"out": str(out), "predictions": len(predictions), "fallbacks": fallbacks}, json, formulas
    )


def explain(
    run: options.RunFolder,
    item: Annotated[str, typer.Argument(help="Id or title of the item.")],
    user: Annotated[str | None, typer.Option(help="Id of a known user.")] = None,
    ratings: Annotated[
        str | None, typer.Option(help='Ratings of someone new, as JSON: {"item id or title": rating, …}.')
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Ratings to list.")] = 5,
    json: options.Json = False,
) -> None:
    """Say which of someone's own ratings moved a prediction most: it is made again without each.

    Examples
    --------
        hyvae explain run "The Matrix" --user 42

        hyvae explain run Alien --ratings '{"The Matrix": 5, "Titanic (1997)": 2}'
    """
    if (user is None) == (ratings is None):
        raise ConfigError("say who: give exactly one of --user and --ratings")
    recommender = Recommender.load(run)
    who = recommender.history.users.parse(user) if user is not None else parse_ratings(ratings or "")
    reasons = recommender.explain(who, item, n)
    if json:
        print_json([reason._asdict() for reason in reasons])
        return
    rows = [(reason.title, reason.rating, f"{reason.effect:+.3f}", str(reason.item)) for reason in reasons]
    table(f"What moved the prediction of {item}", ("title", "rated", "effect", "item"), rows)


def parse_ratings(text: str) -> dict[str, float]:
    """The ratings of someone new, of JSON that somebody typed.

    Raises
    ------
    DataError
        No JSON object of numbers.
    """
    example = """for example --ratings '{"The Matrix": 5, "Alien": 4}'"""
    try:
        content = json_module.loads(text)
    except json_module.JSONDecodeError as error:
        raise DataError(f"--ratings is not JSON ({error}); {example}") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"--ratings takes a JSON object with at least one rating; {example}")
    for item, rating in content.items():
        if isinstance(rating, bool) or not isinstance(rating, int | float):
            raise DataError(f"--ratings: the rating of {item!r} is {rating!r}, not a number; {example}")
    return content
