"""What a fork leaves behind: of all its parent's threads, a forked process has the one that forked.

Loops of torch and of hyvae's kernels, and Polars' sorts and readers, then wait for ever for threads that are not there.
So torch works on one thread in a forked process, and what needs Polars' threads is done by NumPy or refused.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from hyvae.errors import ForkError

# where Linux tells the names of a process's threads
_TASKS = Path("/proc/self/task")
# a number ends the name of each thread of the pool; one that cleans up, polars-ooc-…, comes with the import
_OF_POLARS = re.compile(r"polars-\d")


class _Lost:
    """Whether the process, or one that it descends from, was forked off from Polars' threads."""

    polars = False
    at_the_fork = False


def polars_works() -> bool:
    """Whether Polars has its threads in this process, or can still start them."""
    return not _Lost.polars


def require_polars(what: str) -> None:
    """Refuse what would wait for ever.

    Parameters
    ----------
    what : str
        That is to be done, as the message begins.

    Raises
    ------
    ForkError
        Polars' threads stayed with the process that forked this one.
    """
    if _Lost.polars:
        raise ForkError(
            f"{what} needs Polars, whose threads stayed with the process that forked this one; do it there before the "
            "fork, or start workers with multiprocessing.get_context('spawn')"
        )


def _polars_has_started() -> bool:
    """Whether this process has threads of Polars; where that cannot be looked up, whether it may have."""
    try:
        names = [(task / "comm").read_text() for task in _TASKS.iterdir()]
    except OSError:  # not on Linux, or a thread has just ended
        return "polars" in sys.modules
    return any(_OF_POLARS.match(name) for name in names)


def _before() -> None:
    _Lost.at_the_fork = _polars_has_started()


def _in_child() -> None:
    _Lost.polars = _Lost.polars or _Lost.at_the_fork
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before, after_in_child=_in_child)
