"""Downloads into a cache folder: tried again, verified, whole or not there at all."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

import pooch
import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import ReadTimeoutError

from hyvae.data.limits import require_size, size_limit
from hyvae.errors import DataError
from hyvae.terminal import Stream, console

CACHE_VARIABLE = "HYVAE_CACHE"
# seconds before the second and the third try
WAITS = (1.0, 3.0)
# seconds to wait for a connection, and for each further piece of an answer
TIMEOUT = 30.0
_CHUNK = 1 << 16
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def cache_folder() -> Path:
    """Folder of downloaded files: HYVAE_CACHE, else the place that the operating system has for them."""
    return Path(os.path.expanduser(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("hyvae")))


def fetch(
    url: str,
    file: str,
    folder: Path,
    *,
    mend: str,
    checksum: str | None = None,
    progress: bool | None = None,
    max_size: int | None = None,
) -> Path:
    """Give the path of a file in the cache, downloaded if it is not there yet.

    Parameters
    ----------
    url : str
        Address, http or https.
    file : str
        Its name in `folder`.
    folder : Path
        Made if it does not exist.
    mend : str
        What a user can do about a failure: the end of the message.
    checksum : str, optional
        ``"md5:…"`` or another algorithm of hashlib: what a download must have. A file that is there already
        is taken as it is.
    progress : bool, optional
        Show a progress bar on standard error. Default: only if that is a terminal.
    max_size : int, optional
        Bytes that are downloaded at most; see `hyvae.data.limits`.

    Raises
    ------
    DataError
        The file cannot be had or written; nothing is left in the folder.
    """
    path = folder / file
    if os.path.isfile(path):
        return path
    with (
        _quiet_pooch(),
        _Bar(file, Stream("stderr").isatty() if progress is None else progress, size_limit(max_size)) as bar,
    ):
        for wait in (*WAITS, None):
            try:
                # pooch writes beside the place, verifies, and renames
                pooch.retrieve(url, checksum, file, folder, downloader=_Downloader(bar))
                return path
            except requests.RequestException as error:
                if wait is None or not _may_pass(error):
                    raise DataError(f"{file}: the download failed ({_reason(error)}); {mend}") from error
            except ValueError as error:  # of pooch: a file that arrived whole, so that another try gives the same
                raise DataError(
                    f"{file}: the download is not the published file (its checksum is not {checksum}); {mend}"
                ) from error
            except OSError as error:
                raise DataError(
                    f"{folder}: the download cannot be written there ({_words_of_the_system(error)}); "
                    f"set {CACHE_VARIABLE} to one that can be written, or {mend}"
                ) from error
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def fetch_url(url: str, *, progress: bool | None = None, max_size: int | None = None) -> Path:
    """Download a file by its address, once; it keeps its name, in a folder of the cache that belongs to the address.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``, and a path that ends in the name of a file.
    progress, max_size
        As for `fetch`.

    Raises
    ------
    DataError
        The address is of another kind, or the file cannot be had.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DataError(f"{url}: not an address ({error}); write https://host/file.csv") from error
    # what comes out of %2F or %5C must not lead out of the folder
    file = re.sub(r"[^\w.,+ -]", "_", PurePosixPath(unquote(parts.path)).name)[-100:]
    if parts.scheme not in ("http", "https") or not parts.netloc or not file.strip("."):
        raise DataError(f"{url}: not the address of a file; write http:// or https://, a host and the file's path")
    folder = cache_folder() / "urls" / hashlib.sha256(url.encode()).hexdigest()[:12]
    mend = f"try again, or get {without_secrets(url)} yourself and give its path"
    return fetch(url, file, folder, mend=mend, progress=progress, max_size=max_size)


def without_secrets(url: str) -> str:
    """An address without user, password and query, which may hold a token."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def discard(path: Path) -> str:
    """Remove a damaged file from the cache; say what became of it, as the middle of a message."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"remove {path} yourself ({error.strerror or error})"
    return f"{path.name} was removed from the cache"


class _Downloader:
    """Pooch's downloader, of which all that goes wrong outside this machine is a `RequestException`.

    Parameters
    ----------
    bar : _Bar
        Is told what arrived.
    """

    def __init__(self, bar: _Bar) -> None:
        self._bar = bar
        self._http = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=_CHUNK,
            timeout=TIMEOUT,
            # the length of what comes is then known to the progress bar
            headers={"Accept-Encoding": "identity"},
            hooks={"response": _as_it_is},
        )

    def __call__(self, url: str, output_file: str, manager: Any) -> None:
        # made for the owner alone, as temporary files are; a cache may be shared
        os.chmod(output_file, 0o644)
        self._bar.written = output_file
        try:
            self._http(url, output_file, manager)
        except requests.RequestException:
            raise
        except (ValueError, Urllib3Error) as error:  # of an answer that breaks the rules of HTTP
            raise requests.RequestException(f"an answer that is not understood: {error}") from error


def _as_it_is(response: requests.Response, **_: Any) -> None:
    # urllib3 1.26 would take a body that was cut off for a whole one
    response.raw.enforce_content_length = True
    # many servers declare the compression of a .gz to be one of the transport, which is undone on arrival
    if urlsplit(response.url).path.lower().endswith(_COMPRESSED):
        response.raw.headers.pop("Content-Encoding", None)


class _Bar:
    """A progress bar with the four methods that pooch calls, which ends a download that is too large.

    Parameters
    ----------
    file : str
        What is shown beside the bar.
    shown : bool
        Otherwise silent.
    limit : int
        Bytes that a download may have. `written` is the path of the file that grows.
    """

    def __init__(self, file: str, shown: bool, limit: int) -> None:
        self._file, self._limit, self.written = file, limit, ""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console("stderr"),
            disable=not shown,
        )
        self._task = self._progress.add_task(file, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def total(self) -> float | None:
        """Bytes to come; None where the server does not say."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, n_bytes: int) -> None:
        # pooch sets it at the start of each try
        require_size(n_bytes, self._limit, self._file)
        self._progress.update(self._task, total=n_bytes or None, completed=0)

    def update(self, n_bytes: int) -> None:
        """Move on; what pooch counts is not exact."""
        self._progress.advance(self._task, n_bytes)
        # what is written may be more than what arrived, where the server compresses
        require_size(os.path.getsize(self.written), self._limit, self._file)

    def reset(self) -> None:
        """Go back to the start."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Do nothing: a context closes the bar, also after a failure."""


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keep pooch from telling each download on standard error."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _may_pass(error: requests.RequestException) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    if isinstance(error, requests.exceptions.SSLError):
        return False
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}".rstrip()
    causes = list(_causes(error))
    if any(isinstance(cause, requests.Timeout | TimeoutError | ReadTimeoutError) for cause in causes):
        return f"no answer within {TIMEOUT:g} s"
    if any(isinstance(cause, requests.exceptions.ChunkedEncodingError | ConnectionResetError) for cause in causes):
        return "the connection was cut before the end of the file"
    return _words_of_the_system(error)


def _words_of_the_system(error: OSError) -> str:
    # pooch and requests wrap what the system says in longer errors of their own
    for cause in _causes(error):
        if isinstance(cause, OSError) and isinstance(cause.strerror, str):
            return cause.strerror[:1].lower() + cause.strerror[1:]
    return " ".join(str(error).split())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
