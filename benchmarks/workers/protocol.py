"""The worker's side of a measurement: units of work, one each time that the driver asks.

A worker sets up, does one unit to warm up, and calls `pause`, which tells the driver that it is ready and waits. Each
later `pause` ends a unit and reports its seconds and the peak of memory. Standard library only, as every system's own
Python imports it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Worker:
    """This process, seen from the driver: one JSON object a line on both streams."""

    def __init__(self) -> None:
        # libraries print what they like: it goes to standard error, and the driver alone reads the real output
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self.settings: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
        self._before: float | None = None
        self._started: float | None = None
        self._done = 0

    def loaded(self) -> None:
        """Note the memory held once the ratings are there and before anything is made of them."""
        self._before = memory_mib("VmRSS")
        forget_peak()

    def pause(self, **more: Any) -> str:
        """End the unit that ran, the first of them the warm-up, and wait; the driver's next line, without its end.

        Where the settings have `epochs_a_unit`, a unit is so many calls after the first.
        """
        if self._started is not None:
            self._done += 1
            if self._done < self.settings.get("epochs_a_unit", 1):
                return ""
        self._done = 0
        seconds = None if self._started is None else time.perf_counter() - self._started
        report: dict[str, Any] = {"peak_mib": memory_mib("VmHWM"), **more}
        if seconds is None:
            report |= {"ready": True, "before_mib": self._before}
        else:
            report["seconds"] = seconds
        self._say(report)
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self._started = time.perf_counter()
        return line.strip()

    def answer(self, **result: Any) -> None:
        """The only result of a program that runs once."""
        self._say({"peak_mib": memory_mib("VmHWM"), "before_mib": self._before, **result})

    def _say(self, report: dict[str, Any]) -> None:
        print(json.dumps(report), file=self._out, flush=True)


def memory_mib(field: str) -> float:
    """`VmRSS`, memory now, or `VmHWM`, its peak, of this process; elsewhere than on Linux the peak for both."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Let the peak begin at the memory held now: what reading the ratings took is not the training's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
