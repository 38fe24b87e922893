"""hyvae train: ratings in, a run folder out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hyvae.cli import options
from hyvae.cli.output import print_json, stdout, table
from hyvae.data import Split
from hyvae.evaluation import evaluate
from hyvae.models.settings import parse_setting
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.runs import check_target


def train(
    source: options.Source,
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    model: Annotated[str, typer.Option(help="hyvae or bias.")] = "hyvae",
    preset: Annotated[str, typer.Option(help="default, or paper: the paper's own settings.")] = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the model or its training, key=value; may be repeated."),
    ] = None,
    seed: options.Seed = 0,
    split: Annotated[str, typer.Option(help="random (80/10/10 by rating), or given: the source's own.")] = "random",
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="No split: train on all ratings, for production.")] = False,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Keep no training ratings in the run: it answers new users only.")
    ] = False,
    user_column: options.UserColumn = None,
    item_column: options.ItemColumn = None,
    rating_column: options.RatingColumn = None,
    time_column: options.TimeColumn = None,
    title_column: options.TitleColumn = None,
    scale: options.ScaleOption = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Train a model, evaluate it on the test part, and write a run folder.

    Examples
    --------
        hyvae train movielens-small --out run

        hyvae train ratings.csv --out run --set learning_rate=0.003 --split-seed 1
    """
    options.set_threads(threads)
    # before the training, not after it
    check_target(out)
    recommender = Recommender(model, preset=preset, device=device, **_parsed(settings or []))
    ratings = options.read_source(source, user_column, item_column, rating_column, time_column, title_column, scale)
    parts = None if everything else ratings.split(split, seed=split_seed)
    metrics = fit_and_save(recommender, ratings, parts, out, source=source, seed=seed, history=not no_history)
    if json:
        print_json({"run": str(out), "metrics": metrics, "provenance": recommender.provenance})
        return
    stdout.print(f"trained {recommender!r} in {recommender.training.seconds:.1f} s", markup=False, highlight=False)
    if metrics:
        print_metrics(metrics)
    stdout.print(f"run written to {out}", markup=False, highlight=False)


def _parsed(settings: list[str]) -> dict[str, Any]:
    return dict(parse_setting(setting) for setting in settings)


def fit_and_save(
    recommender: Recommender,
    ratings: Ratings,
    parts: Split | None,
    out: Path,
    *,
    source: str,
    seed: int,
    history: bool = True,
) -> dict[str, Any]:
    """Fit on a split's training part (or on everything), evaluate on its test part, and write the run."""
    if parts is None:
        recommender.fit(ratings, seed=seed)
        metrics: dict[str, Any] = {}
        held_out = {}
    else:
        recommender.fit(parts.train, parts.valid, seed=seed)
        metrics = evaluate(recommender, parts.test)
        held_out = {"validation": parts.valid, "test": parts.test}
    details = {
        "source": source,
        "data_fingerprint": ratings.fingerprint,
        "split": "all" if parts is None else {"kind": parts.kind, "seed": parts.seed},
        "command": ["hyvae", *sys.argv[1:]],
    }
    recommender.save(out, held_out=held_out, metrics=metrics, history=history, details=details)
    return metrics


def print_metrics(metrics: dict[str, Any]) -> None:
    """Errors beside the bias model's, and the ranking."""
    rows = [
        (name, metrics[kind]["rmse"], metrics["bias"][kind]["rmse"], metrics[kind]["mae"], metrics["bias"][kind]["mae"])
        for name, kind in (("pooled", "pooled"), ("mean over users", "user_mean"))
    ]
    columns = ("", "RMSE", "bias model", "MAE", "bias model")
    table(f"{metrics['ratings']:,} held-out ratings of {metrics['users']:,} users", columns, rows)
    ranking = metrics["ranking"]
    if ranking["users"]:
        k = ranking["k"]
        stdout.print(
            f"lists of {k} for {ranking['users']:,} users: NDCG@{k} {ranking['ndcg']:.4f}, recall@{k} "
            f"{ranking['recall']:.4f}, MRR {ranking['mrr']:.4f}, coverage {ranking['coverage']:.4f} "
            f"(relevant: rated {ranking['relevant_from']:g} or more)"
        )
