"""The command line: thin. It parses, calls and prints."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Entry point of the command ``hyvae``; see `hyvae.cli.app`.

    What it needs takes a second or two to import. Ctrl-C meanwhile ends it with one line, as it does later.
    """
    _open_closed_streams()
    before = signal.getsignal(signal.SIGINT)
    # in the background of a shell it is ignored
    waits = before is signal.default_int_handler
    if waits:
        signal.signal(signal.SIGINT, _stop)
    from hyvae.cli.app import main as run

    if waits:
        signal.signal(signal.SIGINT, before)
    run()


def _stop(number: int, frame: FrameType | None) -> None:
    # a library that is being imported would catch an exception
    os.write(2, b"stopped\n")
    os._exit(128 + number)


def _open_closed_streams() -> None:
    """Open closed standard streams to nowhere, so that no file of ours takes their numbers and gets their text."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115 — for good
