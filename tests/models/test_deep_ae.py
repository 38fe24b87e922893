"""DeepAE: the contract, its equations, and steps that learn from what was said a step before."""

import dense_deep_ae
import dense_rows
import numpy as np
import pytest
import torch
from contract import ModelContract
from equations import (
    assert_gradients,
    build,
    dense_ratings,
    double,
    fix_dropout,
    numbers,
    parts_of,
    predictions,
    step_of,
    weights_of,
)

from hyvae.errors import ConfigError
from hyvae.models import REGISTRY, deep_ae, feedback
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block
from hyvae.training.optimisers import Adam

SMALL = {
    "hidden": (12, 10),
    "latent": 8,
    "code_dropout": 0.3,
    "row_scaling": True,
    "optimiser": "adam",
    "learning_rate": 0.01,
    "epochs": 20,
    "batch_users": 20,
}


class TestDeepAE(ModelContract):
    model = "deep_ae"
    settings = SMALL


class TestTied(ModelContract):
    model, preset = "deep_ae", "published"
    settings = {**SMALL, "tied": True, "refeeds": 0, "presence": True}  # noqa: RUF012


# -- equations ------------------------------------------------------------------------------------------

TINY = {"hidden": (7, 6), "latent": 5}
VARIANTS = {
    "as published": {"row_scaling": False},
    "row scaling": {"row_scaling": True},
    "tied": {"tied": True, "row_scaling": True},
    "one layer": {"hidden": (6,)},
    "presence": {"presence": True, "row_scaling": True, "center": "global"},
    "from what was dropped": {"learn_from": "dropped", "input_dropout": 0.3},
    "no centring": {"center": "none", "row_scaling": True},
    "l2": {"l2": 0.03, "tied": True},
}
cases = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())


class Case:
    """The model on `ratings`, and the same in numpy."""

    def __init__(self, ratings, monkeypatch, settings):
        self.model, self.block = build("deep_ae", ratings, "published", **{**TINY, **settings})
        self.config = self.model.config
        self.R, self.M = dense_ratings(ratings)
        mask = fix_dropout(monkeypatch, feedback)
        self.K = np.zeros_like(self.R)
        self.K[self.M] = mask((self.M.sum(),), self.config.input_dropout)
        self.D = fix_dropout(monkeypatch, deep_ae)((len(self.R), self.config.latent), self.config.code_dropout)
        self.step = step_of(self.block)

    def loss(self, P):
        parts = {"rec": dense_deep_ae.loss(P, self.config, self.R, self.M, self.K, self.D)}
        return parts | ({"l2": dense_rows.l2(P, self.config)} if self.config.l2 else {})

    def answers(self, P):
        """y = f(x) of the step's own forward pass."""
        return dense_deep_ae.outputs(P, self.config, self.R, self.M, self.K, self.D)[0]

    def refed(self, P, Y):
        return dense_deep_ae.refed(P, self.config, Y, self.D)

    def fed_again(self, monkeypatch=None, pieces_of=None):
        """The loss after the first step, its weights moved by hand; and y from before."""
        if pieces_of:
            monkeypatch.setattr(deep_ae, "_ANSWERS", pieces_of * self.model.n_items)
        losses = self.model.train().losses(self.block, {}, self.step)
        next(losses)
        Y = self.answers(weights_of(self.model))
        self.move()
        return next(losses), Y, losses

    def move(self):
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


