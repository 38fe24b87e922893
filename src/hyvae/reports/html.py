"""Pieces of HTML. Whatever comes from a run passes through `text`; what these functions return is markup."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

# a browser would take a stray control character for an error of the page
_CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


class Markup(str):
    """What these functions returned, where it stands in a table's cell: it is not escaped again."""


def document(title: str, *body: str) -> str:
    """A whole page with the stylesheet of all reports."""
    template = files("hyvae.reports").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=text(title), body="\n".join(body))


def text(value: object) -> str:
    """Escape for elements and quoted attributes."""
    if isinstance(value, Markup):
        return value
    return html.escape(str(value).translate(_CONTROLS))


def number(value: object, digits: int = 4) -> str:
    """A count with its thousands, a measure with `digits` places, or a dash for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return shown.replace("-", "−")


def strong(value: object) -> Markup:
    """Set off from what stands around it."""
    return Markup(f"<strong>{text(value)}</strong>")


def missing(sentence: str) -> str:
    """Say what cannot be shown, and why."""
    return f'<p class="missing">{text(sentence)}</p>'


def section(name: str, title: str, *parts: str) -> str:
    """A section under its heading; its parts stand in the page's grid."""
    grid = f'<div class="grid">{"".join(parts)}</div>'
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>{grid}</section>'


def card(title: str, *parts: str, wide: bool = False) -> str:
    """A box of the grid."""
    return f'<div class="card{" wide" if wide else ""}"><h3>{text(title)}</h3>{"".join(parts)}</div>'


def table(label: str, rows: Iterable[Sequence[Any]], columns: Sequence[str] = (), whole: bool = False) -> str:
    """A table in a box that scrolls by itself; the first cell of a row is its heading, numbers stand flush right.

    Parameters
    ----------
    whole : bool
        Break no cell into lines: for numbers with their intervals.
    """
    heads = "".join(f'<th scope="col">{text(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    begin = f"<table><thead><tr>{heads}</tr></thead>" if columns else '<table class="facts">'
    box = f'<div class="scroll{" whole" if whole else ""}" tabindex="0" role="region" aria-label="{text(label)}">'
    return f"{box}{begin}<tbody>{body}</tbody></table></div>"


def figure(name: str, title: str, svg: str, caption: str, numbers: str = "") -> str:
    """A figure with its title and a sentence that says what is seen.

    Parameters
    ----------
    name : str
        Unique on the page: the ids inside the drawing begin with it.
    svg : str
        A drawing of `hyvae.reports.figures`.
    numbers : str
        A table of what is drawn, shown on demand.
    """
    unfolded = f"<details><summary>In numbers</summary>{numbers}</details>" if numbers else ""
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{text(title)}" ', 1)
    return (
        f'<figure class="card" id="figure-{name}"><h3>{text(title)}</h3>{svg}'
        f"<figcaption>{text(caption)}{unfolded}</figcaption></figure>"
    )
