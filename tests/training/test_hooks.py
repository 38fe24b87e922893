"""What a model may ask of the trainer: phases of an epoch, and several losses of a block."""

import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from hyvae.models.base import Config, Phase, RatingModel, TrainingPlan
from hyvae.nn.randomness import generator
from hyvae.training import Checkpointing, train, trainer
from hyvae.training.checkpoint import Keeper
from hyvae.training.trainer import OPTIMISERS

PHASES = (Phase("users", 2, ("user_",)), Phase("items", 1, ("item_", "level")), Phase("all"))
BATCH = 20


class Effects(RatingModel):
    """Effects of users and of items, learnt in turns; `looks` are what it saw when it was asked for a loss."""

    name, title, citation = "effects", "Effects", ""
    Config, presets = Config, {}

    def __init__(self, ratings, phases=PHASES, again=False, noise=0.0):
        super().__init__(Config(), ratings.n_users, ratings.n_items, (1.0, 5.0), 1)
        self.user_effect = nn.Parameter(torch.zeros(ratings.n_users))
        self.item_effect = nn.Parameter(torch.zeros(ratings.n_items))
        self.level = nn.Parameter(torch.ones(()))
        self.register_buffer("ended", torch.zeros(len(phases)))
        self.turns, self.again, self.noise = phases, again, noise
        self.looks, self.ends = [], []

    @property
    def phases(self):
        return self.turns

    def end_phase(self, name):
        self.ends.append((name, len(self.looks)))
        self.ended[[phase.name for phase in self.turns].index(name)] += 1

    def weights(self):
        return {name: parameter.detach().clone() for name, parameter in self.named_parameters()}

    def shared(self, train, step):
        return {"item": 1.0 * self.item_effect}

    def error(self, block, item):
        at = block.pattern.row, block.pattern.col
        predicted = self.user_effect[block.users[at[0]]] + item[at[1]] + self.level
        return (
            (block.values - predicted + self.noise * torch.randn(len(block.values), generator=generator()))
            .square()
            .sum()
        )

    def loss(self, block, shared, step, targets=None):
        self.looks.append((step.phase, block.users.tolist(), self.weights()))
        return {"rec": self.error(block if targets is None else targets, shared["item"]) / step.n_ratings}

    def losses(self, block, shared, step):
        yield self.loss(block, shared, step)
        if self.again:
            self.looks.append((step.phase, block.users.tolist(), self.weights()))
            yield {"again": 3 * self.error(block, self.item_effect) / step.n_ratings}

    def penalties(self):
        return {"user_effect": 0.01, "item_effect": 0.01}

    def finish(self, train):
        with torch.no_grad():
            self.item_bias.copy_(self.item_effect + self.level)

    def encode(self, block):
        return torch.zeros(block.pattern.shape[0], 1)


def trained(ratings, *, model=None, epochs=2, **plan):
    model = model or Effects(ratings)
    return model, train(model, ratings, TrainingPlan(epochs=epochs, **{"batch_users": BATCH, **plan}))


@pytest.fixture
def rated(small_ratings):
    return np.flatnonzero(small_ratings.user_counts).tolist()


