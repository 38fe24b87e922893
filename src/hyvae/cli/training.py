"""hyvae train: ratings in, a run folder out."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hyvae.cli import options
from hyvae.cli.output import notes_shown, print_json, stdout, table
from hyvae.data import Split, extend_split, merge, whole
from hyvae.errors import ConfigError, RunError
from hyvae.evaluation import evaluate
from hyvae.models import REGISTRY
from hyvae.models.settings import parse_setting
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.reports import require_matplotlib, write_report
from hyvae.runs import REPORT, Run, check_target, read_run
from hyvae.training import Checkpointing, checkpoint_path

_NAMES = ", ".join(REGISTRY)


@options.holds_run
@options.reads_source
def train(
    source: options.Source,
    reading: options.Reading,
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    model: Annotated[str | None, typer.Option(help=f"{_NAMES}; default: hyvae.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="default; 'paper' of hyvae; 'ranking' of what was made for lists."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the model or its training, key=value; may be repeated."),
    ] = None,
    seed: options.Seed = 0,
    split: Annotated[
        str,
        typer.Option(
            help="random (80/10/10 by rating), user (people held out), leave-K-out (K ratings of each user), time (the "
            "latest), user-time (each user's latest) or given (the source's own)."
        ),
    ] = "random",
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="No split: train on all ratings, for production.")] = False,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Keep no training ratings in the run: it answers new users only.")
    ] = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from", help="An earlier run: SOURCE adds to its ratings, and training goes on from its weights, briefly."
        ),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write RUN/report.html: one page, no network.")] = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from RUN.checkpoint if there is one, else from the start.")
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds of training between two checkpoints; 0: after every step.")
    ] = 60.0,
    json: options.Json = False,
) -> None:
    """Train a model, evaluate it on the test part, and write a run folder.

    While it trains, its state is kept in RUN.checkpoint, beside the run folder. After Ctrl-C, or whatever else stopped
    it, the same command with --resume goes on from there, and ends in the same weights.

    Examples
    --------
        hyvae train movielens-small --out run

        hyvae train ratings.csv --out run --set learning_rate=0.003 --split-seed 1
    """
    options.set_threads(threads)
    # before the training, not after it
    check_target(out)
    if report:
        require_matplotlib()
    chosen = _parsed(settings or [])
    earlier = None if start_from is None else read_run(start_from)
    if earlier is None:
        first = None
        recommender = Recommender(model, preset=preset or "default", device=device, **chosen)
    else:
        first = Recommender.from_run(earlier, device=device)
        if (model or first.name, preset or first.preset) != (first.name, first.preset):
            raise ConfigError(f"{start_from} is a run of {first.name} ({first.preset}); leave out --model and --preset")
        recommender = first.to_update(**chosen)
    ratings = reading.read(source, told=not json)
    parts = _parts(ratings, earlier, split, split_seed, everything)
    # the URL of a database may hold a password
    told = ratings.source if "://" in source else source
    job = Job(
        recommender,
        parts,
        seed,
        first,
        history=not no_history,
        source=told,
        data=ratings.fingerprint,
        command=["hyvae", *(told if argument == source else argument for argument in sys.argv[1:])],
    )
    checkpoint = Checkpointing(checkpoint_path(out), checkpoint_every, resume)
    complete = job.complete_at(out) if resume and not checkpoint.path.exists() else None
    if complete is not None:
        metrics, facts = complete.metrics, complete.provenance
        said = f"{out} is complete: it holds the run of this very training"
    else:
        with notes_shown():
            metrics = job.run(out, checkpoint)
        checkpoint.path.unlink(missing_ok=True)
        facts = recommender.provenance | job.details
        said = f"trained {recommender!r} in {recommender.training.seconds:.1f} s"
    if report:
        write_report(out, out / REPORT)
    if json:
        print_json({"run": str(out), "metrics": metrics, "provenance": facts})
        return
    stdout.print(said, markup=False, highlight=False)
    if metrics:
        print_metrics(metrics)
    stdout.print(f"run written to {out / REPORT if report else out}", markup=False, highlight=False)


def _parsed(settings: list[str]) -> dict[str, Any]:
    return dict(parse_setting(setting) for setting in settings)


def _parts(ratings: Ratings, earlier: Run | None, kind: str, seed: int, everything: bool) -> Split:
    """What is trained on and what is held out: of the source, and of the earlier run that it adds to."""
    if earlier is None:
        return whole(ratings) if everything else ratings.split(kind, seed=seed)
    old = earlier.history, *(earlier.held_out.get(name, _none_of(earlier.history)) for name in ("validation", "test"))
    if everything:
        return whole(merge(functools.reduce(merge, old), ratings))
    return extend_split(old, ratings, kind, seed=seed)


def _none_of(ratings: Ratings) -> Ratings:
    return Ratings.empty(ratings.users, ratings.items, ratings.scale, ratings.titles)


@dataclass(frozen=True)
class Job:
    """A training with all that its run folder tells of it.

    Attributes
    ----------
    recommender : Recommender
        Not fitted yet.
    parts : Split
    seed : int
    first : Recommender or None
        At whose weights training begins.
    history : bool
        Whether the run keeps the training ratings.
    source : str
    data : str
        Fingerprint of the source's ratings.
    command : list of str
    """

    recommender: Recommender
    parts: Split
    seed: int
    first: Recommender | None = None
    history: bool = True
    source: str = ""
    data: str = ""
    command: Sequence[str] = ()

    def run(self, out: Path, checkpoint: Checkpointing | None = None) -> dict[str, Any]:
        """Fit on the training part, evaluate on the test part, and write the run."""
        parts = self.parts
        keep: dict[str, Any] = {}
        if checkpoint is not None:
            keep = {"checkpoint": checkpoint.path, "checkpoint_every": checkpoint.every, "resume": checkpoint.resume}
        self.recommender.fit(
            parts.train,
            parts.valid,
            given=parts.given,
            exclude=parts.test,
            start_from=self.first,
            seed=self.seed,
            **keep,
        )
        metrics = evaluate(self.recommender, parts.test) if len(parts.test) else {}
        held_out = {name: part for name, part in (("validation", parts.valid), ("test", parts.test)) if len(part)}
        details = self.details | {"command": list(self.command)}
        self.recommender.save(out, held_out=held_out, metrics=metrics, history=self.history, details=details)
        return metrics

    @property
    def details(self) -> dict[str, Any]:
        """What its run tells of where it came from, besides what `fit` does."""
        parts = self.parts
        return {
            "source": self.source,
            "data_fingerprint": self.data,
            "split": "all" if parts.kind == "all" else {"kind": parts.kind, "seed": parts.seed},
        }

    def complete_at(self, out: Path) -> Run | None:
        """The run at `out`, if it is whole and what this training would write there."""
        try:
            run = read_run(out)
        except RunError:
            return None
        parts, recommender = self.parts, self.recommender
        job = recommender.job(parts.train, parts.valid, given=parts.given, start_from=self.first, seed=self.seed)
        wanted = self.details | {"job": job}
        same = all(run.provenance.get(key) == value for key, value in wanted.items())
        kept = run.config.preset == recommender.preset and bool(len(run.history)) == self.history
        return run if same and kept else None


def print_metrics(metrics: dict[str, Any]) -> None:
    """Errors beside the bias model's, where ratings are predicted, and the ranking."""
    if "pooled" in metrics:
        aggregations = (("pooled", "pooled"), ("mean over users", "user_mean"))
        ours_and_bias = [(name, metrics[kind], metrics["bias"][kind]) for name, kind in aggregations]
        rows = [(name, ours["rmse"], bias["rmse"], ours["mae"], bias["mae"]) for name, ours, bias in ours_and_bias]
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
