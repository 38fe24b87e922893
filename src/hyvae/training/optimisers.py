"""Adam, RMSprop whose cost grows with the rows that a batch touches, and three that older papers train with.

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
from hyvae.nn.sparse import SparsePattern, TableGradient, forget_table_gradients, table_gradients


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
                    state = self.state.setdefault(parameter, {"step": torch.zeros((), device="cpu")})
                    state["step"] += 1
                    self._move(parameter, state, int(state["step"]), group)
                    forget_table_gradients(parameter)

    @abstractmethod
    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        """Move one parameter; steps count from 1."""

    def zero_grad(self) -> None:
        """Forget all gradients, those left over too."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
                forget_table_gradients(parameter)

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
            self.state[parameter] = {name: _placed(name, value, parameter) for name, value in state.items()}

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


def _placed(name: str, value: Tensor, parameter: Tensor) -> Tensor:
    """A copy of a part of a parameter's state, where the parameter is."""
    if name == "step":
        return value.clone()
    rows = parameter.shape[:1] if name == "latest" else parameter.shape
    if value.shape != rows:
        raise ValueError("the optimiser's state is of other parameters")
    return value.clone().to(parameter.device)


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015): m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  w ← w − lr · m̂ / (√v̂ + ε)."""

    # the second moment follows within 100 steps: a run has few steps, and the usual 0.999 would still be warming up
    defaults: ClassVar[dict[str, float]] = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}

    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        if "exp_avg" not in state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        numbers = (group[name] for name in ("beta1", "beta2", "lr", "eps", "weight_decay"))
        gradient = _sum(parameter.grad, table_gradients(parameter))
        kernels.adam_(parameter, state["exp_avg"], state["exp_avg_sq"], gradient, step, *numbers)


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
        if parameter.grad is not None:
            kernels.rmsprop_(*weights, _sum(parameter.grad, left_over), *numbers)
            return
        pattern, values, left = left_over[0] if len(left_over) == 1 else _together(left_over)
        t = pattern.transpose
        kernels.rmsprop_rows_(*weights, t.touched, t.crow, t.col, t.order, values, left, *numbers)


class Adagrad(Optimiser):
    """AdaGrad (Duchi et al. 2011): G ← G + g²;  w ← w − lr · g / (√G + ε)."""

    defaults: ClassVar[dict[str, float]] = {"eps": 1e-10}

    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        gradient = _decayed(parameter, group)
        if "square_sum" not in state:
            state["square_sum"] = torch.zeros_like(parameter)
        state["square_sum"].addcmul_(gradient, gradient)
        parameter.addcdiv_(gradient, state["square_sum"].sqrt().add_(group["eps"]), value=-group["lr"])


class SGD(Optimiser):
    """Stochastic gradient descent with momentum (Polyak 1964): m ← 0.9·m + g;  w ← w − lr · m."""

    defaults: ClassVar[dict[str, float]] = {"momentum": 0.9}

    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        gradient = _decayed(parameter, group)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


class Rprop(Optimiser):
    """Resilient propagation (Riedmiller & Braun 1993): each weight has a step of its own, and follows only the sign.

    The step grows by 1.2 while the sign holds, shrinks by 0.5 where it turns, and is not taken then (iRprop⁻). For
    full batches: the sign of a noisy gradient says little. `lr` is the first step; later changes of it scale all steps.
    """

    defaults: ClassVar[dict[str, float]] = {"shrink": 0.5, "grow": 1.2, "smallest": 1e-6, "largest": 50.0}

    def _move(self, parameter: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> None:
        gradient = _decayed(parameter, group)
        if "step_size" not in state:
            state["step_size"], state["previous"] = torch.ones_like(parameter), torch.zeros_like(parameter)
        agrees = (gradient * state["previous"]).sign()
        factor = torch.where(agrees > 0, group["grow"], torch.where(agrees < 0, group["shrink"], 1.0))
        # step sizes are kept as multiples of the learning rate, which a schedule may lower
        bounds = group["smallest"] / group["lr"], group["largest"] / group["lr"]
        state["step_size"].mul_(factor).clamp_(*bounds)
        gradient = torch.where(agrees < 0, 0.0, gradient)
        state["previous"].copy_(gradient)
        parameter.addcmul_(gradient.sign(), state["step_size"], value=-group["lr"])


def _decayed(parameter: Tensor, group: dict[str, Any]) -> Tensor:
    """The whole gradient of a parameter, its L2 penalty's included."""
    gradient = _sum(parameter.grad, table_gradients(parameter))
    return gradient.add(parameter, alpha=group["weight_decay"]) if group["weight_decay"] else gradient


def _sum(gradient: Tensor | None, left_over: list[TableGradient]) -> Tensor:
    """The whole gradient of a table."""
    parts = [*([] if gradient is None else [gradient]), *(each.dense() for each in left_over)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _together(left_over: list[TableGradient]) -> TableGradient:
    """Several of a step's blocks as one: their matrices above each other."""
    patterns = [each.pattern for each in left_over]
    ends = torch.tensor([0, *(pattern.nnz for pattern in patterns)]).cumsum(0)
    bounds = [pattern.crow[1:] + end for pattern, end in zip(patterns, ends.to(patterns[0].crow.device), strict=False)]
    together = SparsePattern(
        (sum(pattern.shape[0] for pattern in patterns), patterns[0].shape[1]),
        torch.cat([patterns[0].crow[:1], *bounds]),
        torch.cat([pattern.col for pattern in patterns]),
        row_gradients=True,
    )
    return TableGradient(
        together, torch.cat([each.values for each in left_over]), torch.cat([each.left for each in left_over])
    )
