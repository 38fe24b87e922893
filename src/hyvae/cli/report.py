"""hyvae report: a run as one page to read and to send on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hyvae.cli import options
from hyvae.cli.output import stdout
from hyvae.reports import write_report
from hyvae.runs import REPORT


def report(
    run: options.RunFolder,
    out: Annotated[Path | None, typer.Option(help="File to write; default: report.html in the run.")] = None,
    threads: options.Threads = None,
) -> None:
    """Write one HTML page about a run: results, data, training, errors, examples, provenance.

    The page loads nothing and runs no script. It names three training users, with some of their ratings.

    Example:

        hyvae report run --out report.html
    """
    options.set_threads(threads)
    target = out or run / REPORT
    write_report(run, target)
    stdout.print(f"report written to {target}", markup=False, highlight=False)
