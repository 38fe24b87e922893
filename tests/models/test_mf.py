"""PMF: the contract, equation 4, and users' vectors that are solved for."""

import dense_mf
import numpy as np
import pytest
import torch
from contract import ModelContract
from equations import (
    assert_gradients,
    build,
    dense_ratings,
    double,
    numbers,
    parts_of,
    predictions,
    step_of,
    weights_of,
)

from hyvae.errors import ConfigError
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block

SMALL = {"latent": 3, "strength": 3.0, "epochs": 20, "batch_users": 20}


class TestMF(ModelContract):
    model = "mf"
    settings = SMALL


class TestEquations:
    @pytest.fixture(params=[0.5, 8.0])
    def case(self, request, small_ratings):
        model, block = build("mf", small_ratings, latent=3, strength=request.param, bias_shrinkage=2.0)
        return model, block, dense_ratings(small_ratings)

    def test_loss_parts(self, case):
        model, block, dense = case
        wanted = dense_mf.loss(weights_of(model), model.config, *dense)
        assert numbers(parts_of(model, block, step_of(block))) == pytest.approx(wanted, rel=1e-9)

    def test_gradients_are_those_of_a_loss_that_solves_for_the_users_anew(self, case):
        model, block, dense = case
        torch.stack(list(parts_of(model, block, step_of(block)).values())).sum().backward()
        assert_gradients(model, lambda P: sum(dense_mf.loss(P, model.config, *dense).values()))

    def test_scores(self, case):
        model, block, dense = case
        wanted, _ = dense_mf.outputs(weights_of(model), model.config, *dense)
        np.testing.assert_allclose(predictions(model, block), wanted, rtol=0, atol=1e-10)

    def test_users_vectors_are_ridge_regressions(self, case):
        model, block, dense = case
        _, wanted = dense_mf.outputs(weights_of(model), model.config, *dense)
        model.finish(block)
        np.testing.assert_allclose(model.encode(block)[:, :-1], wanted, rtol=0, atol=1e-10)

    def test_validation_loss_is_of_the_targets(self, parts):
        train, held_out = parts
        model, block = build("mf", train, latent=3)
        targets = double(rating_block(None, held_out))
        step = step_of(block, n_targets=len(held_out))
        Y, _ = dense_mf.outputs(weights_of(model), model.config, *dense_ratings(train))
        R, M = dense_ratings(held_out)
        error = ((R - Y)[M] ** 2).mean() * len(train) / (2 * train.n_users)
        assert numbers(model.loss(block, {}, step, targets))["rec"] == pytest.approx(error, rel=1e-9)


def test_an_item_without_ratings_has_no_taste(small_ratings):
    model = Recommender("mf", **SMALL).fit(small_ratings).model
    rated = small_ratings.item_counts > 0
    assert not model.item_rows[~rated, :-1].any()
    assert not model.item_bias[~rated].any()
    assert model.item_rows[rated, :-1].any(1).all()


def test_nobody_has_parameters(small_ratings):
    model = Recommender("mf", **SMALL).fit(small_ratings).model
    assert {tuple(parameter.shape) for parameter in model.parameters()} == {(80, 3), (80,)}


def test_without_ratings_a_user_is_the_mean_user(small_ratings):
    fitted = Recommender("mf", **SMALL).fit(small_ratings)
    empty = Ratings.empty(small_ratings.users, small_ratings.items, small_ratings.scale)
    codes = fitted.model.encode(rating_block(fitted.model, empty))
    assert not codes[:, :-1].any()
    torch.testing.assert_close(codes[:, -1], fitted.model.mean.expand(len(codes)))


def test_new_items_are_refused(small_ratings):
    fitted = Recommender("mf", **SMALL).fit(small_ratings)
    assert not fitted.model.encodes_items
    with pytest.raises(ConfigError, match="cannot encode new items"):
        fitted.model.encode_items(rating_block(fitted.model, small_ratings), rating_block(fitted.model, small_ratings))


def test_a_run_holds_the_item_vectors_once_and_an_update_has_them_again(small_ratings):
    model = Recommender("mf", **SMALL).fit(small_ratings).model
    assert not any(name.startswith(("item_vectors", "offset")) for name in model.answering_state())
    state, recovered = model.state_dict(), model.recover_training_state(rating_block(model, small_ratings))
    assert set(recovered) == {"item_vectors", "offset"}
    for name, tensor in recovered.items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("plan", [{"block_users": 7}, {"batch_users": None}, {"optimiser": "rmsprop"}])
def test_any_plan_trains_it(parts, plan):
    fitted = Recommender("mf", **{**SMALL, "epochs": 2, **plan}).fit(*parts, seed=1)
    assert np.isfinite(list(fitted.training.epochs[-1].parts.values())).all()


def test_blocks_of_a_step_add_up(parts):
    settings = {**SMALL, "epochs": 3, "batch_users": None}
    whole, blocks = (Recommender("mf", **settings, **more).fit(*parts, seed=1) for more in ({}, {"block_users": 7}))
    torch.testing.assert_close(blocks.model.item_rows, whole.model.item_rows, rtol=0, atol=1e-4)
