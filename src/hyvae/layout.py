"""What was taken for what when a source was read: shown by commands, kept with a run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

_SPOKEN = {"\t": "tab", " ": "blanks"}
_SPOKEN_UNITS = {
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "yyyymmdd": "numbers of the form YYYYMMDD",
    "year": "years",
    "excel": "Excel's days",
    "steps": "small numbers, of which only the order tells",
}


@dataclass(frozen=True)
class SourceLayout:
    """Which columns of a source were taken for what, and how its text is laid out.

    Attributes
    ----------
    user, item, rating : str
        Names of columns; numbers from 1, as text, where nothing names them (`named` is false).
    timestamp, title : str or None
    named : bool
    separator, encoding, quote : str or None
        Of a text; None elsewhere. An empty `quote` means that quotes are plain characters.
    header : bool or None
        Whether a text begins with a line of column names.
    time_unit : str or None
        What the times are: ``s``, ``ms``, ``us``, ``ns``, ``yyyymmdd``, ``year``, ``excel``, ``steps`` (small numbers,
        of which only the order tells), or the form of a date.
    not_rated : tuple of float or str
        Values that stand for *not rated*.
    notes : tuple of str
        What else was decided, a clause each.
    """

    user: str
    item: str
    rating: str
    timestamp: str | None = None
    title: str | None = None
    named: bool = True
    separator: str | None = None
    header: bool | None = None
    encoding: str | None = None
    quote: str | None = None
    time_unit: str | None = None
    not_rated: tuple[float | str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join([self._columns(), *([self._text()] if self.separator else []), *self._remarks()])

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    def _columns(self) -> str:
        roles = {"user": self.user, "item": self.item, "rating": self.rating, "time": self.timestamp}
        if self.title is not None:
            roles["title"] = self.title
        if self.named:
            return ", ".join(f"{role} = {'none' if name is None else repr(name)}" for role, name in roles.items())
        taken = sorted((int(name), role) for role, name in roles.items() if name is not None)
        return "no header: column " + ", ".join(f"{number} = {role}" for number, role in taken)

    def _text(self) -> str:
        separator = _SPOKEN.get(self.separator or "", repr(self.separator))
        facts = [f"separator {separator}", *(["header yes"] if self.header else []), f"encoding {self.encoding}"]
        if self.quote is not None and self.quote != '"':
            facts.append(f"quote {self.quote!r}" if self.quote else "quote none")
        return ", ".join(facts)

    def _remarks(self) -> list[str]:
        form = self.time_unit
        remarks = [] if form in (None, "s") else [f"times are {_SPOKEN_UNITS.get(form, form)}"]
        if self.not_rated:
            values = (f"{value:g}" if isinstance(value, float) else repr(value) for value in self.not_rated)
            remarks.append(f"not rated: {', '.join(values)}")
        return remarks + list(self.notes)
