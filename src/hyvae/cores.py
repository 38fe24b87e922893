"""How many cores this process may use: those it may run on, and no more than the quota of its control groups.

torch and OpenMP know the first alone. On a container's share of a large machine they start a thread for each core, and
every loop then waits for threads that the quota has stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path, PurePosixPath

THREADS = "OMP_NUM_THREADS"
# read by OpenMP when torch is first imported: how long a thread without work spins before it sleeps. Its default is
# milliseconds, and on cores that others use every loop then waits for a thread that spins (docs/performance.md)
SPINS = "GOMP_SPINCOUNT"
_SPINS = "3000"


def quota(groups: str, mounts: str, read: Callable[[str], str | None]) -> float | None:
    """Cores' worth of time that control groups allow a process, versions 1 and 2; None: as much as there is.

    Parameters
    ----------
    groups : str
        Content of ``/proc/self/cgroup``.
    mounts : str
        Content of ``/proc/self/mountinfo``.
    read : callable
        Gives the content of a file, None where there is none.
    """
    shares = [share for folder in _folders(groups, mounts) if (share := _share(folder, read)) is not None]
    return min(shares, default=None)


def _folders(groups: str, mounts: str) -> list[str]:
    """The folders of all groups that limit a process's time: its own, and those that these are in."""
    paths: dict[bool, str] = {}
    for line in groups.splitlines():
        number, controllers, group = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" or "cpu" in controllers.split(","):
            paths[number == "0"] = group
    folders = []
    for line in mounts.splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = (system.split(" ") + ["", ""])[:3]
        second = kind == "cgroup2"
        if second not in paths or not (second or (kind == "cgroup" and "cpu" in options.split(","))):
            continue
        root, place = map(PurePosixPath, mount.split()[3:5])
        path = PurePosixPath(paths[second])
        # of a container, whose mount begins at its own group or hides where that is
        inner = place / path.relative_to(root) if path.is_relative_to(root) else place
        folders += [str(each) for each in (inner, *inner.parents) if each.is_relative_to(place)]
    return folders


def _share(folder: str, read: Callable[[str], str | None]) -> float | None:
    limit = read(f"{folder}/cpu.max")
    if limit is None:
        limit = f"{read(f'{folder}/cpu.cfs_quota_us') or ''} {read(f'{folder}/cpu.cfs_period_us') or ''}"
    try:
        allowed, period = map(int, limit.split())
    except ValueError:  # "max", or no such files
        return None
    return allowed / period if allowed > 0 < period else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return None


def usable_cores() -> int:
    """Cores that this process may use, at least one; of a quota, whole ones alone."""
    share = quota(_read("/proc/self/cgroup") or "", _read("/proc/self/mountinfo") or "", _read)
    return _cores() if share is None else max(1, min(_cores(), int(share)))


def _cores() -> int:
    """Those that it may run on, which torch, OpenMP and Polars know themselves."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def keep_to_the_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let torch, OpenMP and Polars use no more threads than there are cores for, and wait without wasting them.

    What the environment says already stands. Has to come before torch and Polars are imported; where torch was before,
    its threads are set, but not how they wait.
    """
    environment.setdefault(SPINS, _SPINS)
    told = THREADS in environment
    cores = usable_cores()
    if cores < _cores():
        for name in (THREADS, "POLARS_MAX_THREADS"):
            environment.setdefault(name, str(cores))
    torch = sys.modules.get("torch")
    if torch is not None and not told and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
