"""Clients take turns, by the cost of what they ask."""

import asyncio

import pytest

from hyvae.serving.fairness import FairQueue, LoopTurns, QueueFullError, Shares, Turns, network_of


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def filled(longest: int, *entries: tuple[str, float]) -> FairQueue[str]:
    """A queue of entries, a client and a cost each, that are named by their client."""
    queue: FairQueue[str] = FairQueue(longest)
    for client, cost in entries:
        queue.push(client, cost, client)
    return queue


class TestFairQueue:
    def test_one_client_alone_is_served_in_order(self):
        queue: FairQueue[int] = FairQueue(10)
        for entry in range(3):
            queue.push("a", 1.0, entry)
        assert [queue.pop() for _ in range(3)] == [0, 1, 2]

    def test_clients_get_equal_shares_of_the_cost(self):
        queue = filled(100, *[("heavy", 4.0)] * 5, *[("light", 1.0)] * 20)
        served = drained(queue)[:15]
        # for every heavy entry four light ones
        assert served.count("heavy") == 3
        assert served.count("light") == 12

    def test_who_comes_late_is_served_next_however_many_wait(self):
        queue = filled(1_000, *[("busy", 1.0)] * 500)
        for _ in range(100):
            queue.pop()
        queue.push("new", 1.0, "new")
        assert "new" in [queue.pop(), queue.pop()]

    def test_who_was_served_much_does_not_gain_by_an_empty_queue(self):
        queue = filled(100, ("greedy", 50.0), *[("other", 1.0)] * 40)
        queue.pop()
        queue.push("greedy", 50.0, "greedy")
        assert drained(queue) == ["other"] * 40 + ["greedy"]

    def test_what_was_not_served_costs_nothing(self):
        queue = filled(100, ("a", 50.0), ("b", 1.0), ("b", 1.0))
        queue.pop(served=False)
        queue.push("a", 1.0, "a")
        assert "a" in [queue.pop(), queue.pop()]

    def test_a_full_queue_takes_from_whoever_has_most(self):
        queue = filled(4, ("busy", 1.0), ("busy", 1.0), ("busy", 1.0), ("busy", 1.0))
        assert queue.push("new", 1.0, "new") == "busy"
        assert len(queue) == 4
        with pytest.raises(QueueFullError):
            queue.push("busy", 1.0, "busy")
        assert queue.push("new", 1.0, "new") == "busy"
        with pytest.raises(QueueFullError):  # each has two now
            queue.push("new", 1.0, "new")

    def test_clients_that_have_gone_are_forgotten(self):
        queue: FairQueue[int] = FairQueue(4)
        queue.push("stays", 1e9, 0)
        queue.push("stays", 1.0, 0)
        for client in range(100):
            queue.push(str(client), 1.0, client)
            queue.pop()
        assert len(queue._starts) < 20


def test_turns_let_in_what_there_is_room_for_and_what_is_larger_alone():
    async def enter():
        turns, let_in = Turns(room=10, longest=100), []

        async def one(client, size):
            await turns.enter(client, size)
            let_in.append((client, size))

        tasks = [asyncio.create_task(one(client, size)) for client, size in (("a", 50), ("b", 6), ("c", 4), ("a", 9))]
        await asyncio.sleep(0.01)
        seen = [list(let_in)]
        for size in (50, 6):
            turns.leave(size)
            await asyncio.sleep(0.01)
            seen.append(list(let_in))
        turns.leave(4)
        await asyncio.gather(*tasks)
        return seen

    first, second, third = asyncio.run(enter())
    assert first == [("a", 50)]
    assert sorted(second[1:]) == [("b", 6), ("c", 4)]
    assert third == second


def test_who_gives_up_waiting_for_a_turn_takes_none():
    async def enter():
        turns = Turns(room=1, longest=10)
        await turns.enter("a", 1)
        gives_up, waits = (asyncio.create_task(turns.enter(each, 1)) for each in "bc")
        await asyncio.sleep(0.01)
        turns.leave(1)
        gives_up.cancel()  # in the moment in which it was let in
        await asyncio.wait_for(waits, 10)

    asyncio.run(enter())


def test_requests_begin_a_few_at_a_time_clients_in_turn():
    async def begin():
        turns, begun = LoopTurns(longest=100, most=2), []

        async def one(client):
            await turns.take(client, 1.0)
            begun.append(client)

        await asyncio.gather(*(one("busy") for _ in range(20)), one("other"))
        return begun

    begun = asyncio.run(begin())
    assert len(begun) == 21
    assert "other" in begun[:4]


def test_a_share_is_refused_to_who_holds_the_most_and_given_to_others():
    shares = Shares(most=10)
    assert shares.take("a", 25)
    assert not shares.take("a", 1)
    assert shares.take("b", 1)
    shares.give_back("a", 25)
    assert shares.take("a", 1)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (None, "unknown"),
        ("/run/socket", "unknown"),
    ],
)
def test_limits_are_kept_of_an_address_or_of_a_network_of_ipv6(address, network):
    assert network_of(address) == network
