"""A retelling as files: tables as CSV, figures as SVG, PDF and PNG, all of it as one HTML and one Markdown page."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from hyvae.errors import DataError
from hyvae.files import cannot_be_written, written_whole
from hyvae.paper import figures
from hyvae.paper.blocks import Block, Part, Picture, Table, number
from hyvae.paper.cells import Cells
from hyvae.paper.experiments import QUICK_USERS
from hyvae.paper.printed import TITLES
from hyvae.reports.figures import inlined
from hyvae.reports.html import card, document, strong, table, text

PAGE, MARKDOWN, JSON = "report.html", "report.md", "report.json"
PAPER = "Liu, Xiao, Zhu, Zheng, Hsu (2022), Hybrid Variational Autoencoder for Collaborative Filtering"
TITLE = "Hy-VAE, retold"
QUICK = (
    f"A quick look, not results: one seed, {QUICK_USERS:,} users of each data set, smaller models, fewer epochs. "
    "Run the same without --quick for results."
)
MARK = "QUICK LOOK, not results · "


def write(parts: Sequence[Part], cells: Cells, folder: Path, *, seconds: float, command: Sequence[str]) -> Path:
    """Write all files, each whole or not at all; the path of the HTML page.

    Raises
    ------
    DataError
        One cannot be written.
    """
    quick = cells.plan.quick
    facts = list(_facts(cells, seconds, command))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drawings = {
            block.name: figures.written(block.draw, folder, block.name, quick=quick)
            for part in parts
            for block in part.blocks
            if isinstance(block, Picture)
        }
        for part in parts:
            for block in part.blocks:
                if isinstance(block, Table):
                    _put(folder / f"{block.name}.csv", _csv(block, quick))
        _put(folder / JSON, _json(parts, facts, quick))
        to_read = [part._replace(blocks=list(_said_once(part.blocks))) for part in parts]
        _put(folder / MARKDOWN, _markdown(to_read, facts, quick))
        _put(folder / PAGE, _html(to_read, facts, drawings, quick))
    except OSError as error:
        raise DataError(cannot_be_written(folder, error)) from error
    return folder / PAGE


def _said_once(blocks: Sequence[Block]) -> Iterator[Block]:
    """Blocks of a part, tables without the notes that stand below one before: a file of its own needs all of them."""
    said: set[str] = set()
    for block in blocks:
        if isinstance(block, Table):
            yield block._replace(notes=[note for note in block.notes if note not in said])
            said.update(block.notes)
        else:
            yield block


def _put(file: Path, content: str) -> None:
    with written_whole(file) as part:
        part.write_text(content, encoding="utf-8")


def _facts(cells: Cells, seconds: float, command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Where the numbers come from."""
    yield "paper", PAPER
    for data in cells.plan.data:
        whole, used = cells.ratings(data), cells.used(data)
        less = "" if used is whole else f", of which {len(used):,} ratings of {QUICK_USERS:,} users were used"
        yield TITLES[data], f"{len(whole):,} ratings, fingerprint {whole.fingerprint}{less}"
    made: dict[str, set[str]] = {}
    for cell in cells.done:
        for key, value in cell.circumstances.items():
            for name, one in value.items() if isinstance(value, dict) else [(key, value)]:
                made.setdefault(name, set()).add(str(one))
    for name, values in made.items():
        yield name, ", ".join(sorted(values))
    if cells.done:
        trained = sum(cell.training_seconds for cell in cells.done)
        yield "trainings", f"{len(cells.done)}, of which {cells.found} were found in the cache"
        yield "seconds of all trainings", number(trained, 0)
    yield "seconds of this run", number(seconds, 0)
    if command:
        yield "command", shlex.join(command)


def _csv(block: Table, quick: bool) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if quick:
        writer.writerow([f"# {QUICK}"])
    writer.writerow(block.columns)
    writer.writerows(block.rows)
    writer.writerows([f"# {note}"] for note in block.notes)
    return out.getvalue()


def _json(parts: Sequence[Part], facts: Sequence[tuple[str, str]], quick: bool) -> str:
    content = {
        "quick": quick,
        "parts": {
            part.name: {
                "text": [block for block in part.blocks if isinstance(block, str)],
                "tables": {
                    block.name: {
                        "title": block.title,
                        "columns": list(block.columns),
                        "rows": [list(row) for row in block.rows],
                        "notes": list(block.notes),
                    }
                    for block in part.blocks
                    if isinstance(block, Table)
                },
            }
            for part in parts
        },
        "provenance": dict(facts),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _markdown(parts: Sequence[Part], facts: Sequence[tuple[str, str]], quick: bool) -> str:
    said = [f"# {TITLE}", f"{PAPER}: its tables, figures and claims, with our numbers beside the printed ones."]
    if quick:
        said.append(f"**{QUICK}**")
    for part in parts:
        said.append(f"## {part.title}")
        for block in part.blocks:
            if isinstance(block, str):
                said.append(block)
            elif isinstance(block, Picture):
                said += [f"![{block.title}]({block.name}.svg)", f"*{block.caption}*"]
            else:
                said += [f"**{MARK if quick else ''}{block.title}**", _markdown_table(block), *block.notes]
    facts_said = "\n".join(f"- {name}: {value}" for name, value in facts)
    return "\n\n".join([*said, "## Provenance", facts_said]) + "\n"


def _markdown_table(block: Table) -> str:
    rule = ["---", *["---" if block.words else "---:"] * (len(block.columns) - 1)]
    lines = (block.columns, rule, *block.rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _html(parts: Sequence[Part], facts: Sequence[tuple[str, str]], drawings: dict[str, str], quick: bool) -> str:
    head = f"<header><h1>{text(TITLE)}</h1><p>{text(PAPER)}: its tables, figures and claims beside ours.</p>"
    warned = f'<p class="note">{strong(QUICK)}</p>' if quick else ""
    body = [f"{head}{warned}</header>"]
    for part in parts:
        shown = []
        for block in part.blocks:
            if isinstance(block, str):
                shown.append(f"<p>{text(block)}</p>")
            elif isinstance(block, Picture):
                shown.append(_figure(block, drawings[block.name]))
            else:
                title = f"{MARK if quick else ''}{block.title}"
                notes = "".join(f'<p class="note">{text(note)}</p>' for note in block.notes)
                shown.append(card(title, _table(title, block), notes))
        body.append(_section(part.name, part.title, *shown))
    body.append(_section("provenance", "Provenance", card("The numbers", table("Provenance", facts))))
    return document(TITLE, *body)


def _table(title: str, block: Table) -> str:
    # words as a list of facts, which break into lines; numbers with their intervals do not
    if block.words:
        rows = [(first, " · ".join(rest)) for first, *rest in block.rows]
        return table(title, rows)
    return table(title, block.rows, block.columns, whole=True)


def _figure(block: Picture, svg: str) -> str:
    drawn = inlined(svg)
    # ids of several drawings on one page
    for mark in ('id="', 'href="#', "url(#"):
        drawn = drawn.replace(mark, f"{mark}{block.name}-")
    drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{text(block.title)}" ', 1)
    return f'<figure class="card print">{drawn}<figcaption>{text(block.caption)}</figcaption></figure>'


def _section(name: str, title: str, *parts: str) -> str:
    grid = f'<div class="grid" style="grid-template-columns:minmax(0,1fr)">{"".join(parts)}</div>'
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>{grid}</section>'
