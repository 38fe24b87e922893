"""Several processes kept running: started again when they end, ended with the one that started them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess

from hyvae.errors import ConfigError
from hyvae.serving.observing import log, log_to_stderr
from hyvae.serving.settings import Settings

#: seconds that requests have to end when the service is stopped
GRACE = 15
#: seconds before a process that ended is started again: doubled each time, until it has run for a minute
_SHORTEST_PAUSE, _LONGEST_PAUSE, _STEADY = 1.0, 60.0, 60.0
#: times that every process may end, one after the other, until the service is given up
_MOST_ENDS = 5


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        # requests that are being answered may end
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE + 5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def pause_after(ends: int) -> float:
    """Seconds before a process that ended so many times in a row is started again."""
    return min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2 ** min(ends - 1, 20))


@dataclass
class _Place:
    """One of the processes: which one it is now, when it was started or is to be, how often it ended in a row."""

    process: BaseProcess | None = None
    since: float = 0.0
    due: float = 0.0
    ends: int = 0

    @property
    def given_up(self) -> bool:
        return self.process is None and self.ends >= _MOST_ENDS


class Supervisor:
    """Keeps several processes running.

    Parameters
    ----------
    settings : Settings
    listening : socket
        That all of them accept connections from.
    work : callable
        What a process does with both.
    """

    def __init__(
        self, settings: Settings, listening: socket.socket, work: Callable[[Settings, socket.socket], None]
    ) -> None:
        self.settings = settings.model_copy(update={"supervisor": os.getpid()})
        self.listening, self.work = listening, work
        # spawned: a fork would take torch's threads along half
        self.context = multiprocessing.get_context("spawn")
        self.places = [_Place() for _ in range(settings.workers)]
        self.stopping = False

    def run(self) -> None:
        """Start all, start again what ends, pass signals on.

        Raises
        ------
        ConfigError
            None of them stays up.
        """
        log_to_stderr()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        with _woken_by_signals() as woken:
            while not self.stopping and not all(place.given_up for place in self.places):
                for place in self.places:
                    self._look_after(place, time.monotonic())
                waited = [place.process.sentinel for place in self.places if place.process is not None]
                for ready in connection.wait([*waited, woken], self._longest_wait()):
                    if ready is woken:
                        woken.recv(4096)
        self._end()
        if not self.stopping:
            raise ConfigError("no process of the service stays up; the lines above say why")

    def _look_after(self, place: _Place, now: float) -> None:
        if place.process is None:
            if now >= place.due and not self.stopping:
                place.process, place.since = self._started(), now
        elif not place.process.is_alive():
            place.ends = 1 if now - place.since >= _STEADY else place.ends + 1
            place.due = now + pause_after(place.ends)
            facts = {"pid": place.process.pid, "code": place.process.exitcode, "again_in_s": pause_after(place.ends)}
            log.error("a process ended", extra={"facts": facts})
            place.process = None

    def _longest_wait(self) -> float | None:
        """Seconds until one of those that ended is to be started."""
        due = [place.due for place in self.places if place.process is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _started(self) -> BaseProcess:
        process = self.context.Process(target=self.work, args=(self.settings, self.listening), daemon=True)
        process.start()
        return process

    def _running(self) -> list[BaseProcess]:
        return [place.process for place in self.places if place.process is not None and place.process.is_alive()]

    def _end(self) -> None:
        # who comes now is turned away by the kernel; the processes answer who was let in
        let_in_no_more(self.listening)
        for process in self._running():
            process.terminate()
        self.listening.close()
        deadline = time.monotonic() + GRACE + 5
        for process in self._running():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True

    def _pass_on(self, number: int, frame: object) -> None:
        for process in self._running():
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)


def let_in_no_more(listening: socket.socket) -> None:
    """Have the kernel keep no queue of new connections: who is let in now would be cut off a moment later."""
    with contextlib.suppress(OSError):  # it is closed already
        listening.listen(0)


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[socket.socket]:
    """A socket that can be read when a signal came, so that whoever waits goes on."""
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(before)
