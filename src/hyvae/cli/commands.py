"""Functions as commands: their signature is their command line, and their docstring its help."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from hyvae.errors import ConfigError
from hyvae.files import place_of


def add(app: typer.Typer, command: Callable[..., None], name: str | None = None) -> None:
    """Add a command: what its docstring says of it, its examples below, and ``~`` in its paths.

    Parameters
    ----------
    name : str, optional
        Default: that of the function.
    """
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def called(**arguments: Any) -> None:
        command(**{name: _taken(value) for name, value in arguments.items()})

    changed: Any = called
    changed.__signature__ = signature
    changed.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()} | {"return": None}
    said, examples = described(command.__doc__ or "")
    app.command(name, help=said, epilog=examples)(called)


def _taken(value: Any) -> Any:
    """An argument as a command takes it.

    Raises
    ------
    ConfigError
        It is not UTF-8: no run, message or page could hold it.
    """
    if isinstance(value, Path):
        return place_of(value)
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise ConfigError(f"the argument {value!r} is not UTF-8; mend it, or rename the file")
    return value


def described(docstring: str) -> tuple[str, str]:
    """What a command does, and its examples, of a docstring in the form of numpydoc."""
    said, *examples = re.split(r"^Examples?(?::|\n-+)\n", inspect.cleandoc(docstring), maxsplit=1, flags=re.MULTILINE)
    lines = [line.strip() for line in "".join(examples).splitlines() if line.strip()]
    return said.strip(), "\n\n".join([f"Example{'s' * (len(lines) > 1)}:", *lines]) if lines else ""
