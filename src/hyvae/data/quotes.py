"""Quotes in delimited text: those around a whole field belong to CSV, any other is a character like the rest."""

from __future__ import annotations

import re

# a field with more line ends than this is one whose quote was never meant to open it
_MOST_LINES = 100


def with_literal_quotes(body: bytes, separator: str, quote: str, width: int) -> bytes:
    """Rows in which every quote that is a plain character is written as CSV would write it.

    A field is quoted where a quote begins it and another ends it. A field may go on over several lines; but lines that
    are whole rows each, of `width` fields, are never swallowed by a quote. The number of lines stays the same.
    """
    text = _Text(separator.encode(), quote.encode(), width)
    if text.is_regular(body):
        return body
    lines, out, at = body.split(b"\n"), [], 0
    while at < len(lines):
        n_lines = text.lines_of_record(lines, at)
        record = b"\n".join(lines[at : at + n_lines])
        out.append(text.rewritten(record) if text.quote in record else record)
        at += n_lines
    return b"\n".join(out)


class _Text:
    def __init__(self, separator: bytes, quote: bytes, width: int) -> None:
        self.separator, self.quote, self.width = separator, quote, width
        part, mark = re.escape(separator), re.escape(quote)
        self._regular = re.compile(b'(?:^|(?<=[%b\n]))"[^"\n]*"(?=%b|\r?\n|\\Z)'.replace(b'"', mark) % (part, part))
        self._field = re.compile(
            b'(?:^|%b)(?:("(?:[^"]|"")*")(?=%b|\\Z)|([^%b]*))'.replace(b'"', mark) % (part, part, part)
        )

    def is_regular(self, body: bytes) -> bool:
        """Whether all quotes stand around whole fields of one line, without a quote inside."""
        return self.quote not in self._regular.sub(b"", body)

    def lines_of_record(self, lines: list[bytes], at: int) -> int:
        """How many lines the record that begins at a line takes."""
        if self.quote not in lines[at] or not self._is_open(lines[at]):
            return 1
        for n_lines in range(2, min(_MOST_LINES, len(lines) - at) + 1):
            last = lines[at + n_lines - 1]
            record = b"\n".join(lines[at : at + n_lines])
            if self.quote in last and not self._is_open(record) and len(self._fields(record)) == self.width:
                whole = all(len(self._fields(line)) == self.width for line in lines[at : at + n_lines])
                return 1 if whole else n_lines
        return 1

    def rewritten(self, record: bytes) -> bytes:
        """The same record with each literal quote doubled inside a quoted field."""
        end = b"\r" if record.endswith(b"\r") else b""
        doubled = self.quote * 2
        fields = [
            quoted or (self.quote + plain.replace(self.quote, doubled) + self.quote if self.quote in plain else plain)
            for quoted, plain in self._fields(record)
        ]
        return self.separator.join(fields) + end

    def _fields(self, record: bytes) -> list[tuple[bytes, bytes]]:
        """Each field as it stands: quoted, or plain."""
        return self._field.findall(record.removesuffix(b"\r"))

    def _is_open(self, record: bytes) -> bool:
        return any(plain.startswith(self.quote) for _, plain in self._fields(record))
