"""Schedules against closed forms and torch's own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.nn.schedules import constant, kl_weight, one_cycle

progress = st.floats(0, 1)


def torch_one_cycle(steps):
    """Factors of torch's OneCycleLR, one a step."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1.0, total_steps=steps)
    factors = []
    for _ in range(steps):
        factors.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if len(factors) < steps:
            schedule.step()
    return factors


@settings(deadline=None)
@given(progress, st.floats(0, 10))
def test_kl_weight_without_warmup_is_beta(at, beta):
    assert kl_weight(at, beta, 0.0) == beta


@settings(deadline=None)
@given(progress, st.floats(0, 10), st.floats(0.01, 1))
def test_kl_weight_is_a_ramp_to_beta(at, beta, warmup):
    wanted = beta * at / warmup if at < warmup else beta
    assert kl_weight(at, beta, warmup) == pytest.approx(wanted)


def test_kl_weight_starts_at_zero_and_is_half_way_half_way():
    assert [kl_weight(at, 0.2, 0.5) for at in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.1, 0.2, 0.2]


@settings(deadline=None)
@given(progress)
def test_constant(at):
    assert constant(at) == 1


def test_one_cycle_meets_its_three_points():
    assert one_cycle(0.0) == pytest.approx(1 / 25)
    assert one_cycle(0.3) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(1e-4 / 25)


@settings(deadline=None)
@given(st.floats(0, 0.2999))
def test_one_cycle_rises_on_a_cosine(at):
    assert one_cycle(at) == pytest.approx(1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * at / 0.3)) / 2)


@settings(deadline=None)
@given(st.floats(0.3, 1))
def test_one_cycle_falls_on_a_cosine(at):
    end = 1e-4 / 25
    assert one_cycle(at) == pytest.approx(end + (1 - end) * (1 + math.cos(math.pi * (at - 0.3) / 0.7)) / 2)


def test_one_cycle_falls_as_torchs_does():
    # torch's own peak is a step earlier: it counts the last step as the end, we count what comes after it
    steps = 100
    theirs = torch_one_cycle(steps)
    for step in range(30, steps):
        assert one_cycle((step + 1) / steps) == pytest.approx(theirs[step], abs=1e-12)


def test_one_cycle_is_torchs_up_to_a_step():
    steps = 1000
    slope = math.pi / 2 / 300
    for step, factor in enumerate(torch_one_cycle(steps)):
        assert abs(one_cycle(step / steps) - factor) < 1.1 * slope
