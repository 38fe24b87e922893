"""RMSprop whose cost grows with the rows that a batch touches, not with the size of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from hyvae.nn import kernels
from hyvae.nn.sparse import table_gradients


class RMSprop(torch.optim.Optimizer):
    """RMSprop (Tieleman & Hinton 2012) that gives the untouched rows of a table the very same course, for nothing.

    v ← α·v + (1 − α)·g²;  w ← w − lr · g / (√v + ε). A row whose gradient is zero keeps its weights, and its v decays
    by α a step: that is made up for, exactly, when the row is touched again. The gradients of touched rows are the
    `TableGradient` that the sparse products leave. Equal to `torch.optim.RMSprop` without momentum, but for the
    `weight_decay` of untouched rows, which are not decayed.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
    alpha, eps : float
        Defaults of torch.
    weight_decay : float
        Times the weights, added to the gradient.
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
                if parameter.grad is not None or table_gradients(parameter):
                    self._move(parameter, group)
        return None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, those left over too."""
        super().zero_grad(set_to_none)
        for group in self.param_groups:
            for parameter in group["params"]:
                table_gradients(parameter).clear()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "latest" in state:  # torch gives all tensors but the step the type of the weights
                state["latest"] = state["latest"].to(torch.int32)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, left_over = self.state[parameter], table_gradients(parameter)
        if not state:
            state["step"] = torch.zeros(())  # a tensor, as in torch's optimisers
            state["square_avg"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = int(state["step"])
        if left_over and "latest" not in state:
            state["latest"] = torch.full((len(parameter),), step - 1, dtype=torch.int32, device=parameter.device)
        weights = parameter, state["square_avg"], state.get("latest")
        numbers = step, group["alpha"], group["lr"], group["eps"], group["weight_decay"]
        if parameter.grad is None and len(left_over) == 1:
            pattern, values, left = left_over[0]
            t = pattern.transpose
            kernels.rmsprop_rows_(*weights, t.touched, t.crow, t.col, t.order, values, left, *numbers)
        else:
            gradient = parameter.grad
            for more in left_over:
                gradient = more.dense() if gradient is None else gradient + more.dense()
            kernels.rmsprop_(*weights, gradient, *numbers)
        left_over.clear()
