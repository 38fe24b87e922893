"""Hidden ratings: a pure function of (seed, step, rating) with the right share."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.nn import kernels
from hyvae.nn.hiding import visible_ratings

KEYS = torch.arange(50_000)
seeds = st.integers(0, 2**32 - 1)


def hidden_ratings(*arguments):
    return visible_ratings(*arguments) == 0


def independent(a, b):
    """Whether two masks overlap as independent ones would, within five standard errors."""
    expected = float(a.double().mean() * b.double().mean())
    return abs(float((a & b).double().mean()) - expected) < 5 * math.sqrt(expected / len(a))


@settings(deadline=None)
@given(seeds, st.integers(0, 10**6))
def test_the_same_question_has_the_same_answer(seed, step):
    keys = KEYS[:200]
    assert torch.equal(hidden_ratings(seed, step, keys, 0.3), hidden_ratings(seed, step, keys, 0.3))


@settings(deadline=None)
@given(seeds, st.integers(1, 500), st.sampled_from([0.01, 0.1, 0.5, 0.9]))
def test_the_share_is_met(seed, step, share):
    found = float(hidden_ratings(seed, step, KEYS, share).double().mean())
    assert abs(found - share) < 5.5 * math.sqrt(share * (1 - share) / len(KEYS))


def test_share_zero_hides_nothing_and_one_everything():
    assert not hidden_ratings(0, 1, KEYS, 0.0).any()
    assert hidden_ratings(0, 1, KEYS, 1.0).all()


@settings(deadline=None)
@given(seeds, st.integers(0, 1000), st.permutations(range(50)))
def test_any_block_tells_its_own_part(seed, step, order):
    whole = hidden_ratings(seed, step, KEYS[:50], 0.4)
    order = torch.tensor(order)
    assert torch.equal(hidden_ratings(seed, step, KEYS[order], 0.4), whole[order])


@settings(deadline=None)
@given(seeds, st.integers(0, 1000))
def test_a_larger_share_hides_the_same_and_more(seed, step):
    few, many = (hidden_ratings(seed, step, KEYS[:2000], share) for share in (0.1, 0.3))
    assert (many | ~few).all()


def test_steps_are_independent():
    assert independent(hidden_ratings(0, 1, KEYS, 0.3), hidden_ratings(0, 2, KEYS, 0.3))


def test_seeds_are_independent():
    assert independent(hidden_ratings(0, 1, KEYS, 0.3), hidden_ratings(1, 1, KEYS, 0.3))


def test_a_seed_is_not_a_later_step_of_another():
    assert not torch.equal(hidden_ratings(0, 2, KEYS, 0.3), hidden_ratings(1, 1, KEYS, 0.3))


def test_neighbouring_ratings_are_independent():
    hidden = hidden_ratings(3, 4, KEYS, 0.3)
    assert independent(hidden[1:], hidden[:-1])


def test_the_hash_is_splitmix64():
    # the reference outputs of SplitMix64 for state 1234567 (Steele, Lea & Flood 2014; Vigna's splitmix64.c)
    state, gamma, outputs = 1234567, 0x9E3779B97F4A7C15, []
    for _ in range(3):
        outputs.append(kernels.mixed(state))
        state = (state + gamma) % 2**64
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_rating_is_hidden_sooner_or_later():
    keys = KEYS[:1000]
    ever = torch.zeros(1000, dtype=torch.bool)
    for step in range(1, 161):
        ever |= hidden_ratings(0, step, keys, 0.1)
    assert ever.all()