class TestEquations:
    @cases
    def test_loss_parts(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        parts = numbers(parts_of(case.model.train(), case.block, case.step))
        assert parts == pytest.approx(case.loss(weights_of(case.model)), rel=1e-9)

    @cases
    def test_gradients(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        torch.stack(list(parts_of(case.model.train(), case.block, case.step).values())).sum().backward()
        assert_gradients(case.model, lambda P: sum(case.loss(P).values()))

    @cases
    def test_scores(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        config = case.config.model_copy(update={"learn_from": "all"})  # answers lose no inputs
        Y, _, B = dense_deep_ae.outputs(weights_of(case.model), config, case.R, case.M, np.ones_like(case.R))
        np.testing.assert_allclose(predictions(case.model, case.block), Y + B, rtol=0, atol=1e-10)

    def test_validation_loss_is_of_the_targets(self, parts):
        model, block = build("deep_ae", parts[0], "published", **TINY)
        Y = predictions(model, block)
        R, M = dense_ratings(parts[1])
        step, targets = step_of(block, n_targets=len(parts[1])), double(rating_block(parts[1]))
        losses = numbers(model.loss(block, {}, step, targets))
        assert losses == pytest.approx({"rec": ((R - Y)[M] ** 2).mean()}, rel=1e-9)

    def test_rows_without_ratings_are_answered(self, small_ratings):
        model, _ = build("deep_ae", small_ratings, "published", **TINY)
        empty = Ratings.empty(small_ratings.users, small_ratings.items, small_ratings.scale)
        assert np.isfinite(predictions(model, double(rating_block(empty)))).all()


class TestFeedingAgain:
    @cases
    def test_loss(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        parts, Y, _ = case.fed_again()
        wanted, _ = case.refed(weights_of(case.model), Y)
        assert numbers(parts) == pytest.approx({"refeed": wanted}, rel=1e-9)

    @cases
    def test_gradients_take_the_answers_as_given(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        parts, Y, _ = case.fed_again()
        parts["refeed"].backward()
        assert_gradients(case.model, lambda P: case.refed(P, Y)[0])

    def test_the_third_step_is_fed_what_the_second_said(self, small_ratings, monkeypatch):
        case = Case(small_ratings, monkeypatch, {"refeeds": 2})
        _, Y, losses = case.fed_again()
        _, again = case.refed(weights_of(case.model), Y)
        case.move()
        wanted, _ = case.refed(weights_of(case.model), again)
        assert numbers(next(losses)) == pytest.approx({"refeed": wanted}, rel=1e-9)
        assert next(losses, None) is None

    def test_pieces_add_up(self, small_ratings, monkeypatch):
        case = Case(small_ratings, monkeypatch, {"code_dropout": 0.0})
        parts, Y, _ = case.fed_again(monkeypatch, pieces_of=7)
        parts["refeed"].backward()
        assert numbers(parts) == pytest.approx({"refeed": case.refed(weights_of(case.model), Y)[0]}, rel=1e-9)
        assert_gradients(case.model, lambda P: case.refed(P, Y)[0])

    def test_pieces_drop_the_same_units_when_they_are_computed_again(self, small_ratings, monkeypatch):
        model, block = build("deep_ae", small_ratings, "published", **TINY)
        monkeypatch.setattr(deep_ae, "_ANSWERS", 7 * model.n_items)
        losses = model.train().losses(block, {}, step_of(block))
        next(losses)
        dropped, dropout = [], deep_ae.dropout

        def watched(x, rate, training, key):
            out = dropout(x, rate, training, key)
            dropped.append(out.detach() == 0)
            return out

        monkeypatch.setattr(deep_ae, "dropout", watched)
        next(losses)["refeed"].backward()
        first, again = dropped[:9], dropped[9:]  # 60 users are 9 pieces; the backward pass begins at the last
        assert len(again) == 9
        assert all(torch.equal(one, other) for one, other in zip(first, reversed(again), strict=True))
        assert not torch.equal(first[0], first[1])

    @pytest.mark.parametrize("refeeds", [0, 1, 3])
    def test_each_time_is_a_step(self, small_ratings, monkeypatch, refeeds):
        steps = []
        step = Adam.step
        monkeypatch.setattr(Adam, "step", lambda optimiser: (steps.append(1), step(optimiser)))
        fitted = Recommender("deep_ae", **{**SMALL, "epochs": 2, "refeeds": refeeds}).fit(small_ratings)
        assert len(steps) == 2 * 3 * (1 + refeeds)  # 58 users with ratings are three batches
        assert ("refeed" in fitted.training.epochs[0].parts) == (refeeds > 0)


@pytest.mark.parametrize("plan", [{"block_users": 7}, {"batch_users": None}, {"matmul": "bfloat16"}, {"tied": True}])
def test_any_plan_trains_it(parts, plan):
    fitted = Recommender("deep_ae", **{**SMALL, "epochs": 2, **plan}).fit(*parts, seed=1)
    assert np.isfinite(list(fitted.training.epochs[-1].parts.values())).all()


def test_blocks_of_a_step_add_up(parts):
    settings = {
        **SMALL,
        "epochs": 2,
        "code_dropout": 0.0,
        "batch_users": None,
        "optimiser": "sgd",
        "preset": "published",
    }
    whole, blocks = (
        Recommender("deep_ae", **settings, **more).fit(*parts, seed=1) for more in ({}, {"block_users": 7})
    )
    torch.testing.assert_close(blocks.model.item_rows, whole.model.item_rows, rtol=0, atol=1e-5)


def test_tied_weights_are_one(small_ratings):
    model = Recommender("deep_ae", **SMALL, tied=True).fit(small_ratings).model
    assert model.head.rows is model.inputs.table
    assert not any(name.startswith("decoder") and "weight" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(model.item_rows[:, :-1], model.inputs.table.detach())


def test_a_run_holds_the_head_once_and_an_update_has_it_again(small_ratings):
    model = Recommender("deep_ae", **SMALL).fit(small_ratings).model
    assert not any(name.startswith("head.") for name in model.answering_state())
    state, recovered = model.state_dict(), model.recover_training_state(rating_block(small_ratings))
    assert set(recovered) == {"head.rows", "head.bias"}
    for name, tensor in recovered.items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=1e-6)


def test_ranking_mode_is_refused():
    with pytest.raises(ConfigError, match="gaussian"):
        Recommender("deep_ae", likelihood="multinomial")


def test_published_defaults():
    config, plan = REGISTRY["deep_ae"].presets["published"]
    assert (config.hidden, config.latent, config.code_dropout) == ((512, 512), 1024, 0.8)
    assert (config.refeeds, config.tied, config.input_dropout) == (1, False, 0)
    assert (plan.optimiser, plan.learning_rate, plan.batch_users) == ("sgd", 0.005, 128)