class TestPhases:
    def test_each_has_its_passes_over_all_users(self, small_ratings, rated):
        model, history = trained(small_ratings)
        steps = -(-len(rated) // BATCH)
        assert [phase for phase, *_ in model.looks] == 2 * (2 * steps * ["users"] + steps * ["items"] + steps * ["all"])
        assert history.epochs[-1].steps == len(model.looks)
        passes = [model.looks[at : at + steps] for at in range(0, len(model.looks), steps)]
        for looks in passes:
            assert sorted(user for _, users, _ in looks for user in users) == rated
        # in an order of its own
        orders = [[users for _, users, _ in looks] for looks in passes]
        assert all(one != other for k, one in enumerate(orders) for other in orders[:k])

    @pytest.mark.parametrize("batch_users", [None, BATCH])
    @pytest.mark.parametrize("optimiser", OPTIMISERS)
    def test_only_its_weights_move_and_all_of_them_do(self, small_ratings, optimiser, batch_users):
        model, _ = trained(small_ratings, optimiser=optimiser, batch_users=batch_users)
        moved = {phase.name: set() for phase in PHASES}
        courses = [*model.looks, ("", [], model.weights())]
        for (phase, _, before), (_, _, after) in pairwise(courses):
            moved[phase] |= {name for name, weight in after.items() if not torch.equal(weight, before[name])}
        everything = {"user_effect", "item_effect", "level"}
        assert moved == {"users": {"user_effect"}, "items": {"item_effect", "level"}, "all": everything}

    @pytest.mark.parametrize("batch_users", [None, BATCH])
    def test_its_end_is_told_once_before_the_next_begins(self, small_ratings, rated, batch_users):
        model, _ = trained(small_ratings, batch_users=batch_users)
        steps = 1 if batch_users is None else -(-len(rated) // BATCH)
        ends = [("users", 2 * steps), ("items", 3 * steps), ("all", 4 * steps)]
        assert model.ends == ends + [(name, at + 4 * steps) for name, at in ends]

    def test_everything_may_learn_again_when_training_is_over(self, small_ratings):
        model, _ = trained(small_ratings, model=Effects(small_ratings, PHASES[:1]))
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())

    def test_weights_that_the_model_froze_stay_so(self, small_ratings):
        model = Effects(small_ratings)
        model.level.requires_grad_(False)
        trained(small_ratings, model=model)
        assert float(model.level) == 1
        assert not model.level.requires_grad


class TestLosses:
    """Of plain gradient steps, which weights tell by hand."""

    RATE = 0.5

    @pytest.fixture(autouse=True)
    def sgd(self, monkeypatch):
        monkeypatch.setitem(trainer.OPTIMISERS, "sgd", lambda groups, lr: torch.optim.SGD(groups, lr=lr))

    def by_hand(self, weights, ratings, times):
        """A step along the gradient of `times` the mean squared error, and of the penalties."""
        users, items = torch.from_numpy(ratings.user_index).long(), torch.from_numpy(ratings.indices).long()
        error = torch.from_numpy(ratings.values) - weights["user_effect"][users] - weights["item_effect"][items]
        slope = -2 * times * (error - weights["level"]) / len(ratings)
        gradients = {
            "user_effect": torch.zeros(ratings.n_users).index_add_(0, users, slope) + 0.02 * weights["user_effect"],
            "item_effect": torch.zeros(ratings.n_items).index_add_(0, items, slope) + 0.02 * weights["item_effect"],
            "level": slope.sum(),
        }
        return {name: weight - self.RATE * gradients[name] for name, weight in weights.items()}

    @pytest.mark.parametrize("block_users", [7, 4096])
    def test_each_is_followed_by_a_step_before_the_next(self, small_ratings, block_users):
        model = Effects(small_ratings, (Phase(""),), again=True)
        start, n_blocks = model.weights(), -(-int((small_ratings.user_counts > 0).sum()) // block_users)
        _, history = trained(
            small_ratings,
            model=model,
            epochs=1,
            batch_users=None,
            block_users=block_users,
            optimiser="sgd",
            learning_rate=self.RATE,
        )
        between = self.by_hand(start, small_ratings, 1)
        end = self.by_hand(between, small_ratings, 3)
        # all blocks at the same weights, first the one loss and then the other
        assert len(model.looks) == 2 * n_blocks
        for (_, _, seen), wanted in zip(model.looks, n_blocks * [start] + n_blocks * [between], strict=True):
            torch.testing.assert_close(seen, wanted)
        torch.testing.assert_close(model.weights(), end)
        assert history.epochs[0].steps == 1
        assert set(history.epochs[0].parts) == {"rec", "again", "l2"}

    def test_every_batch_has_two_steps(self, small_ratings, rated):
        model, history = trained(small_ratings, model=Effects(small_ratings, again=True))
        steps = -(-len(rated) // BATCH)
        assert len(model.looks) == 2 * history.epochs[-1].steps == 2 * 2 * 4 * steps
        for (phase, users, before), (other, same, after) in zip(model.looks[::2], model.looks[1::2], strict=True):
            assert (phase, users) == (other, same)
            moving = "item_effect" if phase == "items" else "user_effect"
            assert not torch.equal(before[moving], after[moving])


class TestGoingOn:
    @pytest.mark.parametrize(
        ("optimiser", "batch_users", "again"),
        [*((name, BATCH, False) for name in OPTIMISERS), ("adam", BATCH, True), ("rprop", None, False)],
    )
    @pytest.mark.bits
    def test_from_within_any_phase_ends_in_the_same_bits(
        self, parts, tmp_path, monkeypatch, optimiser, batch_users, again
    ):
        def run(**arguments):
            model = Effects(parts[0], again=again, noise=0.3)
            plan = TrainingPlan(epochs=2, batch_users=batch_users, optimiser=optimiser)
            train(model, parts[0], plan, validation=parts[1], seed=5, **arguments)
            return model

        kept, save = [], Keeper.save

        def save_and_copy(keeper, state):
            save(keeper, state)
            kept.append(shutil.copy(keeper.path, tmp_path / f"{len(kept)}.copy"))

        uninterrupted = run().state_dict()
        # both ends of every phase were told, whatever came between
        assert uninterrupted["ended"].tolist() == [2, 2, 2]
        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "save", save_and_copy)
            run(checkpoint=Checkpointing(tmp_path / "whole", every=0))
        steps = 4 * (3 if batch_users else 1)
        assert len(kept) == 2 * (steps + 1)
        for done, file in enumerate(kept[:steps], 1):  # within and between the phases of the first epoch
            shutil.copy(file, tmp_path / "run")
            resumed = run(checkpoint=Checkpointing(tmp_path / "run", resume=True))
            looks = sum(phase != "" for phase, *_ in resumed.looks)  # validation is in no phase
            assert looks == (2 * steps - done) * (2 if again else 1)
            for name, tensor in resumed.state_dict().items():
                assert torch.equal(tensor, uninterrupted[name]), name
