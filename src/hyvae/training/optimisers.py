"""Adam, and RMSprop whose cost grows with the rows that a batch touches.

Not torch's own: its optimisers import torch's compiler, a second that a training of ten need not wait for, and know no
`TableGradient`. States and groups have the form of torch's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from hyvae.nn import kernels
from hyvae.nn.sparse import table_gradients


class Optimiser(ABC):
    """Groups of parameters with their settings, and what is remembered of each parameter.

    Parameters
    ----------
    params : list of Tensor, or of dict
        Parameters, or groups of them: ``params`` and settings of their own.
    lr : float
    weight_decay : float
        Times the weights, added to the gradient: the gradient of an L2 penalty.
    settings
        Others, over the defaults.
    """

    defaults: ClassVar[dict[str, float]]

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0, **settings: float) -> None:
        groups = [group if isinstance(group, dict) else {"params": [group]} for group in params]
        common = {**self.defaults, "lr": lr, "weight_decay": weight_decay, **settings}
        self.param_groups: list[dict[str, Any]] = [{**common, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None or table_gradients(parameter):
                    state = self.state.setdefault(parameter, {"step": torch.zeros(())})
                    state["step"] += 1
                    self._move(parameter, state, int(state["step"]), group)

    @abstractmethod
    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        """Move one parameter; steps count from 1."""

    def zero_grad(self) -> None:
        """Forget all gradients, those left over too."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
                table_gradients(parameter).clear()

    def state_dict(self) -> dict[str, Any]:
        """Groups and states, parameters by their number."""
        number = {parameter: n for n, parameter in enumerate(self._parameters())}
        groups = [
            {**group, "params": [number[parameter] for parameter in group["params"]]} for group in self.param_groups
        ]
        states = {number[parameter]: dict(state) for parameter, state in self.state.items()}
        return {"state": dict(sorted(states.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises
        ------
        ValueError
            Of other parameters.
        """
        shapes = [len(group["params"]) for group in self.param_groups]
        if [len(group["params"]) for group in state_dict["param_groups"]] != shapes:
            raise ValueError("the optimiser's state is of other parameters")
        for ours, theirs in zip(self.param_groups, state_dict["param_groups"], strict=True):
            ours.update({key: value for key, value in theirs.items() if key != "params"})
        parameters = self._parameters()
        for number, state in state_dict["state"].items():
            parameter = parameters[number]
            self.state[parameter] = {
                # a copy: the state that was given may be somebody's still
                name: value.clone().to(parameter.device if value.dim() else "cpu")
                for name, value in state.items()
            }

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015): m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  w ← w − lr · m̂ / (√v̂ + ε)."""

    # the second moment follows within 100 steps: a run has few steps, and the usual 0.999 would still be warming up
    defaults: ClassVar[dict[str, float]] = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}

    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        if "exp_avg" not in state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        numbers = (group[name] for name in ("beta1", "beta2", "lr", "eps", "weight_decay"))
        kernels.adam_(parameter, state["exp_avg"], state["exp_avg_sq"], parameter.grad, step, *numbers)


class RMSprop(Optimiser):
    """RMSprop (Tieleman & Hinton 2012) that gives the untouched rows of a table the very same course, for nothing.

    v ← α·v + (1 − α)·g²;  w ← w − lr · g / (√v + ε). A row whose gradient is zero keeps its weights, and its v decays
    by α a step: that is made up for, exactly, when the row is touched again. The gradients of touched rows are the
    `TableGradient` that the sparse products leave. Equal to `torch.optim.RMSprop` without momentum, but for the
    `weight_decay` of untouched rows, which are not decayed.
    """

    defaults: ClassVar[dict[str, float]] = {"alpha": 0.99, "eps": 1e-8}

    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        left_over = table_gradients(parameter)
        if "square_avg" not in state:
            state["square_avg"] = torch.zeros_like(parameter)
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
