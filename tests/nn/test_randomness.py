"""Draws of one training: their own, in every thread, whatever torch's global state is."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

from hyvae.nn import kernels
from hyvae.nn.dense import Linear, full_linear
from hyvae.nn.randomness import draw_key, draw_normal, generator, seeded


def draws() -> list:
    layers = [Linear(30, 20), full_linear(30, 20)]
    weights = [part.detach() for layer in layers for part in (layer.weight, layer.bias)]
    drawn = [draw_normal(torch.empty(100)), torch.rand(7, generator=generator()), torch.tensor(draw_key())]
    return [*weights, *drawn]


def globally() -> list:
    layers = [torch.nn.Linear(30, 20) for _ in range(2)]
    weights = [part.detach() for layer in layers for part in (layer.weight, layer.bias)]
    return [*weights, torch.randn(100), torch.rand(7), torch.randint(2**63 - 1, ())]


def same(one: list, other: list) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_they_are_those_of_torchs_global_generator_with_the_same_seed():
    with seeded(5):
        ours = draws()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        assert same(ours, globally())


def test_the_global_state_is_neither_read_nor_written():
    before = torch.get_rng_state()
    with seeded(5):
        one = draws()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    with seeded(5):
        assert same(one, draws())


def test_outside_of_a_training_they_are_torchs():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        ours = draws()
        torch.manual_seed(5)
        assert generator() is None
        assert same(ours, globally())


def test_one_within_another_ends_with_itself():
    with seeded(1):
        whole = draws()[:1] + draws()[:1]
    with seeded(1):
        first = draws()[:1]
        with seeded(2):
            draws()
        assert same(whole, first + draws()[:1])


def test_threads_draw_each_their_own():
    together = Barrier(2)

    def drawn(seed: int) -> list:
        with seeded(seed):
            found = []
            for _ in range(20):
                together.wait(10)
                found += draws()
            return found

    with ThreadPoolExecutor(2) as threads:
        at_once = list(threads.map(drawn, (1, 2)))
        together = Barrier(1)
        assert all(same(found, drawn(seed)) for found, seed in zip(at_once, (1, 2), strict=True))


def test_plain_torch_is_of_the_thread_that_asked_for_it():
    with ThreadPoolExecutor(1) as threads, kernels.plain_torch():
        assert kernels.way() == "torch"
        assert threads.submit(kernels.way).result() == ("compiled" if kernels._compiled else "torch")
