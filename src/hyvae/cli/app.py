"""The application: commands are functions whose signature is their command line."""

from __future__ import annotations

import shlex
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from hyvae.cli import answering, compare, data, demo, diagnose, doctor, export, folding, paper, report, serve, training
from hyvae.cli.output import stderr
from hyvae.errors import DataWarning, HyvaeError, Interrupted, TrainingWarning
from hyvae.wording import command_line


class _Commands(TyperGroup):
    """The commands, each of which Ctrl-C stops with one line: what Typer does then differs between its versions."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            _say("stopped")
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
app.command()(demo.demo)
app.add_typer(data.app, name="data")
app.command()(training.train)
app.command()(answering.evaluate)
app.command()(answering.predict)
app.command()(answering.recommend)
app.command()(answering.explain)
app.command()(compare.compare)
app.command()(paper.paper)
app.command()(diagnose.diagnose)
app.command()(report.report)
app.command()(export.export)
app.command()(folding.fold_in)
app.command()(folding.forget)
app.command()(serve.serve)
app.command()(doctor.doctor)


def main() -> None:
    """Entry point of the command ``hyvae``: exit code 0 only on success, one line on a mistake.

    130 and 143 mean that Ctrl-C or SIGTERM stopped it, as a shell would say.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    warnings.showwarning = _show_warning
    try:
        with command_line():
            app(arguments, prog_name="hyvae")
    except Interrupted as stop:
        _say(f"stopped at step {stop.step} of {stop.steps}; go on with: {_resuming_command()}")
        sys.exit(128 + stop.signal)
    except HyvaeError as error:
        if debug:
            raise
        _say(f"error: {error}")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _say(f"error: unexpected {type(error).__name__}: {error}; run again with --debug and report it")
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    # rows left out, or merged, or little learnt: the place in the code says nothing to a user
    if issubclass(category, DataWarning | TrainingWarning):
        _say(f"note: {message}")
    else:
        _say(warnings.formatwarning(message, category, *where[:3]).rstrip())


def _say(line: str) -> None:
    stderr.print(line, markup=False, highlight=False, soft_wrap=True)


def _resuming_command() -> str:
    """What the user typed, and --resume."""
    command = ["python", "-m", "hyvae"] if Path(sys.argv[0]).name == "__main__.py" else ["hyvae"]
    return shlex.join([*command, *(argument for argument in sys.argv[1:] if argument != "--resume"), "--resume"])
