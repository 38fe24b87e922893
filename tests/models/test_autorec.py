"""AutoRec: the contract by items and by users, its equations, and the exact outputs that answer for anybody."""

import dense_autorec
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
from hyvae.models import REGISTRY, autorec
from hyvae.models.base import RatingBlock
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block

SMALL = {"width": 8, "l2": 2.0, "epochs": 40, "learning_rate": 0.01}


class TestItems(ModelContract):
    model, preset = "autorec", "published"
    settings = SMALL


class TestItemsCentred(ModelContract):
    model = "autorec"
    settings = {**SMALL, "input_dropout": 0.3}  # noqa: RUF012


class TestUsers(ModelContract):
    model, preset = "autorec", "user"
    settings = SMALL


# -- equations ------------------------------------------------------------------------------------------

VARIANTS = {
    "as published": {},
    "dropout": {"input_dropout": 0.3},
    "the mean": {"center": "global", "activation": "tanh"},
    "effects and scaling": {"center": "biases", "row_scaling": True, "activation": "identity"},
}
cases = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
modes = pytest.mark.parametrize("rows", ["items", "users"])


class Case:
    """The model on `ratings`, and the same in numpy."""

    def __init__(self, ratings, monkeypatch, settings):
        self.model, self.block = build("autorec", ratings, "published", **{"width": 6, "l2": 0.7, **settings})
        self.config = self.model.config
        self.R, self.M = dense_ratings(ratings)
        self.K = np.zeros_like(self.R)
        self.K[self.M] = fix_dropout(monkeypatch, autorec)((self.M.sum(),), self.config.input_dropout)

    def parts(self):
        return parts_of(self.model.train(), self.block, step_of(self.block))

    def loss(self, P):
        return dense_autorec.loss(P, self.config, self.R, self.M, self.K)

    def scores(self):
        P = weights_of(self.model)
        if self.config.rows == "items":
            return dense_autorec.item_scores(P, self.config, self.R, self.M)
        Y, _, B = dense_autorec.forward(P, self.config, self.R, self.M, np.ones_like(self.R))
        return Y + B


class TestEquations:
    @cases
    @modes
    def test_loss_parts(self, small_ratings, monkeypatch, settings, rows):
        case = Case(small_ratings, monkeypatch, {**settings, "rows": rows})
        assert numbers(case.parts()) == pytest.approx(case.loss(weights_of(case.model)), rel=1e-9)

    @cases
    @modes
    def test_gradients(self, small_ratings, monkeypatch, settings, rows):
        case = Case(small_ratings, monkeypatch, {**settings, "rows": rows})
        torch.stack(list(case.parts().values())).sum().backward()
        assert_gradients(case.model, lambda P: sum(case.loss(P).values()))

    @cases
    @modes
    def test_scores(self, small_ratings, monkeypatch, settings, rows):
        case = Case(small_ratings, monkeypatch, {**settings, "rows": rows})
        np.testing.assert_allclose(predictions(case.model, case.block), case.scores(), rtol=0, atol=1e-9)

    @modes
    def test_rows_without_ratings_are_answered(self, small_ratings, rows):
        model, _ = build("autorec", small_ratings, "published", rows=rows, width=6)
        empty = Ratings.empty(small_ratings.users, small_ratings.items, small_ratings.scale)
        assert np.isfinite(predictions(model, double(rating_block(None, empty)))).all()

    @modes
    def test_validation_is_without_dropout_and_in_the_unit_of_training(self, small_ratings, rows):
        model, block = build("autorec", small_ratings, "published", rows=rows, width=6, input_dropout=0.5)
        step = step_of(block, n_targets=block.pattern.nnz)
        model.eval()
        with torch.no_grad():
            shared = model.shared(block, step)
            measured = float(model.loss(block, shared, step, block)["rec"])
        errors = (predictions(model, block)[block.pattern.row, block.pattern.col] - block.values.numpy()) ** 2
        assert measured == pytest.approx(errors.sum() / model.n_users, rel=1e-9)


# -- outputs of anybody ---------------------------------------------------------------------------------


class TestRegressions:
    @pytest.mark.parametrize("intercept", [True, False])
    @pytest.mark.parametrize("width", [3, 12, 40], ids=["few units", "some", "more units than ratings"])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
    def test_are_exact(self, small_ratings, width, dtype, tolerance, intercept):
        H = np.random.default_rng(0).random((small_ratings.n_items, width))
        block = rating_block(None, small_ratings)
        codes = torch.from_numpy(H).to(dtype)
        outputs, bias = autorec.regressions(block.values.to(dtype), codes, block.pattern, 0.3, intercept)
        assert outputs.dtype == dtype
        for user in range(small_ratings.n_users):
            items, ratings = small_ratings.history(user)
            w, b = np.zeros(width), 0.0
            if len(items):
                w, b = dense_autorec.best_outputs(H[items], ratings, 0.3, intercept)
            np.testing.assert_allclose(outputs[user], w, rtol=0, atol=tolerance)
            assert float(bias[user]) == pytest.approx(b, abs=tolerance)

    def test_are_what_the_loss_asks_for(self, small_ratings):
        # at them the gradient of the outputs vanishes, that of their penalty included: λ has the same unit in both
        model, block = build("autorec", small_ratings, "published", width=6, l2=0.7)
        state = model.state_dict()
        predictions(model, block)
        state.update(model.recover_training_state(block))
        model.load_state_dict(state)
        model.n_training = step_of(block).n_users
        torch.stack(list(parts_of(model.train(), block, step_of(block)).values())).sum().backward()
        assert model.by_user.outputs.grad.abs().max() < 1e-12
        assert model.by_user.output_bias.grad.abs().max() < 1e-12
        assert model.by_user.inputs.grad.abs().max() > 1e-3


