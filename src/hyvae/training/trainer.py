"""One training loop for every model: it knows the hooks of `RatingModel`, and no model by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyvae.errors import Interrupted, TrainingError
from hyvae.metrics import rmse
from hyvae.models.base import LossParts, Phase, RatingBlock, RatingModel, Step, TrainingPlan
from hyvae.nn import schedules
from hyvae.nn.dense import set_reduced
from hyvae.nn.randomness import seeded
from hyvae.ratings import Ratings, concatenate
from hyvae.scoring import predict_pairs, ranking_ndcg, rating_block
from hyvae.training.checkpoint import (
    Checkpointing,
    Keeper,
    Place,
    State,
    check_fits,
    describe_job,
    random_states,
    set_random_states,
)
from hyvae.training.interruption import Interruption
from hyvae.training.optimisers import SGD, Adagrad, Adam, Optimiser, RMSprop, Rprop
from hyvae.verification import one_line

SCHEDULES = {"constant": schedules.constant, "one_cycle": schedules.one_cycle}
OPTIMISERS: dict[str, Callable[..., Optimiser]] = {
    "adam": Adam,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "sgd": SGD,
    "rprop": Rprop,
}
# of the ratings, one in so many tells when to stop where there is no validation part
HELD_OUT = 10
FEWEST_TO_HOLD_OUT = 1000
# how the columns of a run's curves begin, and which field of an epoch's report they hold
_PART_COLUMNS = {"loss_": "parts", "valid_": "validation_parts"}


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to; the rows of a run's ``curves.parquet``.

    Attributes
    ----------
    epoch : int
        From 1.
    steps : int
        Optimiser steps so far.
    learning_rate : float
        At the epoch's last step.
    parts : dict of str to float
        Each loss part, weighted as in the loss, averaged over the epoch's steps.
    validation_parts : dict of str to float
        The same parts on the validation ratings, without noise; empty where the epoch was not validated.
    validation_rmse : float or None
        Pooled, clipped to the scale; None where the epoch was not validated, and for a model that only ranks.
    seconds : float
        Since training began.
    validation_ndcg : float or None
        NDCG@10 of the lists of a model that only ranks.
    """

    epoch: int
    steps: int
    learning_rate: float
    parts: dict[str, float]
    validation_parts: dict[str, float]
    validation_rmse: float | None
    seconds: float
    validation_ndcg: float | None = None


