"""Kill a training again and again, and see whether it still ends in the same weights.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/kill_and_resume.py --kills 100 --epochs 40

Trains MovieLens small with the default widths, once without a stop, and then with `--checkpoint-every 0 --resume` in
processes that are killed (kill -9) until the number of kills is reached: a quarter of them, and those without a
checkpoint yet, at any moment since their start, a half some time after their first checkpoint, a quarter as soon as
they are then seen inside the write of one, and those that have all steps behind them inside the write of the run. A
training that ends starts over. Prints one JSON object: how many kills fell into which phase, told by what they left,
and whether all finished runs have the same bytes in ``weights.safetensors``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import sklearn.model_selection
import torch._dynamo  # both are imported by the first training else, and so by each process anew

from hyvae.cli import main as hyvae
from hyvae.training.checkpoint import read_checkpoint

PHASES = ("before the first checkpoint", "training", "checkpoint write", "run write")

# kills inside the write of one training's run, before it may end
_RUN_WRITES = 4


def fork(arguments: list[str], log: Path) -> int:
    """Start a command of hyvae in a fork, which saves the seconds that importing takes."""
    pid = os.fork()
    if pid:
        return pid
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv, code = ["hyvae", *arguments], 0
    try:
        hyvae()
    except SystemExit as stop:
        code = int(stop.code or 0)
    sys.stdout.flush()
    os._exit(code)


def watched(pid: int, log: Path, condition: Callable[[], bool]) -> bool:
    """Kill a process when something comes to be; False if it ended first, well."""
    while not condition():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if os.waitstatus_to_exitcode(status):
                raise SystemExit(f"a training failed: {log.read_text()}")
            return False
        time.sleep(0.0002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


class Kills:
    """The place of the training that is killed, and the moments at which it is."""

    def __init__(self, folder: Path, epochs: int, seconds: float, kills: int) -> None:
        self.run, self.checkpoint = folder / "run", folder / "run.checkpoint"
        self.part = folder / "run.checkpoint.part"
        self.epochs, self.seconds, self.kills = epochs, seconds, kills
        self.draw = random.Random(0)
        self.at_the_end = 0
        self.earlier: set[tuple[int, int] | str] = set()

    def remember(self) -> None:
        """Note what earlier kills left, so that it is not taken for what the next process writes."""
        self.earlier = {*self.parts(), *self.run_parts()}

    def parts(self) -> set[tuple[int, int]]:
        """The checkpoint that is being written, once it has content: known by its inode and time."""
        try:
            status = self.part.stat()
        except FileNotFoundError:
            return set()
        return {(status.st_ino, status.st_mtime_ns)} if status.st_size else set()

    def run_parts(self) -> set[str]:
        return {name for name in os.listdir(self.run.parent) if name.startswith(".run.")}

    def writes_checkpoint(self) -> bool:
        return bool(self.parts() - self.earlier)

    def writes_run(self) -> bool:
        return bool(self.run_parts() - self.earlier)

    def moment(self, number: int) -> Callable[[], bool]:
        """When to kill next: at a random moment, or inside the next write after one."""
        self.remember()
        step = read_checkpoint(self.checkpoint)[0].place.step if self.checkpoint.exists() else 0
        if step == self.epochs:
            self.at_the_end += 1
            return self.writes_run if self.at_the_end % (_RUN_WRITES + 1) else lambda: False
        if number % 4 == 0 or not step:
            at = time.monotonic() + self.draw.uniform(0, 3 if step else 1.2)
            return lambda: time.monotonic() > at
        # from its first checkpoint on, for so long that a training sees about a fifth of all kills
        delay, age = self.draw.uniform(0, 2 * self.seconds * 5 / self.kills), self.age()
        began: list[float] = []

        def after_delay() -> bool:
            if not began and self.age() != age:
                began.append(time.monotonic())
            return bool(began) and time.monotonic() > began[0] + delay

        return (lambda: after_delay() and self.writes_checkpoint()) if number % 4 == 2 else after_delay

    def age(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0

    def phase(self) -> str:
        """What a kill fell into, by what it left."""
        if self.writes_run():
            return "run write"
        if self.writes_checkpoint():
            return "checkpoint write"
        return "training" if self.checkpoint.exists() else "before the first checkpoint"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    log = folder / "log"
    command = [
        "train",
        "movielens-small",
        "--preset",
        "fast",
        "--threads",
        "1",
        "--set",
        f"epochs={options.epochs}",
        "--out",
    ]

    started = time.perf_counter()
    if watched(fork([*command, str(folder / "whole")], log), log, lambda: False):
        raise SystemExit("unreachable")
    seconds = time.perf_counter() - started
    expected = (folder / "whole" / "weights.safetensors").read_bytes()

    kills = Kills(folder, options.epochs, seconds, options.kills)
    phases: Counter[str] = Counter(dict.fromkeys(PHASES, 0))
    identical, finished = True, 0
    arguments = [*command, str(kills.run), "--checkpoint-every", "0", "--resume"]
    while sum(phases.values()) < options.kills or not finished or kills.checkpoint.exists():
        number = sum(phases.values())
        condition = kills.moment(number) if number < options.kills else lambda: False
        if watched(fork(arguments, log), log, condition):
            phases[kills.phase()] += 1
            continue
        finished += 1
        identical &= (kills.run / "weights.safetensors").read_bytes() == expected
        if sum(phases.values()) < options.kills:
            shutil.rmtree(kills.run)
    left = sorted(entry.name for entry in folder.iterdir())
    print(
        json.dumps(
            {
                "kills": sum(phases.values()),
                "phases": dict(phases),
                "finished_trainings": finished,
                "identical": identical,
                "left_over": [name for name in left if name not in ("log", "run", "whole")],
                "steps": options.epochs,
                "uninterrupted_seconds": round(seconds, 1),
                "seconds": round(time.perf_counter() - started, 1),
                "torch": torch.__version__,
                "scikit-learn": sklearn.__version__,
            },
            indent=2,
        )
    )
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    sys.exit(not identical)


if __name__ == "__main__":
    main()
