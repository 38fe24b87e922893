"""Bytes of a text as UTF-8, and what to say where they are none."""

from __future__ import annotations

import re

from hyvae.errors import DataError
from hyvae.wording import say

_BYTE_ORDER_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SIGNATURES = (
    (b"PK\x03\x04", "a zip file (or a spreadsheet): name it .zip, or save the sheet as CSV"),
    (b"\x1f\x8b", "compressed by gzip: name it .gz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: name it .zst"),
    (b"PAR1", "Parquet: name it .parquet"),
    (b"\x89HDF", "HDF5: name it .mat if it is one of Monti's"),
    (b"SQLite format 3", "an SQLite database: give sqlite:///FILE and a query"),
)
# those whose letters take two bytes, by how common they are
_EAST_ASIAN = ("gbk", "big5", "euc-kr", "shift_jis")
_LOOKED_AT = 1 << 20


def as_utf8(data: bytes, source: str, encoding: str) -> bytes:
    """The text in UTF-8, without a mark of its byte order.

    Raises
    ------
    DataError
        No encoding is called so, or the text is in another.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark) and not encoding.lower().startswith(name):
            raise DataError(f"{source}: the text is {name}, not {encoding}; say {_mend(name)}")
    try:
        if encoding.lower().replace("-", "") != "utf8":
            data = data.decode(encoding).encode()
    except LookupError as error:
        raise DataError(f"{source}: no encoding is called {encoding!r}; for example utf-8, latin-1, utf-16") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source}: the text is not {encoding} ({error.reason} at byte {error.start}); name another encoding"
        ) from error
    return data.removeprefix(b"\xef\xbb\xbf")


def not_utf8(data: bytes, source: str, line: int) -> str:
    """Say that a text is not UTF-8, and in which encoding it may be."""
    return (
        f"{source}, line {line}: not UTF-8 text; save the file as UTF-8, or name its encoding, "
        f"perhaps {_mend(likely_encoding(data))}"
    )


def likely_encoding(data: bytes) -> str:
    """The likeliest encoding of a text that is not UTF-8: letters of two bytes, or latin-1."""
    data = data[:_LOOKED_AT]
    high = re.findall(rb"[\x80-\xff]+", data)
    together = sum(len(run) for run in high if len(run) > 1)
    if 5 * together < 4 * sum(map(len, high)):
        return "latin-1"
    for encoding in _EAST_ASIAN:
        try:
            data[: data.rfind(b"\n") + 1 or None].decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "cp1251"


def _mend(encoding: str) -> str:
    return say(f"encoding={encoding!r}", f"--encoding {encoding}")


def mend_of_binary(data: bytes) -> str:
    """What to do with a file that is no text."""
    return next((f"it is {what}" for mark, what in _SIGNATURES if data.startswith(mark)), "save it as UTF-8 text")
