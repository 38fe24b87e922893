"""The command line, run in the test's own process: an import of torch for each would take longer than all commands."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from hyvae.cli import main


class Done(NamedTuple):
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Standard output as if a line could be as long as it likes."""
        return " ".join(self.stdout.split())


def hyvae(*arguments: object, code: int = 0) -> Done:
    """Run a command, which must end with the exit status `code`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["hyvae", *map(str, arguments)])
        try:
            main()
            returned = 0
        except SystemExit as exit_:
            returned = int(exit_.code or 0)
    assert returned == code, err.getvalue() + out.getvalue()
    return Done(out.getvalue(), err.getvalue())
