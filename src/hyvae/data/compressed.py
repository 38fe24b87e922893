"""The bytes of a file, decompressed where its ending says so, up to a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from hyvae.data.limits import read_bounded, require_size, size_limit
from hyvae.errors import DataError

# one block of zstd holds up to 128 KiB in four bytes: this many bytes unpack to at most 128 MiB
_ZSTD_PIECE = 1 << 12


class _ZstdReader(io.RawIOBase):
    """Decompresses frame by frame: the library's own reader takes a file that was cut short for a whole one."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed, self._rest, self._frame, self._begun = packed, b"", self._new_frame(), False

    @staticmethod
    def _new_frame() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor().decompressobj()

    def read(self, _: int = -1) -> bytes:
        """Give what the next piece unpacks to; empty at the end."""
        while True:
            piece = self._rest or self._packed.read(_ZSTD_PIECE)
            if not piece:
                if self._begun:
                    raise EOFError("it ends before its content")
                return b""
            data = self._frame.decompress(piece)
            self._rest, self._begun = self._frame.unused_data, not self._frame.eof
            if self._frame.eof:
                self._frame = self._new_frame()
            if data:
                return data


DECOMPRESSORS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".zst": _ZstdReader,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def ending(path: Path) -> str:
    """The ending that tells the kind of file, lower case: ``.csv`` of ``ratings.CSV.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in DECOMPRESSORS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_bytes(path: Path, max_size: int | None = None) -> bytes:
    """Content of a file.

    Parameters
    ----------
    max_size : int, optional
        Bytes that are read at most, once unpacked; see `hyvae.data.limits`.

    Raises
    ------
    DataError
        It is larger than that, not compressed as its ending says, or cut short.
    OSError
        It cannot be opened.
    """
    size, suffix = path.stat().st_size, path.suffix.lower()
    if suffix not in DECOMPRESSORS:
        require_size(size, size_limit(max_size), str(path))
        return path.read_bytes()
    with path.open("rb") as packed:
        return decompressed(packed, suffix, size_limit(max_size, size), str(path))


def decompressed(packed: BinaryIO, suffix: str, limit: int, source: str) -> bytes:
    """Content of a compressed stream.

    Raises
    ------
    DataError
        It has more bytes than `limit`, is not compressed so, or cut short.
    """
    try:
        return read_bounded(DECOMPRESSORS[suffix](packed), limit, source)
    except _ERRORS as error:
        raise DataError(f"{source}: not readable as {suffix} ({error}); it may be cut short: fetch it again") from error
