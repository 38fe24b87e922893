"""This version of hyvae beside an earlier one, task by task, in turns: no change may cost speed without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from driver import Run, Worker, interleaved

from hyvae.ratings import Ratings

ROOT = Path(__file__).parents[2]
#: the commit that is compared with: the last one before the work that is going on
REFERENCE = os.environ.get("HYVAE_REFERENCE", "5d935b2")
#: the least rounds of which the second smallest and second largest ratio are a 95 % interval of the median
ROUNDS = 9
#: bounds of each ratio of seconds, new / old: of the median, and of the upper end of its interval
MEDIAN, UPPER = 1.03, 1.06
TASKS = (
    "read a CSV file",
    "train fast",
    "train the sampler",
    "train paper",
    "predict",
    "lists of everyone",
    "lists of new people",
    "save and load",
)


def measure(run: Run) -> dict[str, Any]:
    source = "movielens-small" if run.quick else "ml-1m"
    ratings = Ratings.read(source)
    csv = run.folder / "ratings.csv"
    csv.write_text(
        "user,item,rating\n"
        + "".join(
            f"{user},{item},{value:g}\n"
            for user, item, value in zip(ratings.user_ids, ratings.item_ids, ratings.values, strict=True)
        )
    )
    settings = {"source": source, "csv": str(csv)}
    rounds = 2 if run.quick else max(ROUNDS, run.repeat)
    tasks = {}
    with ExitStack() as stack:
        sources = {"old": built(REFERENCE, run.folder), "new": ROOT / "src"}
        workers = {}
        for name, path in sources.items():
            folder = run.folder / f"runs-{name}"
            folder.mkdir()
            worker = Worker(
                "hyvae_tasks", {**settings, "folder": str(folder)}, folder, environment={"PYTHONPATH": str(path)}
            )
            workers[name] = stack.enter_context(worker)
        for task in TASKS:
            print(f"  {task}", file=sys.stderr)
            reports = interleaved({name: lambda w=each, t=task: w.unit(t) for name, each in workers.items()}, rounds)
            seconds = {name: [report["seconds"] for report in each] for name, each in reports.items()}
            tasks[task] = {**{f"{name}_seconds": each for name, each in seconds.items()}, **compared(**seconds)}
    missed = [task for task, found in tasks.items() if found["ratio"] > MEDIAN or found["interval"][1] > UPPER]
    for task in missed:
        print(
            f"  slower than {REFERENCE}: {task}: {tasks[task]['ratio']:.3f} {tasks[task]['interval']}", file=sys.stderr
        )
    return {"reference": REFERENCE, "source": source, "tasks": tasks, "missed": missed}


def compared(old: list[float], new: list[float]) -> dict[str, Any]:
    """The median of the rounds' ratios, and its interval by the ranks of a binomial (Hettmansperger, 1984)."""
    ratios = sorted(b / a for a, b in zip(old, new, strict=True))
    rank = rank_of(len(ratios))
    return {"ratio": median(ratios), "interval": [ratios[rank], ratios[-1 - rank]]}


def rank_of(n: int) -> int:
    """How many of the smallest, and of the largest, of n values lie outside a 95 % interval of their median."""
    tail, term, rank = 0.0, 0.5**n, 0
    while tail + term <= 0.025:
        tail += term
        term *= (n - rank) / (rank + 1)
        rank += 1
    return max(rank - 1, 0)


def built(commit: str, folder: Path) -> Path:
    """The sources of an earlier version with its kernels; the folder to import them from."""
    place = folder / "old"
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    place.mkdir()
    subprocess.run(["tar", "x"], input=archive, cwd=place, check=True)
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return place / "src"
