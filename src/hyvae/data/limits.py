"""How much of a source is read: a bound on what is unpacked, downloaded or piped in."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from hyvae.errors import ConfigError, DataError
from hyvae.wording import say

# room for every public data set of ratings but the largest reviews with their texts
DEFAULT_SIZE = 8 << 30
# real ratings shrink 3 to 50 times; what grows more than this is refused once it passes `SMALL_SIZE`
MOST_EXPANSION = 200
SMALL_SIZE = 256 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 500000, ``"500M"`` or ``"16G"`` (powers of 1024).

    Raises
    ------
    ConfigError
        Another form, or not positive.
    """
    found = re.fullmatch(r"([0-9]+)\s*([KMGT]?)(?:i?B)?", str(size).strip(), re.IGNORECASE | re.ASCII)
    n_bytes = int(found[1]) * _UNITS[found[2].upper()] if found and not isinstance(size, bool) else 0
    if n_bytes <= 0:
        asked = say("max_size", "--max-size")
        raise ConfigError(f"{asked} takes bytes, or a size such as '500M' or '16G'; got {size!r}")
    return n_bytes


def size_limit(max_size: int | None, packed: int | None = None) -> int:
    """Bytes that a source may have.

    Parameters
    ----------
    max_size : int or None
        What the caller allows; None for the default.
    packed : int, optional
        Bytes of the compressed file, which bounds the default.
    """
    if max_size is not None:
        return max_size
    return DEFAULT_SIZE if packed is None else min(DEFAULT_SIZE, max(SMALL_SIZE, MOST_EXPANSION * packed))


def require_size(n_bytes: int, limit: int, source: str) -> None:
    """Refuse a source whose size is known before it is read.

    Raises
    ------
    DataError
    """
    if n_bytes > limit:
        raise too_large(limit, source)


def too_large(limit: int, source: str) -> DataError:
    """Build the error for a source beyond its limit."""
    asked = say("max_size='64G'", "--max-size 64G")
    return DataError(f"{source}: holds more than {_shown(limit)}; if you trust it, allow more with {asked}")


def _shown(n_bytes: int) -> str:
    unit, name = next(((size, name) for name, size in reversed(_UNITS.items()) if n_bytes >= size), (1, ""))
    return f"{n_bytes / unit:.4g} {name}iB" if name else f"{n_bytes} bytes"


def require_regular(path: Path) -> None:
    """Refuse a fifo, a device or a socket: opening one may wait, and reading one may never end.

    Raises
    ------
    DataError
    OSError
        There is no such file.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device" if not stat.S_ISSOCK(mode) else "a socket"
        mend = f"give '-' and send it to standard input (… - < {path})" if kind == "a pipe" else "name a file"
        raise DataError(f"{path}: {kind}, not a file; {mend}")


def read_bounded(stream: BinaryIO, limit: int, source: str) -> bytes:
    """Read a stream to its end.

    Raises
    ------
    DataError
        It has more bytes than `limit`.
    """
    content = io.BytesIO()
    while chunk := stream.read(1 << 20):
        require_size(content.tell() + len(chunk), limit, source)
        content.write(chunk)
    return content.getvalue()
