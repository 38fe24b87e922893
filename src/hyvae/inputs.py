"""What callers hand over, as plain arrays. It is checked here, so that nothing is found out after a training."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyvae.errors import ConfigError, DataError

_LARGEST_TIME = 2**63


def as_ids(ids: ArrayLike | Iterable[Any]) -> NDArray[Any]:
    """Ids as an int64 array, or as an object array of `str`. A `uuid.UUID` becomes its text.

    Raises
    ------
    DataError
        Ids that are neither integers nor text, that mix both, or are missing; an array that is not one-dimensional.
    """
    if not hasattr(ids, "__array__") and not isinstance(ids, str | Sequence) and isinstance(ids, Iterable):
        ids = list(ids)
    array = _array(ids, "id")
    if array.ndim != 1:
        raise DataError(f"ids must be one-dimensional, got shape {array.shape}")
    if array.dtype.kind == "i" or (array.dtype.kind == "u" and (not array.size or array.max() < 2**63)):
        return array.astype(np.int64)
    if array.dtype.kind == "U" and not isinstance(ids, list | tuple):
        return array.astype(object)
    # a list that mixes 1 and "1" must not be turned into text on the quiet
    return _ids_of(list(ids) if isinstance(ids, list | tuple) else array.tolist())


def _ids_of(values: list[Any]) -> NDArray[Any]:
    bad = [place for place, value in enumerate(values) if not _is_id(value)]
    if bad:
        # a gap turns the integers beside it into decimal numbers
        place = next((place for place in bad if is_missing(values[place])), bad[0])
        value = values[place]
        what = "missing" if is_missing(value) else f"{value!r} ({type(value).__name__})"
        raise DataError(f"ids must be all integers or all text; id number {place + 1} is {what}")
    text = [isinstance(value, str | uuid.UUID) for value in values]
    if all(text):
        out = np.empty(len(values), dtype=object)
        out[:] = [str(value) for value in values]
        return out
    if any(text):
        first, other = values[text.index(True)], values[text.index(False)]
        raise DataError(f"ids must be all integers or all text; {first!r} is text, and {other!r} is an integer")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise DataError("integer ids must fit in 64 bits; make larger ones text") from error


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int | np.integer | uuid.UUID) and not isinstance(value, bool)


def as_float32(values: ArrayLike, source: str) -> NDArray[np.float32]:
    """Ratings as numbers, which may be infinite or NaN.

    Raises
    ------
    DataError
        Something that is no number, or is masked.
    """
    try:
        # a number too large for float32 becomes infinite, and is refused as such with its place
        with np.errstate(over="ignore"):
            return np.asarray(_array(values, "rating"), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: every rating must be a number ({error})") from error


def as_seconds(times: ArrayLike, source: str) -> NDArray[np.int64]:
    """Timestamps as whole seconds since 1970: from numbers of seconds, or dates of any unit. No zone means UTC.

    Raises
    ------
    DataError
        A missing or masked time, or one that is neither number nor date.
    """
    array = _array(times, "timestamp")
    if array.dtype.kind == "O":
        array = np.array([_second_of(value, place, source) for place, value in enumerate(array.tolist())])
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "M":
        _refuse(np.isnat(array), source, "is missing")
        return array.astype("datetime64[s]").astype(np.int64)
    if array.dtype.kind == "f":
        _refuse(~np.isfinite(array), source, "is missing")
        _refuse(np.abs(array) >= _LARGEST_TIME, source, "does not fit in 64 bits")
        return array.astype(np.int64)
    raise DataError(f"{source}: timestamps must be seconds since 1970 or dates, got {array.dtype}")


def _second_of(value: Any, place: int, source: str) -> float:
    if is_missing(value):
        raise DataError(f"{source}: timestamp number {place + 1} is missing; fill it in or leave the timestamps out")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return value  # type: ignore[return-value]
    raise DataError(
        f"{source}: timestamp number {place + 1} is {value!r}; give seconds since 1970 or dates, or leave them out"
    )


def as_seed(seed: Any) -> int:
    """A seed as an integer, whatever integer type it has.

    Raises
    ------
    ConfigError
        No integer, or out of range.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number < 2**32:
        raise ConfigError(f"seed must be an integer from 0 to 2**32 - 1, got {seed!r}")
    return number


def as_length(n: Any) -> int:
    """The length of a list as an integer.

    Raises
    ------
    DataError
        No integer, or below 1.
    """
    try:
        number = operator.index(n)
    except TypeError:
        number = 0
    if number < 1:
        raise DataError(f"the length of a list must be at least 1, got {n!r}")
    return number


def check_text(texts: Sequence[str], noun: str) -> None:
    """Refuse text that no file can hold.

    Raises
    ------
    DataError
        A lone surrogate: half of a character, mostly a sign of wrong decoding.
    """
    try:
        "\0".join(texts).encode()
    except UnicodeEncodeError:
        bad = next(text for text in texts if not _encodable(text))
        raise DataError(
            f"the {noun} {bad!r} has half of a character in it (a lone surrogate), which no file can hold; decode the "
            "text with its own encoding"
        ) from None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_missing(value: Any) -> bool:
    """Whether it stands for no value: None, NaN, NaT, or the NA of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | np.datetime64) and bool(value != value)


def _array(values: Any, noun: str) -> NDArray[Any]:
    """As an array, whose mask, if it has one, hides nothing."""
    if isinstance(values, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(values)
        if hidden.any():
            place = int(np.flatnonzero(hidden)[0]) + 1
            raise DataError(f"{noun} number {place} is masked; leave out what is masked, in all arrays alike")
        return np.asarray(values.data)
    try:
        array = np.asarray(values)
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8")
    except ValueError as error:
        raise DataError(f"the {noun}s are no array of one dimension ({error})") from error
    return array


def _refuse(bad: NDArray[np.bool_], source: str, what: str) -> None:
    if bad.any():
        place = int(np.flatnonzero(bad)[0]) + 1
        raise DataError(f"{source}: timestamp number {place} {what}; mend it or leave the timestamps out")
