"""What every model is: a config, a module with its loss in named parts, and codes that score items.

The trainer and the recommender know models through this interface only. A subclass fills in the hooks that it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from hyvae.errors import ConfigError
from hyvae.nn.sparse import SparsePattern, sampled_product

# measured on MovieLens-1M, docs/architecture.md
UPDATE_FRACTION = 10
UPDATE_RATE = 0.15
# of ratings in standard units; an error of a ten-thousandth
_STEPS = 4096

# widths of layers; one may be given as a number
Widths = Annotated[
    tuple[PositiveInt, ...], BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))
]
Shared = dict[str, Tensor]
LossParts = dict[str, Tensor]


class Config(BaseModel):
    """Base of every config: frozen, validated, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingPlan(Config):
    """How a model wants to be trained. Seed and device are arguments of training, never of the plan."""

    optimiser: Literal["adam", "rmsprop", "adagrad", "sgd", "rprop"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "one_cycle"] = Field(
        "constant", description="learning rate over the run; see hyvae.nn.schedules"
    )
    epochs: int = Field(100, ge=0, description="passes over the training users; 0: nothing to train by gradient")
    batch_users: int | None = Field(
        500, gt=0, description="users in one optimiser step; none: one step is a pass over all users"
    )
    block_users: int = Field(32768, gt=0, description="users encoded at a time within a step: bounds the memory")
    validate_every: int = Field(1, gt=0, description="epochs between two looks at the validation part")
    patience: int | None = Field(
        10,
        gt=0,
        description="validations without a better RMSE (or NDCG, of a model that ranks) before training stops; none: "
        "never stops early",
    )
    matmul: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="products of the dense layers in training; bfloat16 is twice as fast where the processor has it",
    )
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    units: Literal["standard", "raw"] = Field(
        "standard",
        description="ratings as the model sees them: less their mean, over the residual standard deviation of the bias "
        "model; or as they were given, which published settings are for. Models that rank see them as given",
    )