class TestNewItems:
    @pytest.mark.parametrize("center", ["none", "global"])
    def test_have_the_codes_that_they_would_have_in_training(self, small_ratings, center):
        model, block = build("autorec", small_ratings, "published", width=6, center=center)
        predictions(model, block)
        t = block.pattern.transpose
        columns = RatingBlock(
            SparsePattern((model.n_items, model.n_users), t.crow, t.col), block.values[t.order.long()]
        )
        rows, bias = model.encode_items(columns, block)
        torch.testing.assert_close(rows, model.item_rows, rtol=0, atol=1e-12)
        torch.testing.assert_close(bias, model.item_bias, rtol=0, atol=1e-12)

    def test_are_answered_once_they_are_added(self, small_ratings):
        fitted = Recommender("autorec", **SMALL).fit(small_ratings)
        users = fitted.history.users.ids[:10].tolist()
        wider = fitted.with_items({7: dict.fromkeys(users, 5.0), 8: dict.fromkeys(users, 1.0)})
        liked, disliked = (wider.predict(users, [item] * len(users)).mean() for item in (7, 8))
        assert liked > disliked + 0.5
        forgotten = wider.without_users(users[:3])
        assert np.isfinite(forgotten.predict(users[3:], [7] * 7)).all()

    def test_are_refused_where_users_are_encoded(self, small_ratings):
        fitted = Recommender("autorec", preset="user", **{**SMALL, "epochs": 1}).fit(small_ratings)
        assert not fitted.model.encodes_items
        with pytest.raises(ConfigError, match="cannot encode new items"):
            fitted.model.encode_items(
                rating_block(fitted.model, small_ratings), rating_block(fitted.model, small_ratings)
            )


# -- training -------------------------------------------------------------------------------------------


@modes
@pytest.mark.parametrize("plan", [{"block_users": 7}, {"batch_users": 20}, {"batch_users": 20, "optimiser": "rmsprop"}])
def test_any_plan_trains_it(parts, rows, plan):
    settings = {**SMALL, "optimiser": "adam", "schedule": "one_cycle", "epochs": 10, **plan}
    fitted = Recommender("autorec", rows=rows, **settings).fit(*parts, seed=1)
    first, last = fitted.training.epochs[0].parts["rec"], fitted.training.epochs[-1].parts["rec"]
    assert last < first


@modes
def test_blocks_of_a_step_add_up(small_ratings, rows):
    model, block = build("autorec", small_ratings, "published", rows=rows, width=6)
    step = step_of(block)
    with torch.no_grad():
        shared = model.shared(block, step)
        whole = model.loss(block, shared, step)["rec"]
        pieces = [model.loss(block.rows(a, b), shared, step)["rec"] for a, b in ((0, 13), (13, model.n_users))]
    assert float(sum(pieces)) == pytest.approx(float(whole), rel=1e-12)


@modes
def test_a_run_leaves_out_the_outputs_and_an_update_has_them_again(small_ratings, rows):
    fitted = Recommender("autorec", rows=rows, **{**SMALL, "epochs": 600, "patience": None}).fit(small_ratings)
    kept, state = fitted.model.answering_state(), fitted.model.state_dict()
    recovered = fitted.model.recover_training_state(rating_block(fitted.model, small_ratings))
    assert set(recovered) == set(state) - set(kept)
    for name, tensor in recovered.items():
        # by items: exact at the optimum, which training comes near
        rated = tensor.new_tensor(small_ratings.user_counts > 0, dtype=torch.bool) if rows == "items" else slice(None)
        torch.testing.assert_close(tensor[rated], state[name][rated], rtol=0, atol=0.05 if rows == "items" else 1e-6)
    again = fitted.update(small_ratings)
    assert again.training.epochs[0].parts["rec"] < 1.1 * fitted.training.epochs[-1].parts["rec"]


def test_published_settings():
    config, plan = REGISTRY["autorec"].presets["published"]
    assert (config.rows, config.width, config.activation, config.center) == ("items", 500, "sigmoid", "none")
    assert (config.input_dropout, config.row_scaling) == (0.0, False)
    assert (plan.optimiser, plan.batch_users) == ("rprop", None)
    assert REGISTRY["autorec"].presets["user"].config.rows == "users"
