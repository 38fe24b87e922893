"""The live line of a training run: step, loss parts, validation RMSE (or NDCG), ratings a second, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hyvae.scoring import VALIDATION_LIST
from hyvae.terminal import Stream, console
from hyvae.training.trainer import EpochReport


class TrainingProgress:
    """A context whose instance is the trainer's `on_epoch`; silent where nobody watches.

    Parameters
    ----------
    epochs : int
        Planned.
    n_ratings : int
        Training ratings, to tell the ratings a second.
    shown : bool, optional
        Default: only if standard error is a terminal.
    """

    def __init__(self, epochs: int, n_ratings: int, shown: bool | None = None) -> None:
        self.n_ratings = n_ratings
        self.measure = "RMSE"
        self.best: float | None = None
        self.latest: float | None = None
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description} {task.completed}/{task.total}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[line]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console("stderr"),
            disable=not (Stream("stderr").isatty() if shown is None else shown),
        )
        self.task = self.progress.add_task("epoch", total=epochs, line="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, report: EpochReport) -> None:
        """Show an epoch."""
        if report.validation_rmse is not None:
            self.latest = report.validation_rmse
            self.best = report.validation_rmse if self.best is None else min(self.best, report.validation_rmse)
        elif report.validation_ndcg is not None:
            self.measure = f"NDCG@{VALIDATION_LIST}"
            self.latest = report.validation_ndcg
            self.best = report.validation_ndcg if self.best is None else max(self.best, report.validation_ndcg)
        self.progress.update(self.task, completed=report.epoch, line=self.line(report))

    def conclude(self, done: int, of: int) -> None:
        """Show how much is done of what follows the epochs."""
        self.progress.update(
            self.task, completed=done, total=of, description="sweep", line="drawing from the posterior"
        )

    def line(self, report: EpochReport) -> str:
        """What the bar says of an epoch."""
        words = [f"step {report.steps}", *(f"{name} {value:.4f}" for name, value in report.parts.items())]
        if self.latest is not None:
            words.append(f"valid {self.measure} {self.latest:.4f} (best {self.best:.4f})")
        rate = self.n_ratings * report.epoch / max(report.seconds, 1e-9)
        return " · ".join([*words, f"{rate:,.0f} ratings/s"])
