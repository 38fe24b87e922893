"""Long work of many parts: a bar where somebody watches, and one line where a signal stops it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hyvae.cli.output import stderr
from hyvae.errors import DataError
from hyvae.evaluation import Standing

# work that is over sooner needs no bar
BAR_AFTER_SECONDS = 2.0


def require_writable(out: Path) -> None:
    """Say before the training, not after it, that the results could not be written."""
    place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise DataError(f"{out} cannot be written: {place} is not a folder; choose another place")
    if not os.access(place, os.W_OK):
        raise DataError(f"{out} cannot be written: {place} is not yours to write to; choose another place")


class Watch:
    """Is told of each cell: shows a bar once it takes long, and tells what was done where a signal stops it.

    Parameters
    ----------
    unit : str
        What is counted, one of them.
    """

    def __init__(self, unit: str = "cell") -> None:
        self.unit = unit
        self.standing: Standing | None = None
        self.progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=16),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=stderr,
            disable=not stderr.is_terminal,
        )
        self.task = self.progress.add_task("splitting", total=None)
        self.timer = threading.Timer(BAR_AFTER_SECONDS, self.progress.start)

    def __call__(self, standing: Standing) -> None:
        """Show where it stands."""
        self.standing = standing
        done, total, _, now = standing
        said = f"{self.unit} {done + 1} of {total}: {now}" if now else ""
        self.progress.update(self.task, completed=done, total=total, description=said)

    def __enter__(self) -> Self:
        self.timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timer.cancel()
        # the bar may be about to appear
        self.timer.join()
        self.progress.stop()
        if isinstance(value, KeyboardInterrupt) and self.standing is not None:
            done, total, *_ = self.standing
            stderr.print(
                f"stopped with {done} of {total} {self.unit}s done; the same command goes on from them",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            sys.exit(128 + (value.args[0] if value.args else signal.SIGINT))


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt with its number; one that the process was told to ignore stays ignored."""
    before = signal.getsignal(signal.SIGTERM)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)
