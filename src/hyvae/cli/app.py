"""The application: commands are functions whose signature is their command line."""

from __future__ import annotations

import sys

import typer

from hyvae.cli import answering, data, demo, doctor, training
from hyvae.cli.output import stderr
from hyvae.errors import HyvaeError

app = typer.Typer(
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
app.command()(doctor.doctor)


def main() -> None:
    """Entry point of the command ``hyvae``: exit code 0 only on success, one line on a mistake."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, prog_name="hyvae")
    except HyvaeError as error:
        if debug:
            raise
        stderr.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        stderr.print(
            f"error: unexpected {type(error).__name__}: {error}; run again with --debug and report it",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(1)
