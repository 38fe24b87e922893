"""hyvae paper: the paper's tables, figures and claims, beside what comes out here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hyvae.cli import options
from hyvae.cli.output import note, stdout
from hyvae.cli.watching import Watch, require_writable, terminable
from hyvae.errors import ConfigError
from hyvae.reports import require_matplotlib


def paper(
    what: Annotated[str, typer.Argument(help="table1, table2, table3, fig3, fig4, fig5, claims, or all.")] = "all",
    *,
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.md, tables and figures.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, 1,000 users, smaller models: minutes, and marked as such.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="Some of ml-1m,douban,flixster only, with commas between.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of finished trainings; default: 'paper' in hyvae's cache.")
    ] = None,
    threads: options.Threads = None,
) -> None:
    """Retell the paper of Hy-VAE: what it prints, and what comes out here on the same data.

    Finished trainings are kept: after Ctrl-C the same command goes on from them.

    Examples
    --------
        hyvae paper all --quick --out paper

        hyvae paper table2 --data douban --out paper
    """
    require_matplotlib()
    # figures need matplotlib, which is an extra
    from hyvae.paper import retell
    from hyvae.paper.experiments import DATA
    from hyvae.paper.report import PAGE
    from hyvae.paper.retelling import default_cache

    options.set_threads(threads)
    require_writable(out)
    names = DATA if data is None else tuple(name.strip() for name in data.split(",") if name.strip())
    if not names:
        raise ConfigError(f"--data takes some of {', '.join(DATA)}")
    command = ["hyvae", *sys.argv[1:]]
    with options.writing(out / PAGE), terminable(), Watch("training") as watch:
        page = retell(what, out, quick=quick, data=names, cache=cache, command=command, told=watch)
    if watch.standing is not None and watch.standing.found:
        note(f"{watch.standing.found} of {watch.standing.total} trainings were found in {cache or default_cache()}")
    stdout.print(f"written to {out}; open {page}", markup=False, highlight=False)
