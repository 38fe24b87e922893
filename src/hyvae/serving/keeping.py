"""Beside the answers: whether the store can be written, and deleted rows taken out of its files."""

from __future__ import annotations

import threading
import time

from hyvae.ratings import Id
from hyvae.serving.database import SILENT, StoreUnavailableError
from hyvae.serving.events import EventStore
from hyvae.serving.observing import log

#: seconds for which an answer to whether the store can be written holds
FRESH = 2.0
#: seconds that whoever asks may have to wait for it
LONGEST_WAIT = 1.0
#: seconds between two attempts to take deleted rows out of the log
ERASING_PAUSE = 5.0
#: seconds after which the log repeats what is still the matter
_REPEATED = 60.0


class Keeper:
    """Keeps watch over a store, in threads of its own.

    Parameters
    ----------
    store : EventStore
    """

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._asking: threading.Event | None = None
        self._asked_at = -FRESH
        self._trouble: str | None = None
        self._told: tuple[str | None, float] = (None, 0.0)
        self._erasing = False
        # what a process that was killed had still to erase
        self.erase()

    def close(self) -> None:
        """Stop what goes on."""
        self._stop.set()

    def trouble(self) -> str | None:
        """Why the store cannot be written; None where it can. Never waits for longer than a second.

        Returns
        -------
        str or None
            For anyone: the log has the database's own words.
        """
        with self._lock:
            if self._asking is None and time.monotonic() - self._asked_at >= FRESH:
                self._asking = threading.Event()
                threading.Thread(target=self._ask, args=(self._asking,), daemon=True).start()
            asking = self._asking
        if asking is not None and not asking.wait(LONGEST_WAIT):
            # what it was when the last one was answered, if it was anything
            said = self._trouble or SILENT
            if said == SILENT:
                self.tell(StoreUnavailableError(SILENT))
            return said
        return self._trouble

    def _ask(self, asking: threading.Event) -> None:
        found: StoreUnavailableError | None = None
        try:
            self.store.can_write()
        except StoreUnavailableError as error:
            found = error
        except Exception as error:  # whatever it is, nothing was written
            found = StoreUnavailableError(SILENT, repr(error))
        with self._lock:
            self._trouble = None if found is None else found.said
            self._asked_at, self._asking = time.monotonic(), None
        asking.set()
        self.tell(found)

    def tell(self, error: StoreUnavailableError | None) -> None:
        """Tell the log what the matter is, or that nothing is any more; not the same again and again."""
        reason, now = None if error is None else str(error), time.monotonic()
        with self._lock:
            before, at = self._told
            if reason == before and (reason is None or now - at < _REPEATED):
                return
            self._told = (reason, now)
        if reason is None:
            log.info("the store can be used again")
        else:
            log.error("the store cannot be used", extra={"facts": {"reason": reason}})

    def forget(self, user: Id) -> tuple[int, bool | None]:
        """Delete all that was stored of a user, and erase it: one piece of work, which no timeout parts.

        Returns
        -------
        events : int
            That were deleted.
        erased : bool or None
            As `erase` has it.

        Raises
        ------
        StoreUnavailableError
            Nothing was deleted.
        """
        return self.store.forget(user), self.erase()

    def erase(self) -> bool | None:
        """Take deleted rows out of the database's files; where that cannot be done now, it is tried again and again.

        Returns
        -------
        bool or None
            False where it is still to be done. None where the database is PostgreSQL, which does it in its time.
        """
        erased = self._erased()
        if erased is False:
            with self._lock:
                started, self._erasing = self._erasing, True
            if not started:
                log.warning(
                    "the database's log cannot be emptied yet, and may hold deleted rows: another process reads it"
                )
                threading.Thread(target=self._erase, daemon=True).start()
        return erased

    def _erased(self) -> bool | None:
        try:
            return self.store.erase()
        except StoreUnavailableError as error:
            self.tell(error)
            return False

    def _erase(self) -> None:
        while not self._stop.wait(ERASING_PAUSE):
            with self._lock:
                # before it is tried: a row that is deleted during the attempt is not left to it
                self._erasing = False
            if self._erased() is not False:
                log.info("the database's log is emptied")
                return
            with self._lock:
                if self._erasing:  # another thread goes on
                    return
                self._erasing = True
