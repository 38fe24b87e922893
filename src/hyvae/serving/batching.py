"""Questions that come at the same time are answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class QueueFullError(Exception):
    """More questions wait than may."""


class Batcher(Generic[Q, A]):
    """Collects questions while others are answered; one thread answers them, up to `most` at a time.

    Nothing waits for company: with nobody before it a question is answered at once, alone.

    Parameters
    ----------
    answer : callable
        From questions to as many answers, an exception for each that has none. Called in the thread.
    most : int
    longest : int
        Questions that may wait.
    told : callable
        Told the size of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        most: int,
        longest: int,
        told: Callable[[int], None],
    ) -> None:
        self._answer, self._most, self._longest, self._told = answer, most, longest, told
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer to a question.

        Raises
        ------
        QueueFullError
            Too many wait.
        """
        if len(self._waiting) >= self._longest:
            raise QueueFullError
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            # who has gone away meanwhile is not answered
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            batch = [(question, future) for question, future in batch if not future.done()]
            if not batch:
                continue
            self._told(len(batch))
            try:
                answers = await loop.run_in_executor(self._thread, self._answer, [question for question, _ in batch])
            except Exception as error:
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
