"""RMSprop whose cost grows with the rows that a batch touches, not with the size of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from hyvae.nn import kernels


class RMSprop(torch.optim.Optimizer):
    """RMSprop (Tieleman & Hinton 2012) that gives a sparse gradient's untouched rows the very same course, for nothing.

    v ← α·v + (1 − α)·g²;  w ← w − lr · g / (√v + ε). A row whose gradient is zero keeps its weights, and its v decays
    by α a step: that is made up for, exactly, when the row is touched again. Equal to `torch.optim.RMSprop` without
    momentum where no row's gradient is left out.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
    alpha, eps : float
        Defaults of torch.
    weight_decay : float
        Times the weights, added to the gradient; of a sparse gradient, in its rows only.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step along the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "latest" in state:  # torch gives all tensors but the step the type of the weights
                state["latest"] = state["latest"].to(torch.int32)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # a tensor, as in torch's optimisers
            state["square_avg"] = torch.zeros_like(parameter)
        state["step"] += 1
        rows, step = None, int(state["step"])
        if gradient.is_sparse:
            rows, gradient = _rows(gradient)
            if "latest" not in state:
                state["latest"] = torch.full((len(parameter),), step - 1, dtype=torch.int32, device=parameter.device)
        kernels.rmsprop_(
            parameter,
            state["square_avg"],
            state.get("latest"),
            rows,
            gradient,
            step,
            group["alpha"],
            group["lr"],
            group["eps"],
            group["weight_decay"],
        )


def _rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers and values of a sparse gradient's rows, each once."""
    rows = gradient._indices()[0]
    # autograd forgets that a gradient is coalesced, and coalescing again costs more than the step
    if not gradient.is_coalesced() and not bool((rows.diff() > 0).all()):
        gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()
