"""Text that comes through a pipe: standard input, or the pipe that a shell gives for `<(command)`."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from pathlib import Path

from hyvae.data.columns import ReadOptions
from hyvae.data.compressed import decompressed
from hyvae.data.formats import ratings_from_content
from hyvae.data.limits import read_bounded, size_limit
from hyvae.errors import DataError
from hyvae.ratings import Ratings

STANDARD_INPUT = "-"
_STREAM = re.compile(r"-|/dev/stdin|/(?:dev|proc/self)/fd/[0-9]+")
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}


def is_stream(source: str | Path) -> bool:
    """Whether a source names standard input or another open file of this process."""
    return bool(_STREAM.fullmatch(str(source)))


def read_stream(source: str | Path, options: ReadOptions) -> Ratings:
    """Read text of any kind, compressed or not, from an open pipe or file.

    Raises
    ------
    DataError
        A terminal or a device, more than the limit, or no text.
    """
    name = "standard input" if str(source) in (STANDARD_INPUT, "/dev/stdin") else str(source)
    try:
        descriptor = sys.stdin.fileno() if name == "standard input" else int(Path(source).name)
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            what = "a terminal" if os.isatty(descriptor) else "a device"
            raise DataError(f"{name}: {what}; send it a file (hyvae … - < ratings.csv)")
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            data = read_bounded(stream, size_limit(options.max_size), name)
    except (OSError, AttributeError, ValueError) as error:  # there is none, or it is closed
        raise DataError(f"{name}: cannot be read ({error}); send it a file (hyvae … - < ratings.csv)") from error
    packed = next((suffix for mark, suffix in _MAGIC.items() if data.startswith(mark)), None)
    if packed is not None:
        data = decompressed(io.BytesIO(data), packed, size_limit(options.max_size, len(data)), name)
    return ratings_from_content(data, "", name, options)
