"""What a caller says about a source, and which of its columns holds what."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from hyvae.data.limits import parse_size
from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Duplicates
from hyvae.wording import say

# lower case without punctuation; of times and titles the best guess comes first
COMMON_NAMES = {
    role: names.split()
    for role, names in (
        (
            "user",
            "user userid uid userno usernumber username reviewerid reviewer customerid customer memberid member "
            "personid person visitorid visitor readerid reader profilename",
        ),
        (
            "item",
            "item itemid iid movieid movie filmid film bookid book isbn asin parentasin productid product "
            "sku businessid business trackid track songid song artistid artist albumid album animeid anime gameid game "
            "recipeid recipe jokeid joke beerid beer restaurantid restaurant",
        ),
        (
            "rating",
            "rating ratings stars star score overall bookrating starrating rate ratingvalue "
            "myrating userrating yourrating myscore userscore",
        ),
        (
            "timestamp",
            "timestamp time unixreviewtime unixtime ts tstamp ratingtimestamp datetime date reviewtime reviewdate "
            "createdat",
        ),
        ("title", "title itemtitle movietitle booktitle producttitle itemname moviename productname"),
    )
}
# who gave the rating, where another column may hold everyone's mean
_OWN = ("myrating", "userrating", "yourrating", "myscore", "userscore")
_SAME_THING = {"uid": "user", "iid": "item", "profilename": "user"}
_MUST_BE_CLEAR = ("user", "item", "rating")
_MOST_NAMED = 12
_SEPARATORS = (",", "\t", ";", "|")
# the order of Surprise, MovieLens and most others where no header line tells
UNNAMED_ORDER = ("user", "item", "rating", "timestamp")
BadRowsPolicy = Literal["error", "skip"]
TIME_UNITS = ("s", "ms", "us", "ns", "yyyymmdd", "year", "excel")


@dataclass(frozen=True)
class ReadOptions:
    """What the caller of `hyvae.data.read` says about a source; None is guessed.

    Attributes
    ----------
    user, item, rating, timestamp, title : str or None
        Names of columns (numbers from 1 where there is no header line); '' leaves `timestamp` or `title` out.
    separator : str or None
    header : bool or None
        Whether a text begins with a line of column names.
    encoding : str
        Of text.
    scale : (float, float) or None
        Lowest and highest rating that can be given.
    query : str or None
        SQL, where the source is the URL of a database.
    on_duplicates : ``error``, ``last`` or ``mean``
    on_bad_rows : ``error`` or ``skip``
    quote : str or None
        The character around fields of a text; '' where quotes are plain characters.
    time_unit : str or None
        Of times that are numbers, one of `TIME_UNITS`.
    time_format : str or None
        Of times that are dates, as in ``datetime.strptime``.
    not_rated : tuple of float or str
        Values of the rating column that stand for *not rated*; '' is an empty field. One value may be given alone.
    max_size : int or None
        Bytes that are read at most, once unpacked; see `hyvae.data.limits`.
    decimal : ``.`` or ``,``
        The mark in the ratings of a text.
    skip_lines : int
        Lines of a text before its header or first row.
    wide : bool
        A row is a user and a column an item.
    titles : path or None
        A text with a column of items and one of their titles.
    finish : callable or None
        What is made of the table, with the parameters of `ratings_from_frame`; None for ratings.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None
    separator: str | None = None
    header: bool | None = None
    encoding: str = "utf-8"
    scale: tuple[float, float] | None = None
    query: str | None = None
    on_duplicates: Duplicates = "error"
    on_bad_rows: BadRowsPolicy = "error"
    quote: str | None = None
    time_unit: str | None = None
    time_format: str | None = None
    not_rated: tuple[float | str, ...] = ()
    max_size: int | None = None
    decimal: str = "."
    skip_lines: int = 0
    wide: bool = False
    titles: str | PathLike[str] | None = None
    finish: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "not_rated", _sentinels(self.not_rated))
        if self.max_size is not None:
            object.__setattr__(self, "max_size", parse_size(self.max_size))
        if self.time_unit is not None and self.time_unit not in TIME_UNITS:
            asked = say(f"time_unit={self.time_unit!r}", f"--time-unit {self.time_unit}")
            raise ConfigError(f"{asked}: there are {', '.join(TIME_UNITS)}")
        if self.quote is not None and len(self.quote.encode()) > 1:
            asked = say(f"quote={self.quote!r}", f"--quote {self.quote}")
            raise ConfigError(f"{asked}: one ASCII character, or '' where quotes are plain characters")
        for name, value, choices in (
            ("on_duplicates", self.on_duplicates, ("error", "last", "mean")),
            ("on_bad_rows", self.on_bad_rows, ("error", "skip")),
            ("decimal", self.decimal, (".", ",")),
        ):
            if value not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _sentinels(given: object) -> tuple[float | str, ...]:
    """Numbers as floats, whether they are given as numbers or as text; other text as it is."""
    values = given if isinstance(given, tuple | list | set | frozenset) else (given,)
    return tuple(_as_number(value) for value in values)


def _as_number(value: object) -> float | str:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        if isinstance(value, str):
            return value.strip()
        asked = say(f"not_rated={value!r}", f"--not-rated {value}")
        raise ConfigError(f"{asked}: values are numbers or text") from None


@dataclass(frozen=True)
class Columns:
    """Which column of a table holds what."""

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    timestamp: str | None = None
    title: str | None = None

    def named(self) -> dict[str, str]:
        """Column name of each role that has one."""
        return {role: name for role, name in vars(self).items() if name}

    def fields(self) -> dict[str, Any]:
        """Column name of each role, None where it has none."""
        return dict(vars(self))


