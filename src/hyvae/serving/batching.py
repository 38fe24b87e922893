"""Questions that come at the same time are answered together, and clients take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from hyvae.serving.fairness import FairQueue, QueueFullError, asking

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Collects questions while others are answered; one thread answers them, up to `most` at a time.

    Nothing waits for company: with nobody before it a question is answered at once, alone. Clients get equal shares
    of the thread, by the cost of their questions. A question whose asker has gone is not answered.

    Parameters
    ----------
    answer : callable
        From questions to as many answers, an exception for each that has none. Called in the thread.
    most : int
    slice_ : float
        Cost that one batch may have, unless it is a single question: nobody waits longer for a batch to end.
    longest : int
        Questions that may wait.
    told : callable, optional
        Told the size of each batch.
    name : str
        Of the thread.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        most: int = 1,
        slice_: float = float("inf"),
        longest: int,
        told: Callable[[int], None] = lambda size: None,
        name: str = "answers",
    ) -> None:
        self._answer, self._most, self._slice, self._told = answer, most, slice_, told
        self._waiting: FairQueue[tuple[Q, asyncio.Future[A]]] = FairQueue(longest)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q, cost: float = 1.0) -> A:
        """The answer to a question.

        Raises
        ------
        QueueFullError
            Too many wait.
        """
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        given_way = self._waiting.push(asking.get().address, cost, (question, future))
        if given_way is not None and not given_way[1].done():
            given_way[1].set_exception(QueueFullError())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        try:
            return await future
        finally:
            # an exception would keep this frame, and this frame the exception, with the question
            del future, question, given_way

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            self._told(len(batch))
            answers = await loop.run_in_executor(self._thread, self._answers, [question for question, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _next_batch(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        total = 0.0
        while len(self._waiting) and len(batch) < self._most:
            cost, (_, future) = self._waiting.peek()
            if future.done():  # who asked has gone
                self._waiting.pop(served=False)
                continue
            if batch and total + cost > self._slice:
                break
            batch.append(self._waiting.pop())
            total += cost
        return batch

    def _answers(self, questions: Sequence[Q]) -> Sequence[A | Exception]:
        """Answers of a batch. If it fails, each half is tried alone: only a question at fault has no answer."""
        try:
            return self._answer(questions)
        except Exception as error:
            if len(questions) == 1:
                return [error]
            half = len(questions) // 2
            return [*self._answers(questions[:half]), *self._answers(questions[half:])]

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
