"""Honest clients beside hostile ones: does any honest answer fail, how late are they, how much memory is taken?

    .venv/bin/python benchmarks/serving/hostile.py [RUN] [--seconds 20] [KIND ...]

A real service, with its default limits. 16 honest clients, each from an address of its own, ask for a list four times
a second, half of them for a known user. Then 8 hostile ones from other loopback addresses do one kind of harm beside
them. Without RUN, the preset `fast` is trained on MovieLens small. Prints a table and ends with 1 where a bar is
missed: an honest answer failed, their p99 is more than 5 times what it is without the hostile ones, or memory grew by
more than 32 MiB. Memory is counted from when each large question was answered twice, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HONEST, EVERY, HOSTILE, GIVEN = 16, 0.25, 8, 12
MOST_TIMES, MOST_MIB = 5.0, 32.0
ROUNDS = 4
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(method: str, path: str, body: Any = None) -> bytes:
    """As bytes, ready to be sent."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "content-type: application/json\r\n" if content else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def answer(reader: asyncio.StreamReader) -> int:
    """Read an answer whole; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12])


def rated(ids: list[int], number: int) -> list[dict[str, Any]]:
    return [{"item": item, "rating": 4} for item in ids[:number]]


# -- what hostile clients do --------------------------------------------------------------------------------


class Kind(NamedTuple):
    """One kind of harm: what each of some connections of each hostile address does, again and again."""

    name: str
    connections: int
    does: Callable[[Streams, list[int]], Awaitable[None]]


def asking(*requests: Callable[[list[int]], bytes]) -> Callable[[Streams, list[int]], Awaitable[None]]:
    """Send requests one after the other, and read each answer."""
    kept: dict[Callable[[list[int]], bytes], bytes] = {}

    async def does(streams: Streams, ids: list[int]) -> None:
        reader, writer = streams
        while True:
            for make in requests:
                if make not in kept:
                    kept[make] = make(ids)
                writer.write(kept[make])
                await writer.drain()
                await answer(reader)

    return does


def endless(head: bytes, again: bytes, every: float = 0.0) -> Callable[[Streams, list[int]], Awaitable[None]]:
    """Begin something, and never come to its end."""

    async def does(streams: Streams, ids: list[int]) -> None:
        writer = streams[1]
        writer.write(head)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(every)

    return does


async def silent(streams: Streams, ids: list[int]) -> None:
    await streams[0].read()


async def never_reading(streams: Streams, ids: list[int]) -> None:
    body = {"ratings": rated(ids, 1), "items": ids[:1000], "distribution": True}
    for _ in range(20):
        streams[1].write(request("POST", "/v1/predict", body))
        await asyncio.sleep(1)


HUGE = "9" * 20
BATCH, PREDICT, RECOMMEND = "/v1/recommend/batch", "/v1/predict/batch", "/v1/recommend"
HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = HEAD + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"

SLOW = HEAD + b"content-length: 900000\r\n\r\n" + b" " * 60_000


def lists(number: int, n: int, **more: Any) -> Callable[[list[int]], bytes]:
    def make(ids: list[int]) -> bytes:
        return request("POST", BATCH, {"requests": [{"ratings": rated(ids, 1), "n": n, **more}] * number})

    return make


def title(ids: list[int]) -> bytes:
    return request("POST", RECOMMEND, {"ratings": [{"item": "a title that nothing has", "rating": 4}]})


KINDS = [
    Kind(
        "ids beyond 64 bits, on every route",
        4,
        asking(
            lambda ids: request("POST", RECOMMEND, {"user": HUGE}),
            lambda ids: request("POST", "/v1/predict", {"user": HUGE, "items": ids[:1]}),
            lambda ids: request("POST", "/v1/predict", {"user": 1, "items": [HUGE]}),
            lambda ids: request("POST", "/v1/predict/pairs", {"pairs": [{"user": HUGE, "item": ids[0]}]}),
            lambda ids: request("POST", "/v1/explain", {"user": HUGE, "item": ids[0]}),
            lambda ids: request("POST", BATCH, {"requests": [{"user": HUGE}] * 20}),
            lambda ids: request("GET", f"/v1/items/{HUGE}/similar"),
        ),
    ),
    Kind("100 lists of 500, diverse", 4, asking(lists(100, 500, diversity=0.5))),
    Kind("as many long, diverse lists as are allowed", 4, asking(lists(14, 500, diversity=0.5))),
    Kind("100 lists of 100", 4, asking(lists(100, 100))),
    Kind(
        "explain with 5,000 ratings",
        30,
        asking(lambda ids: request("POST", "/v1/explain", {"ratings": rated(ids, 5000), "item": ids[5000]})),
    ),
    Kind(
        "100 × 1,000 distributions",
        4,
        asking(
            lambda ids: request(
                "POST",
                PREDICT,
                {"requests": [{"ratings": rated(ids, 1), "items": ids[:1000], "distribution": True}] * 100},
            )
        ),
    ),
    Kind(
        "as many distributions as are allowed",
        4,
        asking(
            lambda ids: request(
                "POST",
                PREDICT,
                {"requests": [{"ratings": rated(ids, 1), "items": ids[:1000], "distribution": True}] * 5},
            )
        ),
    ),
    Kind(
        "100 titles of 165 characters that nothing has",
        4,
        asking(
            lambda ids: request(
                "POST", BATCH, {"requests": [{"ratings": [{"item": "word " * 33, "rating": 4}]}] * 100}
            ),
            title,
            lambda ids: request("GET", "/v1/items?query=" + "nothing" * 10),
        ),
    ),
    Kind(
        "1 MB of ratings",
        4,
        asking(lambda ids: request("POST", BATCH, {"requests": [{"ratings": rated(ids, 400)}] * 80})),
    ),
    Kind(
        "1 MB of empty lists",
        4,
        asking(lambda ids: request("POST", RECOMMEND, b'{"ratings":[' + b",".join([b"[]"] * 300_000) + b"]}")),
    ),
    Kind("small requests as fast as answers come", 20, asking(lambda ids: request("GET", "/v1/items"))),
    Kind(
        "/readyz and /metrics as fast as answers come",
        10,
        asking(*(lambda ids, p=p: request("GET", p) for p in ("/readyz", "/metrics"))),
    ),
    Kind("headers without end", 1, endless(HEAD, b"x-more: " + b"y" * 60_000 + b"\r\n")),
    Kind("one header without end", 1, endless(HEAD + b"x-more: ", b"y" * 65_536)),
    Kind("trailers without end", 1, endless(CHUNKED + b"2\r\n{}\r\n0\r\n", b"x-more: " + b"y" * 60_000 + b"\r\n")),
    Kind("silent connections", 120, silent),
    Kind("a header a second", 120, endless(HEAD, b"x-more: y\r\n", 1.0)),
    Kind(
        "a byte of a body a second", 120, endless(HEAD + b"content-length: 900000\r\n\r\n" + b" " * 60_000, b" ", 1.0)
    ),
    Kind("answers that are never read", 20, never_reading),
    Kind("100,000 requests before the first answer", 1, endless(b"", b"GET / HTTP/1.1\r\n\r\n" * 4_000)),
]


async def attack(kind: Kind, port: int, ids: list[int]) -> None:
    """All connections of all hostile addresses, opened again where they are closed, until the process is ended."""

    async def one(address: str) -> None:
        while True:
            writer = None
            with contextlib.suppress(OSError, EOFError, ValueError, AttributeError):
                streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=2**23)
                writer = streams[1]
                await kind.does(streams, ids)
            if writer is not None:
                writer.transport.abort()
            await asyncio.sleep(0.25)

    await asyncio.gather(*(one(f"127.0.0.{2 + each % HOSTILE}") for each in range(HOSTILE * kind.connections)))


# -- what honest clients do ---------------------------------------------------------------------------------


class Found(NamedTuple):
    """Milliseconds of each answer, and what failed."""

    times: list[float]
    failed: list[str]

    def add(self, other: Found) -> None:
        self.times.extend(other.times)
        self.failed.extend(other.failed)

    def p99(self) -> float:
        return float(np.percentile(self.times, 99)) if self.times else float("inf")


async def honest(port: int, seconds: float, ids: list[int], users: list[int]) -> Found:
    """Ask four times a second from each address, whether or not the service is busy."""
    found = Found([], [])
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        rng = np.random.default_rng(number)
        streams: Streams | None = None
        due = time.perf_counter() + EVERY * number / HONEST
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += EVERY
            given = [{"item": int(item), "rating": 4} for item in rng.choice(ids, GIVEN, replace=False)]
            body = {"user": int(rng.choice(users))} if rng.random() < 0.5 else {"ratings": given}
            started = time.perf_counter()
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.1.{1 + number}", 0))
                streams[1].write(request("POST", RECOMMEND, body))
                status = await asyncio.wait_for(answer(streams[0]), 15)
                if status != 200:
                    found.failed.append(str(status))
                found.times.append(1000 * (time.perf_counter() - started))
            except (OSError, EOFError, TimeoutError) as error:
                found.failed.append(type(error).__name__)
                streams = None

    await asyncio.gather(*(one(number) for number in range(HONEST)))
    return found


async def everything(port: int, ids: list[int]) -> None:
    """Each large question twice, one after the other: what the service takes for these it takes once."""
    large = [
        lists(100, 100)(ids),
        lists(14, 500, diversity=0.5)(ids),
        request(
            "POST", PREDICT, {"requests": [{"ratings": rated(ids, 1), "items": ids[:1000], "distribution": True}] * 5}
        ),
        request("POST", "/v1/explain", {"ratings": rated(ids, 5000), "item": ids[5000]}),
        title(ids),
        request("GET", "/v1/map"),
        request("GET", "/metrics"),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.2.1", 0), limit=2**23)
    for each in large * 2:
        writer.write(each)
        while await answer(reader) == 429:
            await asyncio.sleep(1)
            writer.write(each)
    writer.close()


# -- the service and the table ------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(run: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """A service of its own; its process and its port."""
    command = [sys.executable, "-m", "hyvae", "serve", str(run), "--port", "0"]
    token = {"HYVAE_TOKEN": "only-for-this-load-test"}
    service = subprocess.Popen(
        [*command, "--database", f"sqlite:///{folder}/events.db"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | token,
    )
    try:
        assert service.stderr is not None
        port = next(int(said[1]) for line in service.stderr if (said := re.search(r'"port": (\d+)', line)))
        # what it says later is thrown away, or it would stop to wait for a reader
        threading.Thread(target=lambda: [None for _ in service.stderr], daemon=True).start()
        yield service.pid, port
    finally:
        service.terminate()
        service.wait()


def memory(pid: int) -> float:
    """MiB that a process holds now."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@contextlib.contextmanager
