"""Running the service: one process, or several behind one socket, whose run is reloaded by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI

from hyvae.cores import usable_cores
from hyvae.errors import ConfigError, HyvaeError
from hyvae.serving.app import create_app, reload_run
from hyvae.serving.connections import bounded
from hyvae.serving.observing import SHARED_FOLDER, log, log_to_stderr
from hyvae.serving.problems import Problem
from hyvae.serving.settings import Settings
from hyvae.serving.supervising import GRACE, Supervisor, end_with_parent, let_in_no_more

#: proxies whose X-Forwarded-For is believed: addresses or networks, with commas; nobody's by default
PROXIES = "FORWARDED_ALLOW_IPS"
#: seconds in which those whom a service that stops has let in can still ask
LINGER = 1.0
#: files and connections that a process must be able to have open at once, and as many as it asks the system for
FEWEST_FILES, WANTED_FILES = 256, 4096
#: seconds that a line of the log may wait to be written
_LINES_WAIT = 0.2
_BACKLOG = 2048
_SWITCH = 0.001


def run(settings: Settings, told: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP reloads the run, in all processes.

    Parameters
    ----------
    told : callable
        Told the port, once the run is loaded.

    Raises
    ------
    HyvaeError
        The run cannot be loaded, the store not be opened, or the address not be bound.
    """
    require_files()
    listening = _bound(settings)
    if settings.workers == 1:
        _serve(settings, listening, told)
        return
    # once here, so that what is wrong is said once, and before anything is started
    create_app(settings).state.service.close()
    gc.collect()
    told(listening.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="hyvae-") as folder:
        os.environ[SHARED_FOLDER] = folder
        Supervisor(settings, listening, _work).run()


def require_files() -> None:
    """Let this process have many files open.

    Raises
    ------
    ConfigError
        It may not: it would start, and be able to answer nobody.
    """
    try:
        import resource
    except ImportError:  # not on every system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < WANTED_FILES:
        soft = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < FEWEST_FILES:
            raise ConfigError(
                f"only {soft} files and connections may be open at once, and the service needs {FEWEST_FILES}; "
                f"raise the limit: ulimit -n {WANTED_FILES}"
            )


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        where = f"{settings.host}:{settings.port}"
        raise ConfigError(f"cannot listen at {where}: {error.strerror}; name another --port or --host") from error
    listening.listen(_BACKLOG)
    listening.set_inheritable(True)
    return listening


def server_config(app: FastAPI) -> uvicorn.Config:
    """How the application is served, here and in tests."""
    proxies = os.environ.get(PROXIES, "")
    return uvicorn.Config(
        app,
        http=bounded(app.state.settings),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=75,
        lifespan="on",
        # uvicorn believes whoever asks from this machine, so that a limit of one address would be none
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
    )


class Server(uvicorn.Server):
    """Stops without cutting off whom it has let in."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in, answer who was let in before, and stop."""
        doors = [listening.dup() for listening in sockets or []]
        for door in doors:
            let_in_no_more(door)
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        # after their next answer they are to go
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(0)
        for door in doors:
            await self._answer_who_waits(door)
        end = time.monotonic() + LINGER
        while self.server_state.connections and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    async def _answer_who_waits(self, door: socket.socket) -> None:
        """Take what the kernel has let in and nobody has taken: with the door, it would be cut off."""
        waiting = []
        with door, contextlib.suppress(OSError):
            door.setblocking(False)
            while True:
                waiting.append(door.accept()[0])
        loop = asyncio.get_running_loop()
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def _work(settings: Settings, listening: socket.socket) -> None:
    """One process of several: what is wrong is one line of the log."""
    end_with_parent()
    log_to_stderr()
    try:
        _serve(settings, listening)
    except HyvaeError as error:
        log.error("cannot serve", extra={"facts": {"reason": str(error)}})
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        log.exception("failed")
        sys.exit(1)


def _serve(settings: Settings, listening: socket.socket, told: Callable[[int], None] | None = None) -> None:
    """One process."""
    lines = log_to_stderr()
    # the thread that reads requests waits no longer than this for one that answers
    sys.setswitchinterval(_SWITCH)
    torch.set_num_threads(max(1, usable_cores() // settings.workers))
    app = create_app(settings)
    # what is there now stays: to look through it for garbage, again and again, would stop every answer meanwhile
    gc.collect()
    gc.freeze()
    server = Server(server_config(app))
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        # of one that is refused the log says why, and the run before goes on
        with contextlib.suppress(Problem):
            await reload_run(app.state.service, app.state.metrics)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def on_hangup() -> None:
            task = loop.create_task(reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        async def write_lines() -> None:
            while True:
                lines.flush()
                await asyncio.sleep(_LINES_WAIT)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        writing = loop.create_task(write_lines())
        host, port = listening.getsockname()[:2]
        log.info("serving", extra={"facts": {"host": host, "port": port, "run": app.state.service.engine.fingerprint}})
        if told is not None:
            told(port)
        await server.serve(sockets=[listening])
        writing.cancel()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every system
        return None
    return uvloop.new_event_loop
