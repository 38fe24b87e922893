"""Questions answered together: nobody waits for company, nobody gets another's answer, clients take turns."""

import asyncio
import threading

import pytest

from hyvae.serving.batching import Batcher
from hyvae.serving.fairness import Asker, QueueFullError, asking


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
    inverting, _ = batcher(lambda questions: [1 / n for n in questions], most=8)

    async def invert():
        return await asyncio.gather(*(inverting.ask(n) for n in (5, 1, 2, 0, 4, 0)), return_exceptions=True)

    *answers, last = asyncio.run(invert())
    assert answers[:3] + answers[4:] == [0.2, 1.0, 0.5, 0.25]
    assert isinstance(answers[3], ZeroDivisionError)
    assert isinstance(last, ZeroDivisionError)


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


def test_work_is_cut_into_slices_and_a_client_of_little_is_in_the_next():
    answering = Answering()
    made = Batcher(answering, most=4, slice_=10, longest=100)

    async def ask(address, question, cost):
        asking.set(Asker(address))
        return await made.ask(question, cost)

    async def all_of_them():
        first = asyncio.create_task(ask("busy", 0, 1))
        while not answering.batches:
            await asyncio.sleep(0.001)
        heavy = [asyncio.create_task(ask("busy", n, 8)) for n in range(100, 106, 2)]
        light = [asyncio.create_task(ask("other", n, 1)) for n in (2, 4)]
        await asyncio.sleep(0.01)
        answering.go.set()
        await asyncio.gather(first, *heavy, *light)

    asyncio.run(all_of_them())
    made.close()
    assert answering.batches[:2] in ([[0], [100, 2, 4]], [[0], [2, 4, 100]], [[0], [2, 100, 4]])
    assert answering.batches[2:] == [[102], [104]]
