"""hyvae fold-in, forget: what a run knows of people, changed without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hyvae.cli import options
from hyvae.cli.output import print_json, stdout
from hyvae.data.joining import reindexed
from hyvae.errors import DataError
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.runs import Run, check_target, read_run
from hyvae.training import checkpoint_path

Out = Annotated[Path | None, typer.Option(help="Run folder to write; default: the same, replaced as a whole.")]


@options.holds_run
@options.reads_source
def fold_in(
    run: options.RunFolder,
    source: options.Source,
    reading: options.Reading,
    out: Out = None,
    json: options.Json = False,
) -> None:
    """Add new ratings to what a run answers from, without training: known and new users, known and new items.

    Examples
    --------
        hyvae fold-in run this-week.csv

        hyvae fold-in run this-week.csv --out run-monday
    """
    target = out or run
    check_target(target)
    content = read_run(run)
    recommender = Recommender.from_run(content)
    if not len(content.history):
        raise DataError(
            f"{run} keeps no histories (--no-history) to add ratings to; train with them, or ask with --ratings"
        )
    new = reading.read(source, told=not json)
    known = recommender.history
    folded = recommender.with_ratings(new)
    facts = {
        "layout": None if new.layout is None else new.layout.to_dict(),
        "ratings": len(new),
        "new_users": folded.history.n_users - known.n_users,
        "new_items": folded.history.n_items - known.n_items,
    }
    _save(folded, content, target, {"folded_in": [*_list(content, "folded_in"), {"source": new.source, **facts}]})
    if json:
        print_json({"run": str(target), **facts})
        return
    stdout.print(
        f"{facts['ratings']:,} ratings folded in ({facts['new_users']:,} new users, {facts['new_items']:,} new items); "
        f"run written to {target}",
        markup=False,
        highlight=False,
    )


@options.holds_run
def forget(
    run: options.RunFolder,
    user: Annotated[list[str], typer.Option("--user", help="Id of the user to forget; may be repeated.")],
    out: Out = None,
    json: options.Json = False,
) -> None:
    """Forget users: gone from the histories, the held-out ratings, the vocabulary and every table with a row a user.

    Example:

        hyvae forget run --user 42
    """
    target = out or run
    check_target(target)
    content = read_run(run)
    recommender = Recommender.from_run(content)
    ids = list(dict.fromkeys(recommender.history.users.parse(text) for text in user))
    rows = recommender.history.users.index(ids)
    taught = int(recommender.history.user_counts[rows[rows >= 0]].sum())
    forgotten = int(content.provenance.get("forgotten_users", 0)) + len(ids)
    _save(recommender.without_users(ids), content, target, {"forgotten_users": forgotten})
    remains = (
        f"what was learnt from their ratings ({taught:,} in the history) stays in the weights that all users share, as "
        "no one's in particular; only training again without them removes that too"
    )
    checkpoint = checkpoint_path(run)
    if json:
        print_json(
            {
                "run": str(target),
                "forgotten": ids,
                "remains": remains,
                "checkpoint": str(checkpoint) if checkpoint.exists() else None,
            }
        )
        return
    stdout.print(
        f"{len(ids)} forgotten; run written to {target}. What remains: {remains}.", markup=False, highlight=False
    )
    if checkpoint.exists():
        stdout.print(f"{checkpoint} is of a training that knew them: remove it.", markup=False, highlight=False)


def _list(content: Run, key: str) -> list[object]:
    return list(content.provenance.get(key, []))


def _save(recommender: Recommender, content: Run, target: Path, details: dict[str, object]) -> None:
    """Write the changed run with what is left of the held-out parts."""
    history = recommender.history
    known = history.user_index.astype(np.int64) * history.n_items + history.indices
    held_out: dict[str, Ratings] = {}
    for name, part in content.held_out.items():
        moved = reindexed(part, history.users, history.items)
        # what has been folded in is no longer held out
        held_out[name] = moved.take(
            ~np.isin(moved.user_index.astype(np.int64) * history.n_items + moved.indices, known)
        )
    recommender.save(
        target,
        held_out=held_out,
        metrics=content.metrics,
        history=bool(len(content.history)),
        details=details,
    )
