"""Files and folders that are written whole or not at all, whatever stops the writer."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyvae.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows has no such locks: left-overs stay there
    fcntl = None  # type: ignore[assignment]

#: how the name of what is still being written ends
PART = ".part"
#: how the name of the lock file ends that `held` makes
LOCK = ".lock"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


def cannot_be_written(path: str | Path, error: BaseException) -> str:
    """One line for a place, the system's reason, and the mend.

    Parameters
    ----------
    error : BaseException
        An `OSError`, or what safetensors and Polars make of one: they keep its number in their text only.
    """
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = getattr(error, "errno", None) or (int(found[1]) if found else None)
    reason = getattr(error, "strerror", None) or (os.strerror(number) if number else str(error).splitlines()[0])
    if number in _NO_SPACE:
        mend = "free some space and run again"
    elif number in _NOT_ALLOWED:
        mend = "choose a place where you may write"
    elif number == errno.EBUSY:
        mend = "wait until that ends, or choose another place"
    elif number == errno.EFBIG:
        mend = "raise the limit on the size of files (ulimit -f) and run again"
    else:
        mend = "mend that or choose another place"
    return f"{path} cannot be written: {reason}; {mend}"


def place_of(path: str | Path) -> Path:
    """A path as people write it: ``~`` is their home.

    Raises
    ------
    ConfigError
        A name that Parquet, JSON and messages cannot hold: not UTF-8, or with a NUL in it.
    """
    try:
        if b"\0" in str(path).encode():
            raise ConfigError(f"the path {str(path)!r} has a NUL in it; choose another name")
    except UnicodeEncodeError:
        raise ConfigError(f"the path {str(path)!r} is not UTF-8; rename it, or choose another") from None
    # the function of os.path leaves the home of an unknown user as it is written, where that of pathlib raises
    return Path(os.path.expanduser(path))


def require_regular(file: Path) -> None:
    """Refuse what is not a regular file, or a link to one: a pipe may never speak, and a device never end.

    Raises
    ------
    OSError
    """
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(file))


# -- a file ---------------------------------------------------------------------------------------------


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A sibling to write to, which takes the place of `path` at the end, and is gone if anything fails.

    Its name is always the same, so that what a killed writer left is overwritten. A second writer is refused.

    Raises
    ------
    OSError
    """
    part = path.with_name(f"{path.name}{PART}")
    descriptor = _open_alone(part)
    try:
        try:
            yield part
            _sync(part)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)
    _sync(path.parent)


# -- a place -------------------------------------------------------------------------------------------


@contextmanager
def held(place: Path) -> Iterator[None]:
    """Hold a place for as long as the block runs, so that nobody else who asks for it works on it meanwhile.

    A locked file beside it, ``.NAME.lock``, keeps others away, threads of this process included. The kernel frees the
    lock when its holder dies. A lock file that a killed holder leaves is taken over. On Windows nothing is held.

    Parameters
    ----------
    place : Path
        A file or folder, which need not exist.

    Raises
    ------
    OSError
        With `errno.EBUSY` where another holds it.
    """
    if fcntl is None:
        yield
        return
    # one place may be reached by several names; a circle of links is told where the place is used
    with suppress(RuntimeError):
        place = place.resolve()
    made = [folder for folder in place.parents if not folder.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = place.with_name(f".{place.name}{LOCK}")
    descriptor = _open_alone(lock)
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        # removed while it is locked: whoever opened it before sees that it is not the file there any more
        with suppress(OSError):  # where nothing can be written any more, it stays
            lock.unlink()
        os.close(descriptor)
        with suppress(OSError):  # nothing was written there after all
            for folder in made:
                folder.rmdir()


#: descriptors of the lock files that this process holds
_held: set[int] = set()


def _let_go_after_fork() -> None:
    # a child shares the lock: if it kept the file open, the lock would outlive the parent
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)


# -- a folder -------------------------------------------------------------------------------------------


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, to fill and hand to `replace_folder`; what is left of it at the end is removed.

    So is what killed writers of the same target left. A folder whose writer lives is locked, and left alone.

    Raises
    ------
    OSError
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    folder, descriptor = _new_folder(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _close(descriptor)


def try_folder(target: Path) -> None:
    """See at once whether `staged_folder` could make its folder, whose name is as long as that of this trial.

    Raises
    ------
    OSError
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    trial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.test")
    trial.mkdir()
    trial.rmdir()


def replace_folder(new: Path, target: Path) -> None:
    """Put `new` at the place of `target`, and what was there, if anything, at the place of `new`.

    At one instant where the system can exchange two names (Linux, macOS). Elsewhere with two renames: a writer that
    is killed between them leaves no target, and the next `staged_folder` brings the old one back.

    Raises
    ------
    OSError
    """
    for file in new.iterdir():
        _sync(file)
    try:
        os.rename(new, target)  # nothing is there, or an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _exchange(new, target):
            _rename_both(new, target)
    _sync(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at one instant; whether the system, and the file system, could."""
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux":
        function, arguments = "renameat2", (-100, names[0], -100, names[1], 2)  # AT_FDCWD, RENAME_EXCHANGE
    elif sys.platform == "darwin":
        function, arguments = "renamex_np", (*names, 2)  # RENAME_SWAP
    else:
        return False
    call = getattr(ctypes.CDLL(None), function, None)
    return call is not None and call(*arguments) == 0


def _rename_both(new: Path, target: Path) -> None:
    old = target.with_name(f"{new.name}.old")
    descriptor = _open_locked(target)
    try:
        os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old, target)
            raise
        os.rename(old, new)
    finally:
        _close(descriptor)


def _new_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{PART}")
        folder.mkdir()
        descriptor = _open_locked(folder)
        # before it was locked another writer may have taken it for a left-over
        if folder.exists():
            return folder, descriptor
        _close(descriptor)


def _remove_leftovers(target: Path) -> None:
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}{re.escape(PART)}(\.old)?")
    for folder in [entry for entry in target.parent.iterdir() if ours.fullmatch(entry.name)]:
        descriptor = _open_locked(folder)
        if descriptor is None:
            continue
        if folder.suffix == ".old" and not target.exists():
            os.rename(folder, target)  # killed between the two renames
        shutil.rmtree(folder, ignore_errors=True)
        _close(descriptor)


# -- the system -----------------------------------------------------------------------------------------


def _lock(descriptor: int) -> bool:
    """Take a lock that ends with its holder, however that ends; False if someone has it. Where there are none, True."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _open_alone(file: Path) -> int:
    """Open a file, new or not, under a lock.

    Raises
    ------
    OSError
        With `errno.EBUSY` where it is someone else's.
    """
    while True:
        descriptor = _open_to_lock(file)
        try:
            if not _lock(descriptor):
                raise OSError(errno.EBUSY, "another training or command is writing it")
            # its holder may have renamed or removed it between the two
            if _is_there(file, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open_to_lock(file: Path) -> int:
    """Open a file, new or not: to read, so that its disk can still be made read-only; on NFS, locks need more."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EBADF:
            os.close(descriptor)
            return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    return descriptor


def _is_there(file: Path, descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _open_locked(folder: Path) -> int | None:
    """Open a folder under a lock; None where it is someone else's, is gone, or cannot be locked."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """See a file, or the names in a folder, onto the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no folders
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
