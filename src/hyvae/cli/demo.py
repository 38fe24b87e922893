"""hyvae demo: the whole way on the bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hyvae.cli import options
from hyvae.cli.lists import print_recommendations
from hyvae.cli.output import stdout
from hyvae.cli.training import Job, print_metrics
from hyvae.errors import ConfigError
from hyvae.ratings import Ratings
from hyvae.recommender import HyVAE, Recommender
from hyvae.reports import write_report
from hyvae.runs import REPORT, check_target

SOURCE = "movielens-small"
SOMEONE_NEW = {"The Matrix": 5.0, "Alien": 4.5, "Blade Runner": 5.0, "Notting Hill": 2.0, "Titanic (1997)": 2.5}
QUICK_EPOCHS = 30


@options.holds_run
def demo(
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("demo-run"),
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK_EPOCHS} epochs instead of all.")] = False,
    threads: options.Threads = None,
) -> None:
    """Train on the bundled MovieLens data, evaluate, recommend films by title, and write a report.

    It trains the preset that takes seconds; ``hyvae train movielens-small`` the more accurate one that takes minutes.

    Example:

        hyvae demo
    """
    options.set_threads(threads)
    check_target(out)
    ratings = Ratings.read(SOURCE)
    stdout.print(f"MovieLens small: {ratings!r}", markup=False, highlight=False)
    recommender = HyVAE(preset="fast", epochs=QUICK_EPOCHS) if quick else HyVAE(preset="fast")
    job = Job(
        recommender, ratings.split(seed=0), seed=0, source=SOURCE, data=ratings.fingerprint, command=("hyvae", "demo")
    )
    metrics = job.run(out)
    stdout.print(f"trained in {recommender.training.seconds:.1f} s; run written to {out}", highlight=False)
    print_metrics(metrics)
    _recommend(Recommender.load(out))
    try:
        write_report(out, out / REPORT)
    except ConfigError as missing:
        stdout.print(f"no report: {missing}", markup=False, highlight=False)
    else:
        stdout.print(f"report written to {out / REPORT}: open it in a browser", markup=False, highlight=False)


def _recommend(recommender: Recommender) -> None:
    said = ", ".join(f"{title} {rating:g}" for title, rating in SOMEONE_NEW.items())
    print_recommendations(recommender.recommend(SOMEONE_NEW), title=f"For someone never seen, who rated {said}")
    user = recommender.history.users.ids[:1].tolist()[0]
    print_recommendations(recommender.recommend(user), title=f"For user {user}")
