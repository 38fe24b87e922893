"""What a retelling is made of: paragraphs, tables and figures, which the report lays out as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

DASH = "–"
# a line must not break there
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


class Table(NamedTuple):
    """A table.

    Attributes
    ----------
    name : str
        Of its file.
    rows : sequence of sequences of str
        The first cell is the row's heading.
    notes : sequence of str
        Stand below it.
    words : bool
        Its cells are words, not numbers.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    words: bool = False


class Picture(NamedTuple):
    """A figure.

    Attributes
    ----------
    name : str
        Of its files.
    draw : callable
        Makes it.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


Block = str | Table | Picture


class Part(NamedTuple):
    """A section of the report: a table or a figure of the paper, or its claims."""

    name: str
    title: str
    blocks: Sequence[Block]


def number(value: float | None, places: int = 4, *, signed: bool = False) -> str:
    """A number as text, or a dash for none."""
    if value is None:
        return DASH
    return f"{value:{'+' if signed else ''},.{places}f}".replace("-", "−")


def with_half(mean: float, half: float | None, places: int = 4, *, signed: bool = False) -> str:
    """A mean, and half of its interval where there is one."""
    shown = number(mean, places, signed=signed)
    return shown if half is None else f"{shown}{PLUS_MINUS}{number(half, places)}"


def percent(share: float, places: int = 1, *, signed: bool = False) -> str:
    """A share in percent."""
    return f"{number(100 * share, places, signed=signed)}\N{NO-BREAK SPACE}%"
