"""Gaussian latents against torch.distributions, quadrature and sampling."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from hyvae.nn import kernels, latent
from hyvae.nn.latent import LOG_VARIANCE_RANGE, expected_relu, kl_to_standard_normal, sample, total_kl

means = st.floats(-5, 5)
log_variances = st.floats(-6, 4)


def scalar(x):
    return torch.tensor(x, dtype=torch.float64)


@settings(deadline=None)
@given(means, log_variances)
def test_kl_is_torchs(mean, log_variance):
    posterior = torch.distributions.Normal(scalar(mean), scalar(log_variance / 2).exp())
    prior = torch.distributions.Normal(scalar(0.0), scalar(1.0))
    wanted = torch.distributions.kl_divergence(posterior, prior)
    assert float(kl_to_standard_normal(scalar(mean), scalar(log_variance))) == pytest.approx(float(wanted), abs=1e-9)


def test_kl_is_zero_at_the_prior_only():
    assert float(kl_to_standard_normal(scalar(0.0), scalar(0.0))) == 0
    assert float(kl_to_standard_normal(scalar(0.1), scalar(0.0))) > 0
    assert float(kl_to_standard_normal(scalar(0.0), scalar(0.1))) > 0


def test_kl_keeps_the_units_apart():
    assert kl_to_standard_normal(torch.zeros(3, 4), torch.zeros(3, 4)).shape == (3, 4)


def test_samples_have_the_mean_and_the_variance():
    torch.manual_seed(0)
    n = 40_000
    mean, log_variance = torch.tensor([1.0, -2.0]).repeat(n, 1), torch.tensor([0.5, -1.0]).repeat(n, 1)
    z = sample(mean, log_variance)
    deviation = (0.5 * log_variance[0]).exp()
    assert ((z.mean(0) - mean[0]).abs() < 5 * deviation / math.sqrt(n)).all()
    assert ((z.std(0) / deviation - 1).abs() < 5 / math.sqrt(2 * n)).all()


def test_samples_hand_gradients_to_mean_and_variance(monkeypatch):
    monkeypatch.setattr(latent, "normal_like", lambda like: torch.full_like(like, 2.0))
    mean, log_variance = scalar(1.0).requires_grad_(), scalar(0.6).requires_grad_()
    sample(mean, log_variance).backward()
    assert float(mean.grad) == 1
    assert float(log_variance.grad) == pytest.approx(2.0 * 0.5 * math.exp(0.3))


@pytest.mark.parametrize("way", ["compiled", "torch"])
def test_the_total_is_the_sum_and_so_is_its_gradient(way, monkeypatch):
    if way == "torch":
        monkeypatch.setattr(kernels, "_compiled", {})
    torch.manual_seed(0)
    ours = [torch.randn(700, 33).mul(2).requires_grad_() for _ in range(2)]
    theirs = [tensor.detach().double().requires_grad_() for tensor in ours]
    total, wanted = total_kl(*ours), kl_to_standard_normal(*theirs).sum()
    assert float(total.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    (3 * total).backward()
    (3 * wanted).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-5, atol=1e-5)


def test_gradcheck(monkeypatch):
    torch.manual_seed(0)
    noise = torch.randn(3, 4, dtype=torch.float64)
    monkeypatch.setattr(latent, "normal_like", lambda like: noise)
    inputs = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(sample, inputs)
    assert torch.autograd.gradcheck(total_kl, inputs)


def test_variances_within_the_range_cannot_overflow():
    bounds = torch.tensor(LOG_VARIANCE_RANGE)
    assert torch.isfinite(kl_to_standard_normal(torch.zeros(2), bounds)).all()


@settings(deadline=None)
@given(means, st.floats(0.01, 20))
def test_expected_relu_is_the_integral(mean, variance):
    density = stats.norm(mean, math.sqrt(variance))
    top = max(mean, 0) + 12 * math.sqrt(variance)
    wanted, _ = integrate.quad(
        lambda x: x * density.pdf(x), 0, top, points=[mean] if 0 < mean < top else None, limit=200
    )
    assert float(expected_relu(scalar(mean), scalar(variance))) == pytest.approx(wanted, abs=1e-7)


def test_expected_relu_is_the_mean_over_samples():
    torch.manual_seed(0)
    mean, variance = torch.tensor([-1.5, 0.0, 0.7, 3.0]).double(), torch.tensor([2.0, 0.5, 1.0, 4.0]).double()
    n = 100_000
    outputs = torch.relu(mean + variance.sqrt() * torch.randn(n, 4, dtype=torch.float64))
    error = (outputs.mean(0) - expected_relu(mean, variance)).abs()
    assert (error < 5 * outputs.std(0) / math.sqrt(n)).all()


@settings(deadline=None)
@given(means)
def test_expected_relu_without_variance_is_relu(mean):
    assert float(expected_relu(scalar(mean), scalar(0.0))) == pytest.approx(max(mean, 0.0), abs=1e-6)


@settings(deadline=None)
@given(means, st.floats(0.0, 20))
def test_expected_relu_is_above_the_relu_of_the_mean(mean, variance):
    assert float(expected_relu(scalar(mean), scalar(variance))) >= max(mean, 0.0) - 1e-9


def test_expected_relu_is_finite_in_float32_far_from_zero():
    mean = torch.tensor([-1e4, 1e4])
    assert expected_relu(mean, torch.zeros(2)).tolist() == [0.0, 1e4]
