"""Random draws that leave the caller's random state as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hyvae.nn import kernels

_KEYS = 2**63 - 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, on the CPU and on every CUDA device; restore all states after."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def draw_key() -> int:
    """A key for the choices that are a function of a counter, from torch's random state."""
    return int(torch.randint(_KEYS, (), device="cpu"))


def normal_like(x: Tensor) -> Tensor:
    """Standard normal numbers, shape and type of `x`: one key is drawn, and hashed on all threads."""
    return kernels.normal(x.detach(), draw_key())