def choose_columns(
    names: Sequence[str], options: ReadOptions, source: str, *, named: bool = True, separator: str | None = None
) -> Columns:
    """Columns as the caller named them, else guessed from common names.

    Parameters
    ----------
    named : bool
        Whether the source names its columns; else they are called 1, 2, 3, … and their order tells.
    separator : str, optional
        With which a text was taken apart.

    Raises
    ------
    DataError
        A column that is not there; no column for users, items or ratings, or several.
    """
    given = {role: getattr(options, role) for role in COMMON_NAMES}
    if options.titles is not None:  # `title` names a column of that file
        given["title"] = ""
    free = [name for name in names if name not in given.values()]
    if named:
        asked = COMMON_NAMES if options.finish is None else ("user", "item")
        guessed: dict[str, str | None] = {role: _clear(free, role, source) for role in asked if given[role] is None}
    else:
        unnamed = _by_order(names, fewest=3 if options.finish is None else 2)
        guessed = {role: name for role, name in unnamed.items() if name in free}
    chosen = {role: guessed.get(role) if name is None else name or None for role, name in given.items()}
    needed = _MUST_BE_CLEAR if options.finish is None else ("user", "item")
    missing = [role for role in needed if chosen[role] is None]
    if missing:
        raise DataError(f"{source}: {_no_column(missing, names, named, separator)}")
    columns = Columns(
        user=chosen["user"] or "",
        item=chosen["item"] or "",
        rating=chosen["rating"] or "",  # which only what is not made ratings may lack
        timestamp=chosen["timestamp"],
        title=chosen["title"],
    )
    require_columns(names, columns, source)
    return columns


def _clear(names: Sequence[str], role: str, source: str) -> str | None:
    found = candidates(names, role)
    if len(found) < 2:
        return found[0] if found else None
    listed = f"{', '.join(map(repr, found[:-1]))} and {found[-1]!r}"
    mends = (say(f"{role}={name!r}", f"--{role}-column {shlex.quote(name)}") for name in found)
    raise DataError(f"{source}: {listed} may each hold the {role}s; say which does: {' or '.join(mends)}")


def _no_column(roles: Sequence[str], names: Sequence[str], named: bool, separator: str | None) -> str:
    nouns = ", ".join(f"{role}s" for role in roles)
    flags = ", ".join(say(f"{role}=…", f"--{role}-column …") for role in roles)
    found = _listing(names)
    wrong = _wrong_separator(names, separator) if separator else ""
    if not named:
        return (
            f"its first line names no columns, and which of {found} holds the {nouns} is not known; number them with "
            f"{flags}, or give the file a header line{wrong}"
        )
    what_if = "; where nobody rated, only took, add a rating column of ones" if list(roles) == ["rating"] else ""
    no_header = f"; if the first line is a rating: {say('header=False', '--no-header')}" if len(roles) == 3 else ""
    return f"no column of {nouns} among {found}; name it with {flags}{what_if}{no_header}{wrong}"


def _wrong_separator(names: Sequence[str], separator: str) -> str:
    """What to say where names of columns look as if they were not taken apart."""
    other = next((mark for mark in _SEPARATORS if mark != separator and any(mark in name for name in names)), None)
    if len(names) > 1 and other is None:
        return ""
    shown = "…" if other is None else "\\t" if other == "\t" else other
    asked = say(f"separator='{shown}'", f"--separator '{shown}'")
    return f"; if {separator!r} is not what parts its fields: {asked}"


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more


def _by_order(names: Sequence[str], fewest: int) -> dict[str, str]:
    """Roles of unnamed columns, where there are as many as triplets have, with or without a time."""
    return dict(zip(UNNAMED_ORDER, names, strict=False)) if fewest <= len(names) <= 4 else {}


def require_columns(names: Sequence[str], columns: Columns, source: str) -> None:
    """Refuse a table that lacks one of the columns, or where one column plays two roles."""
    wanted = columns.named()
    for role, name in wanted.items():
        if name not in names:
            flag = say(f"{role}=…", f"--{_option_of(role)}-column …")
            raise DataError(
                f"{source}: no column {name!r}; there are: {_listing(names) or 'none'}; name the {role}s with {flag}"
            )
    if len(set(wanted.values())) < len(wanted):
        name = next(name for name in wanted.values() if list(wanted.values()).count(name) > 1)
        raise DataError(f"{source}: column {name!r} is named for two purposes; give each its own column")


def _option_of(role: str) -> str:
    return "time" if role == "timestamp" else role


def guess_column(names: Sequence[str], role: str) -> str | None:
    """Find the column that plays a role by its common names; of several the likeliest."""
    return next(iter(candidates(names, role)), None)


def candidates(names: Sequence[str], role: str) -> list[str]:
    """Columns that may play a role by their common names: one where it is clear, the likeliest first where it is not.

    An id is clear beside a name of the same thing (``user_id`` beside ``username``), and so is one's own rating
    (``my_rating``) beside another. Of times and titles the commonest name is taken.
    """
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in names}
    found = sorted(
        (name for name in names if plain[name] in COMMON_NAMES[role]),
        key=lambda name: COMMON_NAMES[role].index(plain[name]),
    )
    if role not in _MUST_BE_CLEAR:
        return found[:1]
    own = [name for name in found if plain[name] in _OWN]
    if role == "rating":
        return own or found
    things = {_thing(plain[name]) for name in found}
    ids = [name for name in found if plain[name].endswith("id")]
    return ids if len(things) == 1 and len(ids) == 1 else found


def _thing(plain: str) -> str:
    return _SAME_THING.get(plain) or re.sub(r"(id|no|number|name)$", "", plain)