@dataclass
class History:
    """The course of a training run, and its form in a run folder: a row an epoch, and the outcome."""

    epochs: list[EpochReport] = field(default_factory=list)
    best_epoch: int | None = None
    best_validation_rmse: float | None = None
    best_validation_ndcg: float | None = None
    stopped_early: bool = False
    seconds: float = 0.0
    # of a plan that stops by validation, where no validation part was given: see `epochs_by_held_out`
    chosen_epochs: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One flat dict an epoch, each loss part in columns of its own: ``loss_…`` and, of validation, ``valid_…``."""
        flat = []
        for report in self.epochs:
            row = vars(report).copy()
            for prefix, key in _PART_COLUMNS.items():
                row.update({f"{prefix}{name}": value for name, value in row.pop(key).items()})
            flat.append(row)
        return flat

    def outcome(self) -> dict[str, Any]:
        """What the epochs came to."""
        return {key: value for key, value in vars(self).items() if key != "epochs"}

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]], outcome: dict[str, Any]) -> History:
        """Read back what `rows` and `outcome` wrote; other keys of `outcome` are passed over."""
        epochs = []
        for row in rows:
            report = {key: value for key, value in row.items() if not key.startswith(tuple(_PART_COLUMNS))}
            for prefix, key in _PART_COLUMNS.items():
                parts = {name: row[name] for name in row if name.startswith(prefix) and row[name] is not None}
                report[key] = {name.removeprefix(prefix): value for name, value in parts.items()}
            epochs.append(EpochReport(**report))
        known = {key: outcome[key] for key in vars(cls()) if key != "epochs" and key in outcome}
        return cls(epochs=epochs, **known)


def train(
    model: RatingModel,
    ratings: Ratings,
    plan: TrainingPlan,
    *,
    validation: Ratings | None = None,
    given: Ratings | None = None,
    seed: int = 0,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_conclusion: Callable[[int, int], None] | None = None,
    checkpoint: Checkpointing | None = None,
    stop_after: int | None = None,
) -> History:
    """Train a model in place, on the device it is on, and leave it ready to answer.

    With a validation part the weights of the best validation RMSE (of a model that only ranks: NDCG@10) are kept;
    without one, the last.

    Parameters
    ----------
    ratings : Ratings
        The only ratings that the weights learn from.
    given : Ratings, optional
        More ratings that validation answers from: those of people whom a split by user keeps out of training.
    seed : int
        Of the batches, of hidden ratings and of all noise. The caller's random state is left as it was.
    on_epoch : callable, optional
        Called with each epoch's report; first, where training goes on from a checkpoint, with those of its epochs.
    on_conclusion : callable, optional
        Told, after the epochs, how much is done of what is not learnt by gradients, and of how much.
    checkpoint : Checkpointing, optional
        Where to save the state of training from time to time, and whether to go on from there. Ctrl-C and SIGTERM
        then stop between two steps, with a last checkpoint.
    stop_after : int, optional
        Epochs after which training ends, in the middle of the plan's schedule; default: all of them.

    Raises
    ------
    TrainingError
        A loss part is not finite; the checkpoint is damaged or of another training, or cannot be written.
    Interrupted
        Ctrl-C or SIGTERM stopped a training that keeps checkpoints.
    """
    keeper = None
    if checkpoint is not None:
        job = describe_job(
            model.name,
            model.config,
            plan,
            seed=seed,
            train=ratings,
            validation=validation,
            given=given,
            start=checkpoint.start,
        )
        keeper = Keeper(checkpoint, job, str(model.item_rows.device))
    # an odd seed, where the weights were drawn with an even one: the first noise must not repeat them
    with seeded(2 * seed + 1), Interruption() if keeper else nullcontext() as interruption:
        return _Run(model, ratings, plan, validation, given, seed, keeper, interruption, stop_after).go(
            on_epoch or _ignore, on_conclusion or _ignore
        )


def epochs_by_held_out(
    model: RatingModel,
    ratings: Ratings,
    plan: TrainingPlan,
    *,
    seed: int = 0,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> int | None:
    """How many epochs of the plan to train on all ratings, told by a tenth of them that is held out first.

    Without it, a plan that counts on validation to stop it would go on to its last epoch, far beyond the best one
    where ratings are few (Flixster: RMSE 0.887 in place of 0.868).

    Parameters
    ----------
    model : RatingModel
        As it would be trained; it is spent.

    Returns
    -------
    int or None
        None where the ratings are too few to tell, or the plan leaves nothing to choose.
    """
    looks_once = plan.epochs <= plan.validate_every
    if plan.patience is None or looks_once or len(ratings) < FEWEST_TO_HOLD_OUT:
        return None
    rows = np.random.default_rng(seed).permutation(len(ratings))
    held_out, rest = np.split(rows, [len(ratings) // HELD_OUT])
    parts = ratings.take(np.sort(rest)), ratings.take(np.sort(held_out))
    with seeded(2 * seed + 1):
        run = _Run(model, parts[0], plan, parts[1], None, seed, None, None)
        run.learn(on_epoch or _ignore)
    return run.history.best_epoch


def parameter_groups(model: RatingModel) -> list[dict[str, Any]]:
    """The parameters as an optimiser takes them, parted by what their L2 penalty adds to the gradient."""
    penalties = model.penalties()
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(2 * penalties.get(name, 0.0), []).append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        model: RatingModel,
        ratings: Ratings,
        plan: TrainingPlan,
        validation: Ratings | None,
        given: Ratings | None,
        seed: int,
        keeper: Keeper | None,
        interruption: Interruption | None,
        stop_after: int | None = None,
    ) -> None:
        self.last_epoch = plan.epochs if stop_after is None else min(stop_after, plan.epochs)
        self.model, self.ratings, self.plan, self.seed = model, ratings, plan, seed
        self.validation = validation if validation is not None and len(validation) else None
        self.answered_from = ratings if given is None or not len(given) else concatenate([ratings, given])
        self.device = str(model.item_rows.device)
        self.learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.users = np.flatnonzero(ratings.user_counts)
        self.whole = rating_block(ratings, device=self.device)
        batch = plan.batch_users or len(self.users)
        self.steps_per_pass = math.ceil(len(self.users) / batch)
        self.passes = [phase for phase in model.phases for _ in range(phase.passes)]
        self.steps_per_epoch = len(self.passes) * self.steps_per_pass
        self.total_steps = plan.epochs * self.steps_per_epoch
        # of mini-batches, which touch some of the items; Adam moves all rows at every step, and clipping wants all too
        self.row_gradients = plan.batch_users is not None and plan.optimiser == "rmsprop" and plan.gradient_clip is None
        self.fixed_blocks = list(self._blocks(self.users)) if plan.batch_users is None else None
        self.keeper, self.interruption = keeper, interruption
        self.started = time.perf_counter()
        # what changes from here on, besides the model and its optimiser: a checkpoint holds it all
        self.place = Place()
        self.best_state: dict[str, Tensor] | None = None
        self.history = History()

    def go(self, on_epoch: Callable[[EpochReport], None], on_conclusion: Callable[[int, int], None]) -> History:
        optimiser = self.learn(on_epoch)
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)
        self.model.eval()
        self._conclude(optimiser, on_conclusion)
        self.model.finish(self.whole)
        self.history.seconds = time.perf_counter() - self.started
        return self.history

    def learn(self, on_epoch: Callable[[EpochReport], None]) -> Optimiser | None:
        """What gradients do; with them, the optimiser."""
        set_reduced(self.model, self.plan.matmul == "bfloat16")
        with torch.no_grad():
            self.model.prepare(self.whole)
        groups = parameter_groups(self.model)
        optimiser = OPTIMISERS[self.plan.optimiser](groups, self.plan.learning_rate) if groups else None
        if optimiser is not None and self.plan.epochs:
            self._learn(optimiser, on_epoch)
        return optimiser

    def _conclude(self, optimiser: Optimiser | None, on_conclusion: Callable[[int, int], None]) -> None:
        def told(done: int, of: int) -> None:
            on_conclusion(done, of)
            if optimiser is not None:
                self._pause(optimiser)

        # with draws of its own: where training goes on from a checkpoint of then, it is done again from the start
        with seeded(self.seed), torch.no_grad():
            self.model.conclude(self.whole, told)

    @torch.no_grad()
    def _penalty(self) -> LossParts:
        """The L2 part of the loss, which only the optimiser and the curves need."""
        penalties = self.model.penalties()
        weights = dict(self.model.named_parameters())
        squares = [weight * torch.linalg.vector_norm(weights[name]).square() for name, weight in penalties.items()]
        return {"l2": torch.stack(squares).sum()} if squares else {}

    def _learn(self, optimiser: Optimiser, on_epoch: Callable[[EpochReport], None]) -> None:
        self._resume(optimiser)
        for report in self.history.epochs:
            on_epoch(report)
        try:
            self._epochs(optimiser, on_epoch)
        finally:
            optimiser.zero_grad()
            for parameter in self.learnt.values():
                parameter.requires_grad_(True)

    def _epochs(self, optimiser: Optimiser, on_epoch: Callable[[EpochReport], None]) -> None:
        at = self.place
        while at.epoch <= self.last_epoch and not self.history.stopped_early:
            for phase, blocks in self._steps(at.epoch, at.done):
                parts = self._step(optimiser, blocks, at.step + 1, phase)
                at.step, at.done = at.step + 1, at.done + 1
                for name, value in parts.items():
                    at.sums[name] = at.sums.get(name, 0.0) + value / self.steps_per_epoch
                if self._ends(phase, at.done):
                    self.model.end_phase(phase.name)
                self._pause(optimiser)
            report = self._report(optimiser.param_groups[0]["lr"])
            self.history.epochs.append(report)
            self.history.stopped_early = self._should_stop(report)
            at.epoch, at.done, at.sums = at.epoch + 1, 0, {}
            on_epoch(report)
            self._pause(optimiser)

    def _report(self, learning_rate: float) -> EpochReport:
        at = self.place
        penalty = {name: float(value) for name, value in self._penalty().items()}
        due = at.epoch % self.plan.validate_every == 0 or at.epoch == self.plan.epochs
        error, ndcg = self._validate() if due else (None, None)
        return EpochReport(
            epoch=at.epoch,
            steps=at.step,
            learning_rate=learning_rate,
            parts=at.sums | penalty,
            validation_parts=self._validation_parts(at.step, penalty) if due else {},
            validation_rmse=error,
            seconds=time.perf_counter() - self.started,
            validation_ndcg=ndcg,
        )

    # -- checkpoints ----------------------------------------------------------------------------------

    def _pause(self, optimiser: Optimiser) -> None:
        """Between two steps: keep the state where it is time to, and stop where someone asked for it."""
        if self.keeper is None:
            return
        signal = self.interruption.signal if self.interruption else None
        if signal is not None or self.keeper.is_due:
            self.keeper.save(
                State(
                    place=self.place,
                    history={"rows": self.history.rows(), "outcome": self.history.outcome()},
                    seconds=time.perf_counter() - self.started,
                    model=self.model.state_dict(),
                    best=self.best_state,
                    optimiser=optimiser.state_dict(),
                    random=random_states(self.device),
                )
            )
        if signal is not None:
            raise Interrupted(self.place.step, self.total_steps, signal)

    def _resume(self, optimiser: Optimiser) -> None:
        """Go on from the checkpoint, if there is one and it is wanted."""
        state = self.keeper.start() if self.keeper is not None else None
        if state is None:
            return
        try:
            self.model.load_state_dict(state.model)
            optimiser.load_state_dict(state.optimiser)
            check_fits(state, self.model, optimiser)
            self.history = History.from_rows(state.history["rows"], state.history["outcome"])
            self.started = time.perf_counter() - state.seconds
            set_random_states(state.random, self.device)
        except Exception as error:  # whatever torch and Python say of contents that they did not expect
            assert self.keeper is not None
            raise TrainingError(
                f"{self.keeper.path} does not fit this version of hyvae: {one_line(error)}; "
                "remove it and train from the start"
            ) from error
        self.place = state.place
        self.best_state = None if state.best is None else {k: v.to(self.device) for k, v in state.best.items()}

    # -- steps ----------------------------------------------------------------------------------------

    def _blocks(self, users: NDArray[np.int64]) -> Iterator[RatingBlock]:
        for start in range(0, len(users), self.plan.block_users):
            block = users[start : start + self.plan.block_users]
            first, last = block[0], block[-1]
            if last - first + 1 == len(block) and not self.row_gradients:
                yield self.whole.rows(first, last + 1)
            else:
                yield rating_block(self.ratings, block, self.device, self.row_gradients)

    def _steps(self, epoch: int, done: int) -> Iterator[tuple[Phase, list[RatingBlock]]]:
        """The blocks of each step of an epoch, and the phase that it is in, without the first `done`."""
        first = done // self.steps_per_pass
        for number, phase in enumerate(self.passes[first:], first):
            for blocks in self._pass(epoch, number, done - number * self.steps_per_pass):
                yield phase, blocks

    def _pass(self, epoch: int, number: int, done: int) -> Iterator[list[RatingBlock]]:
        """The blocks of each step of one pass over the users, without the first `done` (none, if that is negative)."""
        done = max(done, 0)
        if self.fixed_blocks is not None:
            yield from [self.fixed_blocks][done:]
            return
        assert self.plan.batch_users is not None
        # a generator of its own for each pass: the order of users does not depend on what else drew random numbers
        seed = (self.seed, epoch, number) if number else (self.seed, epoch)
        order = np.random.default_rng(seed).permutation(self.users)
        for start in range(done * self.plan.batch_users, len(order), self.plan.batch_users):
            yield list(self._blocks(np.sort(order[start : start + self.plan.batch_users])))

    def _ends(self, phase: Phase, done: int) -> bool:
        """Whether a phase is over after `done` steps of the epoch."""
        passes, rest = divmod(done, self.steps_per_pass)
        return not rest and (passes == len(self.passes) or self.passes[passes] is not phase)

    def _step(self, optimiser: Optimiser, blocks: list[RatingBlock], number: int, phase: Phase) -> dict[str, float]:
        progress = (number - 1) / self.total_steps
        rate = self.plan.learning_rate * SCHEDULES[self.plan.schedule](progress)
        for group in optimiser.param_groups:
            group["lr"] = rate
        n_users = sum(block.pattern.shape[0] for block in blocks)
        n_ratings = sum(block.pattern.nnz for block in blocks)
        step = Step(number, progress, self.seed, n_users, n_ratings, phase=phase.name)
        self.model.train()
        for name, parameter in self.learnt.items():
            parameter.requires_grad_(name.startswith(phase.learns))
        optimiser.zero_grad()
        shared = self.model.shared(self.whole, step)
        # blocks accumulate into leaves, so that what is shared is back-propagated once, after the last block
        leaves = {name: _cut(tensor) for name, tensor in shared.items()}
        losses = [self.model.losses(block, leaves, step) for block in blocks]
        sums: dict[str, float] = {}
        while self._accumulate(losses, sums, step):
            learnt = [name for name, leaf in leaves.items() if leaf is not shared[name] and leaf.grad is not None]
            if learnt:
                torch.autograd.backward([shared[name] for name in learnt], [leaves[name].grad for name in learnt])
                for name in learnt:  # the next loss has no part in what is shared: this gradient must not count twice
                    leaves[name].grad = None
            if self.plan.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.gradient_clip)
            optimiser.step()
            optimiser.zero_grad()
        return sums

    def _accumulate(self, losses: list[Iterator[LossParts]], sums: dict[str, float], step: Step) -> bool:
        """Back-propagate the next loss of each block; whether there was one."""
        found = False
        for each in losses:
            parts = next(each, None)
            if parts is not None:
                self._backward(parts, sums, step)
                found = True
        return found

    def _backward(self, parts: LossParts, sums: dict[str, float], step: Step) -> None:
        for name, part in parts.items():
            value = float(part.detach())
            if not math.isfinite(value):
                raise TrainingError(self._diagnosis(name, value, step))
            sums[name] = sums.get(name, 0.0) + value
        if parts:
            torch.stack(list(parts.values())).sum().backward()

    def _diagnosis(self, name: str, value: float, step: Step) -> str:
        broken = [key for key, parameter in self.model.named_parameters() if not torch.isfinite(parameter).all()]
        cause = (
            f"the weights {broken[0]!r} are no longer finite, so an earlier step was too long"
            if broken
            else "the step before was too long, or the ratings are far off the scale that the weights were made for"
        )
        return (
            f"training stopped at step {step.number} of {self.total_steps}: loss part {name!r} is {value}; {cause}. "
            f"Lower the learning rate (now {self.plan.learning_rate:g}) or set gradient_clip, for example 1.0"
        )

    # -- validation -----------------------------------------------------------------------------------

    def _validate(self) -> tuple[float | None, float | None]:
        """RMSE, or NDCG@10 of a model that only ranks."""
        if self.validation is None:
            return None, None
        self.model.eval()
        self.model.finish(self.whole)
        if not self.model.predicts_ratings:
            return None, ranking_ndcg(self.model, self.answered_from, self.validation)
        predictions = predict_pairs(self.model, self.answered_from, self.validation)
        if not np.isfinite(predictions).all():
            raise TrainingError(
                "validation predictions are no longer finite: the last step was too long. "
                f"Lower the learning rate (now {self.plan.learning_rate:g})"
            )
        return rmse(predictions.clip(*self.ratings.scale), self.validation.values), None

    @torch.no_grad()
    def _validation_parts(self, number: int, penalty: dict[str, float]) -> dict[str, float]:
        """The loss of the training step, on validation ratings: from all training ratings, and without noise."""
        if self.validation is None:
            return {}
        self.model.eval()
        # those without any rating are in neither loss: their KL would make the two differ in unit
        everyone = np.flatnonzero(self.answered_from.user_counts + self.validation.user_counts)
        n_users, n_ratings = len(everyone), len(self.answered_from)
        step = Step(number, number / self.total_steps, self.seed, n_users, n_ratings, len(self.validation))
        shared = self.model.shared(self.whole, step)
        sums: dict[str, float] = {}
        for start in range(0, n_users, self.plan.block_users):
            users = everyone[start : start + self.plan.block_users]
            block = rating_block(self.answered_from, users, self.device)
            targets = rating_block(self.validation, users, self.device)
            for name, value in self.model.loss(block, shared, step, targets).items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums | penalty

    def _should_stop(self, report: EpochReport) -> bool:
        error, ndcg, history = report.validation_rmse, report.validation_ndcg, self.history
        if error is None and ndcg is None:
            return False
        better = history.best_epoch is None
        if error is not None and history.best_validation_rmse is not None:
            better = error < history.best_validation_rmse
        if ndcg is not None and history.best_validation_ndcg is not None:
            better = ndcg > history.best_validation_ndcg
        if better:
            history.best_validation_rmse, history.best_validation_ndcg = error, ndcg
            history.best_epoch = report.epoch
            self.best_state = _copy(self.model.state_dict())
            return False
        assert history.best_epoch is not None
        since_best = (report.epoch - history.best_epoch) / self.plan.validate_every
        return self.plan.patience is not None and since_best >= self.plan.patience


def _cut(tensor: Tensor) -> Tensor:
    """The tensor as a leaf of its own, unless it is one (a parameter, which takes gradients as it is)."""
    return tensor if tensor.is_leaf and tensor.requires_grad else tensor.detach().requires_grad_(tensor.requires_grad)


def _copy(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _ignore(*report: EpochReport | int) -> None:
    """Watch nothing."""
