"""Messages name what the reader can type: arguments in Python, flags on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_on_command_line = False


def say(python: str, command: str) -> str:
    """The first in a Python program, the second while the command ``hyvae`` runs."""
    return command if _on_command_line else python


@contextmanager
def command_line() -> Iterator[None]:
    """Inside, messages name flags. It holds for all threads."""
    global _on_command_line
    before, _on_command_line = _on_command_line, True
    try:
        yield
    finally:
        _on_command_line = before
