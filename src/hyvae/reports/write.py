"""`write_report`: a run folder in, one HTML file out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hyvae.errors import ConfigError, RunError
from hyvae.files import cannot_be_written, place_of, written_whole
from hyvae.runs import REPORT, read_run


def require_matplotlib() -> None:
    """Say at once, rather than after a training, that figures cannot be drawn.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError("a report needs matplotlib; install it with: pip install 'hyvae[report]'")


def write_report(run: str | Path, out: str | Path) -> None:
    """Write a page about a run beside its place and rename it there.

    The page holds all that it shows: it loads nothing and runs no script. The same run gives the same bytes. It names
    three training users by id, with some of their ratings.

    Parameters
    ----------
    run : path
        A run folder.
    out : path
        The file to write or replace, ``….html``; inside the run it can only be ``report.html``.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    RunError
        `run` is not a run, or `out` cannot be written or is no place for a page.
    """
    require_matplotlib()
    folder, target = place_of(run), place_of(out)
    if target.suffix not in (".html", ".htm"):
        raise RunError(f"{target}: the name of a report must end in .html")
    if target.name != REPORT and target.resolve().parent == folder.resolve():
        # a run folder that holds anything else is never replaced by a newer run
        raise RunError(f"{target} is inside the run; call it {REPORT} there, or write it elsewhere")
    content = read_run(folder)
    # matplotlib is an extra: imported for a report only
    from hyvae.reports.page import page

    html = page(content)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as part:
            part.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RunError(cannot_be_written(target, error)) from error
