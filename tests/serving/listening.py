"""The service at a port of this machine."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from hyvae.serving.app import create_app
from hyvae.serving.processes import server_config
from hyvae.serving.settings import Settings

TOKEN = "a-token-that-nobody-guesses"
WRITING = {"authorization": f"Bearer {TOKEN}"}


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """The service at a port of this machine, in a thread, and a client of it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(create_app(settings)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
