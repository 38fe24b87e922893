"""The driver's side of a measurement: workers, interleaved rounds, and what is made of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np

from hyvae.ratings import Ratings

WORKERS = Path(__file__).parent / "workers"
# what everyone gets: torch's own default
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# OpenMP's threads spin for a while after the last loop: the next worker must not share the cores with them
REST_SECONDS = 0.3


@dataclass(frozen=True)
class Run:
    """One call of the suite, as a measure sees it.

    Attributes
    ----------
    repeat : int
        Rounds.
    quick : bool
        Tiny sizes: the numbers mean nothing, and are kept nowhere.
    folder : Path
        For files that are gone afterwards.
    kept : dict or None
        The measure's last result, whose peers need not run again.
    """

    repeat: int
    quick: bool
    folder: Path
    kept: dict[str, Any] | None = None


class Worker:
    """A program of `workers/` that does one unit of work whenever it is asked.

    Parameters
    ----------
    program : str
        Name without its ending.
    settings : dict
        For the program, as its only argument.
    python : str
        Interpreter; default: hyvae's own.
    environment : dict, optional
        More variables.
    """

    def __init__(
        self,
        program: str,
        settings: dict[str, Any],
        folder: Path,
        python: str = sys.executable,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = folder / f"{program}-{time.monotonic_ns()}.log"
        variables = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, str(WORKERS / f"{program}.py"), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,  # some systems write logs and checkpoints where they run
                env={**variables, **(environment or {})},
            )
        self.ready = self._report()

    @property
    def before_mib(self) -> float:
        """Memory with the ratings loaded and nothing made of them."""
        return float(self.ready["before_mib"])

    def unit(self, line: str = "") -> dict[str, Any]:
        """Have one unit done; its report, with `seconds` and the `peak_mib` of memory so far."""
        time.sleep(REST_SECONDS)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._report()

    def _report(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-15:])
            raise RuntimeError(f"{self.log.stem} ended before it had answered:\n{tail}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def once(program: str, settings: dict[str, Any], folder: Path, python: str = sys.executable) -> dict[str, Any]:
    """The answer of a program that runs once."""
    with Worker(program, settings, folder, python) as worker:
        return worker.ready


def interleaved(units: dict[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The reports of units that take turns: A B A B …, so that what slows the machine slows all alike."""
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in units}
    for number in range(1, rounds + 1):
        for name, unit in units.items():
            reports[name].append(unit())
        seconds = ", ".join(f"{name} {each[-1]['seconds']:.3g} s" for name, each in reports.items())
        print(f"  round {number} of {rounds}: {seconds}", file=sys.stderr)
    return reports


def side(
    reports: list[dict[str, Any]], worker: Worker | None = None, scale: float = 1.0, **settings: Any
) -> dict[str, Any]:
    """One system's part of a result.

    Parameters
    ----------
    worker : Worker, optional
        Its process, for memory.
    scale : float
        Seconds of a unit to the seconds that are reported.
    settings
        What the system was told to do.
    """
    seconds = [scale * report["seconds"] for report in reports]
    result: dict[str, Any] = {"median_seconds": median(seconds), "seconds": seconds}
    if worker is not None:
        peak = max([worker.ready["peak_mib"], *(report["peak_mib"] for report in reports)])
        result |= {"peak_mib": peak, "beyond_ratings_mib": peak - worker.before_mib}
    return {**result, **settings}


def ratio(other: dict[str, Any], ours: dict[str, Any]) -> float:
    """How many times as long the other side takes: the median of the rounds' ratios."""
    return median(a / b for a, b in zip(other["seconds"], ours["seconds"], strict=True))


def exported(ratings: Ratings, path: Path) -> str:
    """Write ratings as CSR arrays, which every system's Python can read; the path as text."""
    np.savez(
        path,
        indptr=ratings.indptr,
        indices=ratings.indices,
        values=ratings.values,
        n_items=ratings.n_items,
        scale=ratings.scale,
    )
    return str(path)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    info, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    model = platform.processor() or platform.machine()
    if info.exists():
        lines = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = lines[0] if lines else model
    gib = int(memory.read_text().split()[1]) / 2**20 if memory.exists() else None
    return {
        "cpu": model,
        "cores": THREADS,
        "threads": THREADS,
        "memory_gib": None if gib is None else round(gib, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def names_of(versions: dict[str, str], wanted: Iterable[str]) -> dict[str, str]:
    """The versions of some packages."""
    return {name: versions[name] for name in wanted if name in versions}
