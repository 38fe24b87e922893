"""Diagonal Gaussian latents: sampling, KL divergence, and exact expectations through a ReLU layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyvae.nn import kernels
from hyvae.nn.randomness import normal_like

# σ between e^-5 and e^2.5: wide enough never to bind in a healthy run, narrow enough that exp() cannot overflow
LOG_VARIANCE_RANGE = (-10.0, 5.0)


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        z = kernels.latent(mean, log_variance, noise)
        ctx.save_for_backward(mean, z)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        mean, z = ctx.saved_tensors
        return grad, 0.5 * grad * (z - mean), None


class _KL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_variance: Tensor) -> Tensor:
        ctx.save_for_backward(mean, log_variance)
        return kernels.kl(mean, log_variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return kernels.kl_gradient(*ctx.saved_tensors, grad)


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw z = μ + σ·ε with ε ~ N(0, I) (Kingma & Welling 2014, § 2.4), shape of `mean`."""
    return _Sample.apply(mean, log_variance, normal_like(mean))


def total_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Sum of `kl_to_standard_normal` over all rows and units, in one pass, as is its gradient."""
    return _KL.apply(mean, log_variance)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each unit, in nats, shape of `mean` (Hy-VAE eq. 7, second term)."""
    return 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance)


def expected_relu(mean: Tensor, variance: Tensor) -> Tensor:
    """E[max(0, x)] for x ~ N(mean, variance), exactly: mΦ(m/s) + sφ(m/s).

    A decoder's ReLU layer is followed by a linear head, so this is the mean prediction over all samples of z in
    one pass, without sampling.
    """
    deviation = variance.clamp_min(1e-12).sqrt()
    ratio = mean / deviation
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    return mean * torch.special.ndtr(ratio) + deviation * density
