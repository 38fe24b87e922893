"""The command line: thin. It parses, calls and prints."""

from hyvae.cli.app import main

__all__ = ["main"]
