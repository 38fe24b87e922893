"""The bytes of a file, decompressed where its ending says so."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import zstandard

from hyvae.errors import DataError


def _decompress_zstd(data: bytes) -> bytes:
    # frame by frame: the library's own reader takes a file that was cut short for a whole one
    frames = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frames.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("it ends before its content")
        data = frame.unused_data
    return b"".join(frames)


DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".zst": _decompress_zstd,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def ending(path: Path) -> str:
    """The ending that tells the kind of file, lower case: ``.csv`` of ``ratings.CSV.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in DECOMPRESSORS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises
    ------
    DataError
        It is not compressed as its ending says, or cut short.
    OSError
        It cannot be opened.
    """
    data = path.read_bytes()
    decompress = DECOMPRESSORS.get(path.suffix.lower())
    if decompress is None:
        return data
    try:
        return decompress(data)
    except _ERRORS as error:
        raise DataError(
            f"{path}: not readable as {path.suffix.lower()} ({error}); it may be cut short: fetch it again"
        ) from error
