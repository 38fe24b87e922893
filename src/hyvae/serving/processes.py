"""Running the service: one process, or several behind one socket, whose run is reloaded by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI

from hyvae.cores import usable_cores
from hyvae.errors import ConfigError
from hyvae.serving.app import create_app, reload_run
from hyvae.serving.observing import SHARED_FOLDER, log, log_to_stderr
from hyvae.serving.problems import Problem
from hyvae.serving.settings import Settings

#: seconds that requests have to end when the service is stopped
GRACE = 15
#: seconds before a process that ended by itself is started again
_PAUSE = 1.0
#: seconds that a line of the log may wait to be written
_LINES_WAIT = 0.2
_BACKLOG = 2048


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
        _Supervisor(settings, listening, Path(folder)).run()


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
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=75,
        lifespan="on",
    )


def _serve(settings: Settings, listening: socket.socket, told: Callable[[int], None] | None = None) -> None:
    """One process."""
    lines = log_to_stderr()
    torch.set_num_threads(max(1, usable_cores() // settings.workers))
    app = create_app(settings)
    # what is there now stays: to look through it for garbage, again and again, would stop every answer meanwhile
    gc.collect()
    gc.freeze()
    server = uvicorn.Server(server_config(app))
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


class _Supervisor:
    """Keeps several processes running."""

    def __init__(self, settings: Settings, listening: socket.socket, shared: Path) -> None:
        self.settings = settings.model_copy(update={"supervisor": os.getpid()})
        self.listening, self.shared = listening, shared
        # spawned: a fork would take torch's threads along half
        self.context = multiprocessing.get_context("spawn")
        self.processes: list[BaseProcess] = []
        self.stopping = False

    def run(self) -> None:
        """Start all, start again what ends, pass signals on."""
        log_to_stderr()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        self.processes = [self._started() for _ in range(self.settings.workers)]
        while not self.stopping:
            for place, process in enumerate(self.processes):
                process.join(timeout=0.2)
                if not process.is_alive() and not self.stopping:
                    log.error("a process ended", extra={"facts": {"pid": process.pid, "code": process.exitcode}})
                    time.sleep(_PAUSE)
                    self.processes[place] = self._started()
        for process in self.processes:
            process.join(GRACE + 5)
            if process.is_alive():
                process.kill()

    def _started(self) -> BaseProcess:
        process = self.context.Process(target=_serve, args=(self.settings, self.listening), daemon=True)
        process.start()
        return process

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True
        for process in self.processes:
            if process.is_alive():
                process.terminate()

    def _pass_on(self, number: int, frame: object) -> None:
        for process in self.processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)
