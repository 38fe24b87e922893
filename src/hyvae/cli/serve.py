"""hyvae serve: a run behind HTTP, with a page."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from hyvae.cli import options
from hyvae.cli.output import note, stdout
from hyvae.client import SENDABLE
from hyvae.errors import ConfigError

if TYPE_CHECKING:
    from hyvae.serving.settings import Settings

TOKEN, READ_TOKEN, DATABASE = "HYVAE_TOKEN", "HYVAE_READ_TOKEN", "HYVAE_DATABASE"
_SHORTEST_TOKEN = 16


def serve(
    run: options.RunFolder,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: reachable from elsewhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes, which share the weights in memory.")] = 1,
    database: Annotated[
        str | None,
        typer.Option(
            envvar=DATABASE, help="Where ratings are stored: sqlite:///FILE or postgresql://…; default: RUN-events.db."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second of one address; 0: no limit.")] = 100.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up.")] = 10.0,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Questions answered together, at most.")] = 32,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Whether the page is served.")] = True,
) -> None:
    """Serve a run over HTTP: recommendations, predictions, explanations, a store of ratings, and a page to try it.

    Writing takes a token: HYVAE_TOKEN, or one that is made and shown. HYVAE_READ_TOKEN, if set, is asked for reading.
    SIGHUP, or POST /v1/admin/reload, lets a run that has taken the place of this one answer, without a gap.

    Examples
    --------
        hyvae serve run

        HYVAE_TOKEN=… hyvae serve run --host 0.0.0.0 --workers 4 --database postgresql://user:password@host/name
    """
    settings_of = _settings_class()
    token, read_token = _tokens()
    from hyvae.serving.processes import run as run_service

    settings = settings_of(
        run=run.resolve(),
        host=host,
        port=port,
        workers=workers,
        database=database or beside(run),
        token=token,
        read_token=read_token,
        rate=rate,
        burst=max(1, int(2 * rate)),
        timeout=timeout,
        batch=batch,
        page=page,
    )

    def told(port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        stdout.print(f"serving {run} at http://{shown}:{port}/ (Ctrl-C stops it)", markup=False, highlight=False)

    run_service(settings, told)


def _tokens() -> tuple[str, str | None]:
    """The tokens for writing and for reading, as the environment has them."""
    token, read_token = os.environ.get(TOKEN), os.environ.get(READ_TOKEN) or None
    for name, given in ((TOKEN, token), (READ_TOKEN, read_token)):
        if given is not None:
            _check_token(name, given)
    if token is not None and token == read_token:
        raise ConfigError(f"{READ_TOKEN} is the same as {TOKEN}, so that whoever reads could write; take another one")
    if token is None:
        token = secrets.token_urlsafe(24)
        note(f"{TOKEN} is not set; for writing and reloading this time: {token}")
    return token, read_token


def _check_token(name: str, token: str) -> None:
    if len(token) < _SHORTEST_TOKEN:
        raise ConfigError(
            f"{name} is shorter than {_SHORTEST_TOKEN} characters and could be guessed; take a longer one"
        )
    if not SENDABLE.fullmatch(token):
        raise ConfigError(
            f"{name} has blanks, or characters other than ASCII's, which no request can carry; take letters and digits"
        )


def beside(run: Path) -> str:
    """URL of the database beside a run; ``?`` and ``%`` in its name are part of the name."""
    return f"sqlite:///{quote(str(run.resolve()))}-events.db"


def _settings_class() -> type[Settings]:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"the service needs {error.name}: pip install 'hyvae[serve]'") from error
    from hyvae.serving.settings import Settings

    return Settings
