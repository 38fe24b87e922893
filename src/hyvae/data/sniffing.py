"""The kind of a file by how it begins, where its ending does not tell."""

from __future__ import annotations

import re

from hyvae.data.netflix import FIRST_LINE as _NETFLIX

# bytes that are looked at
HEAD = 1 << 12
_BINARY = (
    (b"PAR1", ".parquet"),
    (b"ARROW1", ".arrow"),
    (b"PK\x03\x04", ".zip"),
    (b"\x89HDF", ".mat"),
    (b"\xd0\xcf\x11\xe0", ".xls"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_TEXTS = (
    (re.compile(rb"%%MatrixMarket", re.IGNORECASE), ".mtx"),
    (re.compile(rb"%"), "konect"),
    (re.compile(rb"@relation\b", re.IGNORECASE), ".arff"),
    (re.compile(rb"\[\s*\{|\{\s*(?:\"|u?')"), ".json"),
    (re.compile(rb"[^\n]*:token\b"), ".inter"),
    (re.compile(rb"\S+[ \t]+[0-9]+:1(?:\.0*)?[ \t]+[0-9]+:1(?:\.0*)?\s*(?:\n|$)"), ".libfm"),
)
_ARFF_AFTER_COMMENTS = re.compile(rb"(?:%[^\n]*\n|\s)*@relation\b", re.IGNORECASE)
# the endings that say no more than that it is text
_ANY_TEXT = (".txt", ".data", ".dat")


def sniffed(head: bytes, kind: str, known: bool) -> str:
    """The kind of a file.

    Parameters
    ----------
    head : bytes
        How it begins.
    kind : str
        What its ending says.
    known : bool
        Whether that is a kind: then only texts are looked at, for blocks of the Netflix Prize.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _NETFLIX.match(text) and (not known or kind in _ANY_TEXT):
        return "netflix"
    if known:
        return kind
    for mark, found in _BINARY:
        if head.startswith(mark):
            return found
    if _PICKLE.match(head):
        return ".pkl"
    if _ARFF_AFTER_COMMENTS.match(text):
        return ".arff"
    return next((found for pattern, found in _TEXTS if pattern.match(text)), ".txt")
