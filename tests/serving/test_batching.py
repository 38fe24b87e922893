"""Questions answered together: nobody waits for company, nobody gets another's answer."""

import asyncio
import threading

import pytest

from hyvae.serving.batching import Batcher, QueueFullError


class Answering:
    """Doubles numbers, slowly at first; a refusal for each odd one."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, questions):
        self.batches.append(list(questions))
        self.go.wait(10)
        return [ValueError(f"{n} is odd") if n % 2 else 2 * n for n in questions]


def batcher(answering, most=4, longest=100):
    sizes: list[int] = []
    made = Batcher(answering, most=most, longest=longest, told=sizes.append)
    return made, sizes


def test_who_comes_first_is_answered_at_once_and_the_others_together():
    answering = Answering()
    made, sizes = batcher(answering)

    async def ask():
        tasks = [asyncio.create_task(made.ask(0))]
        while not answering.batches:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(made.ask(n)) for n in range(2, 14, 2)]
        await asyncio.sleep(0.01)
        answering.go.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(ask()) == [0, 4, 8, 12, 16, 20, 24]
    assert answering.batches == [[0], [2, 4, 6, 8], [10, 12]]
    assert sizes == [1, 4, 2]
    made.close()


def test_a_refusal_is_one_questions_alone_and_so_is_a_failure():
    answering = Answering()
    answering.go.set()
    made, _ = batcher(answering)

    async def ask(*numbers):
        return await asyncio.gather(*(made.ask(n) for n in numbers), return_exceptions=True)

    first, second, third = asyncio.run(ask(2, 3, 4))
    assert (first, third) == (4, 8)
    assert "3 is odd" in str(second)
    failing, _ = batcher(lambda questions: 1 / 0)

    async def fail():
        return await asyncio.gather(*(failing.ask(n) for n in range(3)), return_exceptions=True)

    assert all(isinstance(each, ZeroDivisionError) for each in asyncio.run(fail()))


def test_who_has_gone_away_is_not_answered_and_more_than_may_wait_are_turned_away():
    answering = Answering()
    made, _ = batcher(answering, most=2, longest=2)

    async def ask():
        first = asyncio.create_task(made.ask(0))
        while not answering.batches:
            await asyncio.sleep(0.001)
        gone, waiting = asyncio.create_task(made.ask(2)), asyncio.create_task(made.ask(4))
        await asyncio.sleep(0.001)
        with pytest.raises(QueueFullError):
            await made.ask(6)
        gone.cancel()
        await asyncio.sleep(0.001)
        answering.go.set()
        return await asyncio.gather(first, waiting)

    assert asyncio.run(ask()) == [0, 8]
    assert answering.batches == [[0], [4]]
