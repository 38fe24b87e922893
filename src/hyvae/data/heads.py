"""Texts with a head of their own: MatrixMarket, ARFF, KONECT, `sep=;`, and lines that the caller skips.

A head becomes blank lines, and where it names the columns one header line: so that lines keep their numbers.
"""

from __future__ import annotations

import re
from dataclasses import replace

from hyvae.data.columns import ReadOptions
from hyvae.data.text import blanked, ratings_from_text
from hyvae.errors import DataError
from hyvae.ratings import Ratings

_MATRIX = re.compile(rb"%%MatrixMarket\s+matrix\s+(\w+)\s+(\w+)\s+(\w+)", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)\s""", re.IGNORECASE)


def ratings_from_matrix_market(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read a sparse users × items matrix; ids are the numbers of rows and columns, from 1.

    Source: R. F. Boisvert, R. Pozo, K. A. Remington, The Matrix Market exchange formats, NISTIR 5935, 1996.

    Raises
    ------
    DataError
        Not such a text, dense, without values or symmetric; or a row that cannot be used.
    """
    found = _MATRIX.match(data)
    if found is None:
        raise DataError(f"{source}: its first line is not '%%MatrixMarket matrix …'; write it again")
    layout, field, symmetry = (word.decode().lower() for word in found.groups())
    if layout != "coordinate" or field not in ("real", "integer") or symmetry != "general":
        raise DataError(
            f"{source}: a matrix '{layout} {field} {symmetry}'; ratings are 'coordinate real general' or "
            "'coordinate integer general'"
        )
    n_lines = _comments(data) + 1  # then the line of sizes
    return ratings_from_text(blanked(data, n_lines), source, _unnamed(options, " "))


def ratings_from_konect(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read a network of KONECT (`out.NAME`): comments, then user, item, weight and time in a line.

    Source: J. Kunegis, KONECT: the Koblenz network collection, WWW Companion 2013.
    """
    rows = blanked(data, _comments(data))
    first = rows.lstrip(b"\n").partition(b"\n")[0]
    n_fields = len(first.split())
    if n_fields < 3:
        raise DataError(f"{source}: {n_fields} columns; a network of ratings has user, item and weight")
    timestamp = "4" if n_fields == 4 and options.timestamp is None else options.timestamp
    return ratings_from_text(rows, source, replace(_unnamed(options, " "), timestamp=timestamp))


def ratings_from_arff(data: bytes, source: str, options: ReadOptions) -> Ratings:
    """Read Weka's text: `@attribute` lines name the columns, `@data` begins the rows; `?` is a gap.

    Raises
    ------
    DataError
        It has no `@data`, or its rows are sparse.
    """
    names, lines, begin = [], data.split(b"\n"), 0
    for begin, line in enumerate(lines, start=1):  # noqa: B007 — it is where the rows begin
        text = line.decode("utf-8", "replace").strip()
        if text.lower() == "@data":
            break
        if found := _ATTRIBUTE.match(f"{text} "):
            names.append(re.sub(r"\\(.)", r"\1", found[1][1:-1]) if found[1][0] in "'\"" else found[1])
    else:
        raise DataError(f"{source}: no line '@data'; write or fetch it again")
    if not names:
        raise DataError(f"{source}: no line '@attribute' names a column; write or fetch it again")
    rows = [re.sub(rb"(?<=,)\s*\?\s*(?=,|\r?$)|^\s*\?\s*(?=,)", b"", line) for line in lines[begin:]]
    rows = [b"" if line.startswith(b"%") else line for line in rows]
    if any(line.lstrip().startswith(b"{") for line in rows[:100]):
        raise DataError(f"{source}: its rows are sparse ({{1 2, …}}); write them with all columns")
    quoted = ('"' + name.replace('"', '""') + '"' for name in names)
    single = any(b"'" in line for line in rows[:100]) and options.quote is None
    header = ",".join(names if single else quoted).encode()
    return ratings_from_text(
        b"\n" * (begin - 1) + header + b"\n" + b"\n".join(rows),
        source,
        replace(options, separator=",", header=True, quote="'" if single else options.quote),
    )


def _comments(data: bytes) -> int:
    n_lines = at = 0
    while data.startswith(b"%", at) or data.startswith((b"\n", b"\r\n"), at):
        n_lines, at = n_lines + 1, data.find(b"\n", at) + 1
        if not at:
            break
    return n_lines


def _unnamed(options: ReadOptions, separator: str) -> ReadOptions:
    return replace(
        options,
        separator=separator,
        header=False,
        user=options.user or "1",
        item=options.item or "2",
        rating=options.rating or "3",
    )
