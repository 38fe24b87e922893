"""The application: commands are functions whose signature is their command line."""

from __future__ import annotations

import io
import shlex
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from hyvae.cli import (
    answering,
    compare,
    data,
    demo,
    diagnose,
    doctor,
    export,
    folding,
    lists,
    paper,
    report,
    serve,
    training,
)
from hyvae.cli.commands import add
from hyvae.cli.output import note, say, stderr
from hyvae.errors import DataWarning, HyvaeError, Interrupted, TrainingWarning
from hyvae.terminal import PLAINER
from hyvae.wording import command_line


class _Commands(TyperGroup):
    """The commands, each of which Ctrl-C stops with one line: what Typer does then differs between its versions."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            say("stopped")
            sys.exit(128 + signal.SIGINT)


app = typer.Typer(
    cls=_Commands,
    name="hyvae",
    help="Predict ratings and recommend with sparse hybrid variational autoencoders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Add --debug to any command for the full traceback of an error.",
)
add(app, demo.demo)
app.add_typer(data.app, name="data")
for _command in (
    training.train,
    answering.evaluate,
    answering.predict,
    lists.recommend,
    lists.similar,
    answering.explain,
    compare.compare,
    paper.paper,
    diagnose.diagnose,
    report.report,
    export.export,
    folding.fold_in,
    folding.forget,
    serve.serve,
    doctor.doctor,
):
    add(app, _command)


def main() -> None:
    """Entry point of the command ``hyvae``: exit code 0 only on success, one line on a mistake.

    130 and 143 mean that Ctrl-C or SIGTERM stopped it, as a shell would say.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        # what Typer and Python print themselves
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAINER)
    try:
        with command_line():
            app(arguments, prog_name="hyvae")
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(128 + signal.SIGINT)
    except Interrupted as stop:
        say(f"stopped at step {stop.step} of {stop.steps}; go on with: {_resuming_command()}")
        sys.exit(128 + stop.signal)
    except HyvaeError as error:
        if debug:
            _print_traceback()
        say(f"error: {error}")
        sys.exit(1)
    except Exception as error:
        if debug:
            _print_traceback()
        say(f"error: unexpected {type(error).__name__}: {error}; run again with --debug and report it")
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    # rows left out, or merged, or little learnt: the place in the code says nothing to a user
    if issubclass(category, DataWarning | TrainingWarning):
        note(str(message))
    else:
        stderr.print(
            warnings.formatwarning(message, category, *where[:3]).rstrip(),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _print_traceback() -> None:
    stderr.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)


def _resuming_command() -> str:
    """What the user typed, and --resume."""
    command = ["python", "-m", "hyvae"] if Path(sys.argv[0]).name == "__main__.py" else ["hyvae"]
    return shlex.join([*command, *(argument for argument in sys.argv[1:] if argument != "--resume"), "--resume"])
