"""`retell`: from the name of a table or figure to files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hyvae.data.download import cache_folder
from hyvae.errors import ConfigError
from hyvae.evaluation.study import Standing
from hyvae.paper import claims, curves, tables
from hyvae.paper.blocks import Part
from hyvae.paper.cells import Cells
from hyvae.paper.experiments import DATA, Plan, Training
from hyvae.paper.report import write

ALL = "all"


class _Chapter(NamedTuple):
    """What it needs trained, and how it is made of that."""

    wanted: Callable[[Plan], Sequence[Training]]
    make: Callable[[Plan, Cells], Part]


def _nothing(plan: Plan) -> list[Training]:
    return []


PARTS: dict[str, _Chapter] = {
    "table1": _Chapter(_nothing, tables.table_one),
    "table2": _Chapter(tables.wanted_for_two, tables.table_two),
    "table3": _Chapter(tables.wanted_for_three, tables.table_three),
    **{
        name: _Chapter(partial(curves.wanted_for_curve, name=name), partial(curves.loss_figure, name=name))
        for name in ("fig3", "fig4")
    },
    "fig5": _Chapter(curves.wanted_for_depths, curves.depth_figure),
    "claims": _Chapter(claims.wanted_for_claims, claims.claims),
}


def default_cache() -> Path:
    """Where finished trainings are kept, unless said otherwise: in hyvae's cache folder (HYVAE_CACHE)."""
    return cache_folder() / "paper"


def retell(
    what: str,
    out: str | Path,
    *,
    quick: bool = False,
    data: Sequence[str] = DATA,
    cache: str | Path | None = None,
    command: Sequence[str] = (),
    told: Callable[[Standing], None] | None = None,
) -> Path:
    """Train what a part of the paper needs, and write it: tables and figures as files, ``report.html`` and ``.md``.

    Finished trainings are cached, so that what was interrupted goes on.

    Parameters
    ----------
    what : str
        A key of `PARTS`, or ``all``.
    out : path
        A folder; made if it does not exist.
    quick : bool
        One seed, 1,000 users, smaller models; all that is written says so.
    data : sequence of str
        Of ``ml-1m``, ``douban``, ``flixster``.
    cache : path, optional
        Default: `default_cache`.
    command : sequence of str
        What the reports say they were made with.
    told : callable, optional
        Told a `hyvae.evaluation.Standing` before each training, and at the end.

    Returns
    -------
    Path
        The HTML report.

    Raises
    ------
    ConfigError
        No such part or data set.
    DataError
        Something cannot be read or written.
    TrainingError
        A training failed; those before it are in the cache.
    """
    names = list(PARTS) if what == ALL else [what]
    for name, known in [*((name, [*PARTS, ALL]) for name in names), *((each, list(DATA)) for each in data)]:
        if name not in known:
            raise ConfigError(f"the paper has no {name!r}; there are: {', '.join(known)}")
    if not data:
        raise ConfigError(f"name at least one data set of: {', '.join(DATA)}")
    plan = Plan(quick, tuple(each for each in DATA if each in data))
    started = time.perf_counter()
    cells = Cells(plan, Path(cache) if cache is not None else default_cache(), told or _ignore)
    cells.fill(training for name in names for training in PARTS[name].wanted(plan))
    parts = [PARTS[name].make(plan, cells) for name in names]
    if "table2" in names:
        parts += [tables.settings(plan), tables.run_times(plan, cells)]
    return write(parts, cells, Path(out), seconds=time.perf_counter() - started, command=command)


def _ignore(standing: Standing) -> None:
    pass
