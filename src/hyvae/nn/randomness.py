"""Random numbers of one training: from generators of its own, so that trainings may run side by side in threads.

torch's global state is neither read nor written inside `seeded`. Outside, where no training is running, draws come from
it, as torch's own layers do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from hyvae.nn import kernels

_KEYS = 2**63 - 1


class Generators:
    """A generator for each device that something is drawn on, all from one seed; made when first asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._made: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator:
        """That of a device."""
        if device not in self._made:
            self._made[device] = torch.Generator(device).manual_seed(self.seed)
        return self._made[device]


# of the thread: one that a training starts by itself has none
_current: ContextVar[Generators | None] = ContextVar("generators", default=None)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, on every device."""
    token = _current.set(Generators(seed))
    try:
        yield
    finally:
        _current.reset(token)


def generator(device: torch.device | str = "cpu") -> torch.Generator | None:
    """What a draw on `device` takes as its ``generator=``; None, which is torch's own, outside of `seeded`."""
    current = _current.get()
    return None if current is None else current.on(torch.device(device))


def draw_key() -> int:
    """A key for the choices that are a function of a counter."""
    return int(torch.randint(_KEYS, (), device="cpu", generator=generator()))


def draw_normal(like: Tensor) -> Tensor:
    """Standard normal numbers, shape, type and device of `like`, drawn one after the other."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator(like.device))


def normal_like(x: Tensor) -> Tensor:
    """Standard normal numbers, shape and type of `x`: one key is drawn, and hashed on all threads."""
    return kernels.normal(x.detach(), draw_key())