def update_plan(plan: TrainingPlan) -> TrainingPlan:
    """The plan of a training that begins at the weights of an earlier one."""
    epochs = -(-plan.epochs // UPDATE_FRACTION)
    return plan.model_copy(
        update={
            "epochs": epochs,
            "validate_every": min(plan.validate_every, max(1, epochs // 2)),
            "learning_rate": plan.learning_rate * UPDATE_RATE,
        }
    )


class Preset(NamedTuple):
    """A named pair of config and plan."""

    config: Config
    plan: TrainingPlan


@dataclass(frozen=True, eq=False)
class RatingBlock:
    """Rows of the ratings matrix: some users with all their training ratings.

    Attributes
    ----------
    pattern : SparsePattern
        (n_rows, n_items).
    values : (nnz,) tensor
        Ratings, in the model's unit (`RatingModel.unit`).
    users : (n_rows,) int64 tensor or None
        Index of each row among the training users; None for people who were not there.
    keys : (nnz,) int64 tensor or None
        Row number of each rating in the training ratings.
    """

    pattern: SparsePattern
    values: Tensor
    users: Tensor | None = None
    keys: Tensor | None = None

    @cached_property
    def counts(self) -> Tensor:
        """Number of ratings of each row, shape (n_rows,), in the type of the values."""
        return self.pattern.crow.diff().to(self.values.dtype)

    def rows(self, start: int, stop: int) -> RatingBlock:
        """Some consecutive rows as a block that shares this one's memory."""
        entries = slice(int(self.pattern.crow[start]), int(self.pattern.crow[stop]))
        return RatingBlock(
            self.pattern.rows(start, stop),
            self.values[entries],
            None if self.users is None else self.users[start:stop],
            None if self.keys is None else self.keys[entries],
        )

    def pieces(self, size: int) -> Iterator[RatingBlock]:
        """The rows in consecutive blocks of at most `size`."""
        n_rows = len(self.counts)
        for start in range(0, n_rows, size):
            yield self.rows(start, min(start + size, n_rows))


class Phase(NamedTuple):
    """A part of an epoch in which some of the weights learn.

    Attributes
    ----------
    name : str
    passes : int
        Over the training users.
    learns : tuple of str
        How the names of the parameters begin that learn; the others stay as they are.
    """

    name: str
    passes: int = 1
    learns: tuple[str, ...] = ("",)


class Step(NamedTuple):
    """Where training stands, and the totals of the step, by which sums over its blocks are divided.

    Attributes
    ----------
    number : int
        From 1, over the whole run.
    progress : float
        Share of the run that lies behind, 0 to 1.
    seed : int
    n_users, n_ratings : int
        Rows and ratings of all blocks of the step.
    n_targets : int or None
        In validation: how many ratings the loss is on, none of them among the inputs; nothing is hidden then.
        None in training, whose targets are among the inputs.
    phase : str
        Name of the `Phase` that the step is in.
    """

    number: int
    progress: float
    seed: int
    n_users: int
    n_ratings: int
    n_targets: int | None = None
    phase: str = ""


class RatingModel(nn.Module, ABC):
    """Base of the models.

    A score is ⟨code of the user, row of the item⟩ + bias of the item; `finish` fills the buffers `item_rows`
    (n_items, width) and `item_bias` (n_items,), which is all that answering needs besides the encoder. A model that
    scores otherwise overrides `score` and `score_pairs`. `item_tables` and `user_tables` name the state with one row
    an item or a training user.

    Ratings come to a model in its unit, and its scores are in this unit: so is all that it learns, and no setting
    depends on the scale of the ratings. `in_unit` takes ratings into it, `ratings` scores out of it.

    Parameters
    ----------
    scale : (float, float)
        Lowest and highest rating; in the model's unit from `use_unit` on.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    Config: ClassVar[type[Config]]
    presets: ClassVar[dict[str, Preset]]
    #: what settings that came later were, so to speak, in saved runs from before them, where it is not their default
    settings_before: ClassVar[dict[str, Any]] = {"units": "raw"}

    item_tables: ClassVar[tuple[str, ...]] = ("item_rows", "item_bias")
    user_tables: ClassVar[tuple[str, ...]] = ()

    #: (2,): the rating that is 0 to the model, and the difference of ratings that is 1
    unit: Tensor
    item_rows: Tensor
    item_bias: Tensor

    def __init__(self, config: Any, n_users: int, n_items: int, scale: tuple[float, float], width: int) -> None:
        super().__init__()
        self.config = config
        self.n_users, self.n_items, self.scale = n_users, n_items, scale
        self.register_buffer("unit", torch.tensor([0.0, 1.0]))
        self.register_buffer("item_rows", torch.zeros(n_items, width))
        self.register_buffer("item_bias", torch.zeros(n_items))

    # -- units ----------------------------------------------------------------------------------------

    def use_unit(self, unit: Tensor) -> None:
        """Take a unit for good, before the first ratings come.

        Parameters
        ----------
        unit : (2,) tensor
        """
        self.unit.copy_(unit)
        location, deviation = self.unit.tolist()
        self.scale = ((self.scale[0] - location) / deviation, (self.scale[1] - location) / deviation)

    @property
    def is_raw(self) -> bool:
        """Whether the unit is that of the ratings: of models that rank, of published settings, and of older runs."""
        return self.unit.tolist() == [0.0, 1.0]

    def in_unit(self, ratings: Tensor) -> Tensor:
        """Ratings as the model sees them, shape of both.

        Whole 4096ths of the unit, so that ratings that are the same but for rounding, as stars and points of 100 are,
        become the same numbers: training would make a large difference of a small one.
        """
        if self.is_raw:
            return ratings
        location, deviation = self.unit.tolist()
        # where ratings are far from 0, the digits in which they differ are the last ones of float32
        return (((ratings.double() - location) / deviation * _STEPS).round() / _STEPS).to(ratings.dtype)

    def ratings(self, scores: Tensor) -> Tensor:
        """Scores as ratings; those of a model that ranks as they are."""
        return scores * self.unit[1] + self.unit[0]

    @property
    def training_only(self) -> tuple[str, ...]:
        """How the names of parameters begin that only training needs: a saved run leaves them out."""
        return ()

    # -- training -------------------------------------------------------------------------------------

    def prepare(self, train: RatingBlock) -> None:
        """Take what the model needs from the training ratings, once, before the first step."""

    def shared(self, train: RatingBlock, step: Step) -> Shared:
        """Tensors that all blocks of a step use, computed once a step from all training ratings.

        The trainer hands their gradients, added up over the blocks, back through here.
        """
        return {}

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """Named scalar parts whose sum is the block's share of the step's loss.

        Parameters
        ----------
        targets : RatingBlock, optional
            Validation ratings of the same users: measure the loss on them, from all ratings of `block`.
        """
        return {}

    def losses(self, block: RatingBlock, shared: Shared, step: Step) -> Iterator[LossParts]:
        """The losses of a block in training, each followed by an optimiser step before the next is asked for.

        One, unless a model learns from its block again (re-feeding). What is shared belongs to the first.
        """
        yield self.loss(block, shared, step)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What an epoch is made of, in order: one pass in which all weights learn, unless updates alternate."""
        return (Phase(""),)

    def end_phase(self, name: str) -> None:
        """Do what is due when a phase of an epoch is over, and before the next begins."""

    def conclude(self, train: RatingBlock, told: Callable[[int, int], None]) -> None:
        """Learn what is not learnt by gradients, once, after the last step, with the best weights, before `finish`.

        Parameters
        ----------
        told : callable
            To be told how much is done, and of how much, every second or so: training can be stopped there.
        """

    def penalties(self) -> dict[str, float]:
        """λ of each parameter, by name, whose λ · summed squares count in the loss, once a step.

        The optimiser adds their gradient, so that no step makes another copy of the tables for it. RMSprop in
        mini-batches leaves out the rows of a table that the batch does not touch, where the gradient is left to it
        (`hyvae.nn.sparse.TableGradient`).
        """
        return {}

    @abstractmethod
    def finish(self, train: RatingBlock) -> None:
        """Fill the buffers from which answers are given."""

    # -- answering ------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, block: RatingBlock) -> Tensor:
        """Codes of users from their ratings alone, shape (n_rows, width); a row may be empty."""

    def posterior(self, block: RatingBlock) -> tuple[Tensor, Tensor] | None:
        """μ and log σ² of q(z|x) for each row, both (n_rows, latent); None for a model without a distribution."""
        return None

    @property
    def code_parts(self) -> dict[str, slice]:
        """Columns of a code that come from ``z`` and, where there is one, from the deterministic branch, ``d``.

        Of a model without a second branch, all but the last, which is what centring took away.
        """
        return {"z": slice(0, -1)}

    def network_alone(self) -> AbstractContextManager[None]:
        """A context in which answers come from the code alone, where something else answers beside it."""
        return nullcontext()

    def score(self, codes: Tensor, items: slice) -> Tensor:
        """Scores of a block of items for each code, shape (n_rows, n of the block), in the model's unit.

        A fresh tensor, which the caller may overwrite.
        """
        return torch.addmm(self.item_bias[items], codes, self.item_rows[items].T)

    def score_pairs(self, codes: Tensor, pattern: SparsePattern) -> Tensor:
        """Scores at the positions of `pattern` (n_rows, n_items), shape (nnz,)."""
        return sampled_product(codes, self.item_rows, pattern) + self.item_bias[pattern.col]

    def score_parts(self, codes: Tensor, pattern: SparsePattern) -> dict[str, Tensor] | None:
        """What the parts of a model add to its scores at the positions of `pattern`, each (nnz,).

        In its unit. Of Hy-VAE, whose ``effects`` and branches, ``variational`` and ``deterministic``, sum to the
        network's score, with that of the ``draws`` beside it. None of a model with one part.
        """
        return None

    def encode_items(self, columns: RatingBlock, raters: RatingBlock) -> tuple[Tensor, Tensor]:
        """Rows and biases of items from their ratings alone: (n, width) and (n,).

        Parameters
        ----------
        columns : RatingBlock
            One row an item, one column a training user.
        raters : RatingBlock
            What those who occur in the columns rated besides, a row each, ascending.

        Raises
        ------
        ConfigError
            The model has no encoder of items.
        """
        raise ConfigError(f"{self.name}, as it is set, cannot encode new items; train again with them")

    @property
    def learns_from_presence(self) -> bool:
        """Whether ratings that are all equal (implicit feedback) teach the model anything."""
        return not self.predicts_ratings

    @property
    def predicts_ratings(self) -> bool:
        """Whether it predicts ratings; else scores only order items, and validation looks at NDCG instead of RMSE."""
        return True

    @property
    def encodes_items(self) -> bool:
        """Whether `encode_items` answers."""
        return False

    @property
    def exports(self) -> bool:
        """Whether `encode` and `score` can be written as a graph of operators (`hyvae.export`)."""
        return True

    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """The part of the state that a saved run leaves out, from the rest and the ratings it was trained on.

        Training that begins at a run's weights calls it; what is not recovered begins as it was drawn.

        Raises
        ------
        ConfigError
            Without the left-out part the rest is no good beginning.
        """
        return {}

    def answering_state(self) -> dict[str, Tensor]:
        """The part of the state that a saved run keeps."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith(self.training_only)}