def watching(pid: int) -> Iterator[list[float]]:
    """Collect the memory of a process, four times a second."""
    seen, stop = [memory(pid)], threading.Event()

    def watch() -> None:
        while not stop.wait(0.25):
            seen.append(memory(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def row(kind: Kind, run: Path, seconds: float, ids: list[int], users: list[int]) -> bool:
    """Measure one kind, and print it; whether it keeps to the bars."""
    with tempfile.TemporaryDirectory() as folder, serving(run, Path(folder)) as (pid, port):
        asyncio.run(everything(port, ids))
        asyncio.run(honest(port, 3, ids, users))
        quiet, beside = Found([], []), Found([], [])
        with watching(pid) as seen:
            # the machine of the hostile ones is another: here they must not take the honest ones' turns
            command = ["nice", sys.executable, __file__, "--attack", kind.name, "--port", str(port)]
            hostile = subprocess.Popen(command, stdin=subprocess.PIPE)
            assert hostile.stdin is not None
            hostile.stdin.write(json.dumps(ids).encode())
            hostile.stdin.close()
            try:
                for _ in range(ROUNDS):  # in turns: a machine is not equally fast all the time
                    hostile.send_signal(signal.SIGSTOP)
                    time.sleep(2)
                    quiet.add(asyncio.run(honest(port, seconds / ROUNDS, ids, users)))
                    hostile.send_signal(signal.SIGCONT)
                    beside.add(asyncio.run(honest(port, seconds / ROUNDS, ids, users)))
            finally:
                hostile.kill()
                hostile.wait()
    grown = max(seen) - seen[0]
    times = beside.p99() / quiet.p99()
    missed = [
        *(["failed"] if beside.failed or quiet.failed else []),
        *(["late"] if times > MOST_TIMES else []),
        *(["memory"] if grown > MOST_MIB else []),
    ]
    failed = ", ".join(f"{beside.failed.count(each)} × {each}" for each in sorted(set(beside.failed))) or "0"
    print(
        f"| {kind.name} | {len(beside.times)} | {failed} | {quiet.p99():.0f} | {beside.p99():.0f} | {times:.1f} | "
        f"{grown:.0f} | {', '.join(missed) or 'yes'} |",
        flush=True,
    )
    return not missed


def trained(folder: Path) -> Path:
    from hyvae import HyVAE, Ratings

    run = folder / "run"
    HyVAE(preset="fast").fit(*Ratings.read("movielens-small").split(seed=0)[:2], seed=0).save(run)
    return run


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("run", nargs="?", type=Path)
    arguments.add_argument("--kinds", nargs="*", default=[], metavar="TEXT", help="only kinds whose names hold these")
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--attack", help=argparse.SUPPRESS)
    arguments.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.attack:
        kind = next(each for each in KINDS if each.name == given.attack)
        asyncio.run(attack(kind, given.port, json.load(sys.stdin)))
        return
    from hyvae import Recommender

    with tempfile.TemporaryDirectory() as folder:
        run = given.run or trained(Path(folder))
        history = Recommender.load(run).history
        ids = np.random.default_rng(0).permutation(history.items.ids).tolist()
        print("| hostile clients send | answers | failed | p99 without | p99 beside, ms | times | MiB more | kept |")
        print("|---|---:|---:|---:|---:|---:|---:|---|")
        kinds = [each for each in KINDS if not given.kinds or any(text in each.name for text in given.kinds)]
        kept = [row(kind, run, given.seconds, ids, history.users.ids.tolist()) for kind in kinds]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
