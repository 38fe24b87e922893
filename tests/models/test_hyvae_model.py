"""Hy-VAE: the contract for both presets, and every equation against a dense transcription."""

import copy
from dataclasses import replace

import dense_hyvae
import numpy as np
import pytest
import torch
from contract import ModelContract

from hyvae.errors import ConfigError
from hyvae.models import hyvae
from hyvae.models.base import RatingBlock, Step
from hyvae.models.hyvae import HyVAE
from hyvae.models.settings import configure
from hyvae.nn import latent
from hyvae.nn.hiding import visible_ratings
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings
from hyvae.scoring import rating_block

N_USERS, N_ITEMS = 60, 80
SMALL_DEFAULT = {"hidden": 12, "latent": 4, "deep_layers": (5,), "samples": 0}
SMALL_PAPER = {"hidden": 10, "latent": 6, "deep_layers": (7, 5), "decoder": 8, "deep_dropout": 0.0}
QUICK = {"epochs": 30, "batch_users": 25, "learning_rate": 3e-3}


class TestHyVAEDefault(ModelContract):
    model = "hyvae"
    settings = {**SMALL_DEFAULT, "epochs": 20, "validate_every": 5}  # noqa: RUF012


class TestHyVAEWithDraws(ModelContract):
    """Draws of the linear autoencoder beside the network."""

    model, preset = "hyvae", "default"
    settings = {**TestHyVAEDefault.settings, "samples": 5, "sample_width": 4, "sweeps": 10}  # noqa: RUF012


class TestHyVAEPaper(ModelContract):
    model, preset = "hyvae", "paper"
    # centred, since uncentred ratings take longer to learn than a test may
    settings = {**SMALL_PAPER, **QUICK, "center": "global"}  # noqa: RUF012


class TestHyVAEFolded(ModelContract):
    """One-sided: no item encoder, no hiding."""

    model, preset = "hyvae", "paper"
    settings = {**SMALL_PAPER, **QUICK, "fusion": "folded", "center": "biases"}  # noqa: RUF012


class TestHyVAEOrdinal(ModelContract):
    """Ordered levels: the prediction is an expectation, no longer linear in the code."""

    model, preset = "hyvae", "default"
    settings = {**TestHyVAEDefault.settings, "likelihood": "ordinal"}  # noqa: RUF012


class TestHyVAEUnfoldable(ModelContract):
    """A ReLU before the fusion: scores come from the dense head itself."""

    model, preset = "hyvae", "paper"
    settings = {**SMALL_PAPER, **QUICK, "center": "global", "output_activation": "relu"}  # noqa: RUF012


# -- helpers --------------------------------------------------------------------------------------------


def build(ratings, preset="default", **settings):
    """A float64 model, prepared, with every weight (biases too) away from zero, and all ratings as a block."""
    small = SMALL_DEFAULT if preset == "default" else SMALL_PAPER
    config, _ = configure(HyVAE, preset, {**small, "bias_shrinkage": 5.0, **settings})
    torch.manual_seed(0)
    model = HyVAE(config, ratings.n_users, ratings.n_items, ratings.scale).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    block = double(rating_block(None, ratings))
    with torch.no_grad():
        model.prepare(block)
    return model, block


def double(block):
    return replace(block, values=block.values.double())


def step_of(block, number=1, progress=1.0):
    return Step(number, progress, seed=5, n_users=block.pattern.shape[0], n_ratings=block.pattern.nnz)


def parts_of(model, block, step):
    weights = dict(model.named_parameters())
    squares = [penalty * weights[name].square().sum() for name, penalty in model.penalties().items()]
    return model.loss(block, model.shared(block, step), step) | ({"l2": sum(squares)} if squares else {})


def weights_of(model):
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def dense_ratings(ratings):
    R = np.zeros((ratings.n_users, ratings.n_items))
    M = np.zeros_like(R, dtype=bool)
    R[ratings.user_index, ratings.indices] = ratings.values
    M[ratings.user_index, ratings.indices] = True
    return R, M


def fix_noise(monkeypatch, width, n=N_USERS):
    noise = torch.from_numpy(np.random.default_rng(8).normal(size=(n, width)))
    monkeypatch.setattr(latent, "normal_like", lambda like: noise[: len(like)])
    return noise.numpy()


def predictions(model, block):
    """Scores of all pairs, by the way that answers are given."""
    model.eval()
    with torch.no_grad():
        model.finish(block)
        return model.score(model.encode(block), slice(0, model.n_items))


def assert_gradients(model, reference):
    """Each parameter's gradient along a random direction is the central difference of the reference's total."""
    rng, found = np.random.default_rng(2), 0
    P = weights_of(model)
    for name, parameter in model.named_parameters():
        gradient = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        direction = rng.normal(size=gradient.shape)
        h = 1e-6
        up, down = (reference(P | {name: P[name] + sign * h * direction}) for sign in (1, -1))
        wanted = (up - down) / (2 * h)
        assert (gradient * direction).sum() == pytest.approx(wanted, rel=1e-5, abs=1e-7), name
        found += bool(gradient.any())
    assert found == len(P), "a parameter without a gradient proves nothing"


# -- the paper's equations ------------------------------------------------------------------------------

VARIANTS = {
    "as published": {},
    "per user": {"loss_reduction": "user"},
    "mean fill": {"fill": "user_mean"},
    "mean fill, biases": {"fill": "user_mean", "center": "biases"},
    "global mean": {"center": "global"},
    "biases": {"center": "biases"},
    "multinomial": {"likelihood": "multinomial", "loss_reduction": "user"},
    "relu outputs": {"output_activation": "relu"},
    "presence and scaling": {"presence": True, "row_scaling": True},
    "warm-up": {"kl_warmup": 0.8},
    "no deep loss": {"deep_loss": "none"},
    "l2 everywhere": {"l2_scope": "all"},
    "deeper": {"deep_layers": (6, 7, 5)},
}
variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())


class TestPaperEquations:
    @variants
    def test_loss_parts(self, small_ratings, monkeypatch, settings):
        model, block = build(small_ratings, "paper", **settings)
        noise = fix_noise(monkeypatch, model.config.latent)
        parts = parts_of(model.train(), block, step_of(block, progress=0.4))
        wanted = dense_hyvae.paper_loss(
            weights_of(model), model.config, *dense_ratings(small_ratings), noise, 1.0, progress=0.4
        )
        assert {name: float(part.detach()) for name, part in parts.items()} == pytest.approx(wanted, rel=1e-9)

    @variants
    def test_gradients(self, small_ratings, monkeypatch, settings):
        model, block = build(small_ratings, "paper", **settings)
        noise = fix_noise(monkeypatch, model.config.latent)
        torch.stack(list(parts_of(model.train(), block, step_of(block)).values())).sum().backward()
        R, M = dense_ratings(small_ratings)
        assert_gradients(model, lambda P: sum(dense_hyvae.paper_loss(P, model.config, R, M, noise, 1.0).values()))

    @variants
    def test_predictions_at_mu(self, small_ratings, settings):
        model, block = build(small_ratings, "paper", predict_with="mu", **settings)
        R, M = dense_ratings(small_ratings)
        x_hat, *_ = dense_hyvae.paper_forward(weights_of(model), model.config, R, M, 0.0, 1.0)
        if model.config.likelihood == "multinomial":
            odds = np.exp(x_hat)
            wanted = R.sum(1, keepdims=True) * odds / odds.sum(1, keepdims=True)  # eq. 2–3
        else:
            wanted = x_hat + dense_hyvae.centring(R, M, M.astype(float), model.config)
        np.testing.assert_allclose(predictions(model, block).numpy(), wanted, rtol=0, atol=1e-10)

    def test_dropout_is_on_the_deterministic_code(self, small_ratings, monkeypatch):
        model, block = build(small_ratings, "paper", deep_dropout=0.8)
        noise = fix_noise(monkeypatch, model.config.latent)
        mask = torch.from_numpy(np.random.default_rng(9).random((N_USERS, 5)) < 0.2) / 0.2
        seen = []

        def fixed(x, p, training):
            seen.append((tuple(x.shape), p, training))
            return x * mask if p else x

        monkeypatch.setattr(hyvae, "dropout", fixed)
        parts = parts_of(model.train(), block, step_of(block))
        wanted = dense_hyvae.paper_loss(
            weights_of(model), model.config, *dense_ratings(small_ratings), noise, mask.numpy()
        )
        assert {name: float(part.detach()) for name, part in parts.items()} == pytest.approx(wanted, rel=1e-9)
        assert ((N_USERS, 5), 0.8, True) in seen

    def test_dropout_is_off_in_answers(self, small_ratings):
        answers = [predictions(*build(small_ratings, "paper", deep_dropout=p)) for p in (0.0, 0.8)]
        assert torch.equal(*answers)

    def test_one_branch_alone_is_its_own_output(self, small_ratings):
        for branch, kept in (("vae", "V"), ("deep", "D")):
            model, block = build(small_ratings, "paper", branches=branch)
            P = weights_of(model)
            h = dense_hyvae.relu(dense_ratings(small_ratings)[0] @ P["rating_table"] + P["hidden_bias"])
            if kept == "V":
                model.config = model.config.model_copy(update={"predict_with": "mu"})
                mu = h @ P["to_mean.weight"].T + P["to_mean.bias"]
                code = dense_hyvae.relu(mu @ P["decode_z.weight"].T + P["decode_z.bias"])
            else:
                for layer in (0, 1):
                    h = dense_hyvae.relu(h @ P[f"deep.{layer}.weight"].T + P[f"deep.{layer}.bias"])
                code = dense_hyvae.relu(h @ P["decode_deep.weight"].T + P["decode_deep.bias"])
            wanted = code @ P["fusion.outputs.0.weight"].T + P["fusion.outputs.0.bias"]
            np.testing.assert_allclose(predictions(model, block).numpy(), wanted, atol=1e-10)

    def test_ratings_of_zero_are_ratings(self):
        ratings = Ratings.from_arrays([1, 1, 2, 2], [1, 2, 1, 3], [0.0, 2.0, 0.0, 1.0])
        model, block = build(ratings, "paper")
        R, M = dense_ratings(ratings)
        assert M.sum() == 4
        noise = np.zeros((2, 6))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(latent, "normal_like", torch.zeros_like)
            rec = float(parts_of(model.train(), block, step_of(block))["rec"].detach())
        assert rec == pytest.approx(dense_hyvae.paper_loss(weights_of(model), model.config, R, M, noise, 1.0)["rec"])


# -- folding --------------------------------------------------------------------------------------------


class TestFolding:
    @pytest.mark.parametrize("center", ["none", "global", "biases"])
    def test_the_folded_head_is_the_dense_head(self, small_ratings, center):
        model, block = build(small_ratings, "paper", center=center)
        answers = predictions(model, block)
        with torch.no_grad():
            codes = model.encode(block)
            x_hat, _ = model.fusion(codes[:, :-1])
        dense = x_hat + codes[:, -1:] + model.item_effect
        pattern = block.pattern
        assert torch.equal(answers, model.score(codes, slice(0, N_ITEMS)))
        torch.testing.assert_close(
            model.score_pairs(codes, pattern), dense[pattern.row, pattern.col], rtol=0, atol=1e-10
        )

    def test_the_folded_head_is_the_dense_head_in_float32(self, small_ratings):
        model, block = build(small_ratings, "paper")
        model, block = model.float(), replace(block, values=block.values.float())
        answers = predictions(model, block)
        with torch.no_grad():
            x_hat, _ = model.fusion(model.encode(block)[:, :-1])
        torch.testing.assert_close(answers, x_hat, rtol=0, atol=1e-5)

    def test_a_saved_dense_model_leaves_the_fusion_out(self, small_ratings):
        model, _ = build(small_ratings, "paper")
        assert not [name for name in model.answering_state() if name.startswith("fusion")]
        kept, _ = build(small_ratings, "paper", output_activation="relu")
        assert [name for name in kept.answering_state() if name.startswith("fusion")]


# -- prediction and training ----------------------------------------------------------------------------


def training_outputs(model, block, draws):
    """x̂ at the ratings in training mode, draw after draw; (draws, nnz)."""
    torch.manual_seed(4)
    step = step_of(block)
    model.train()
    with torch.no_grad():
        shared = model.shared(block, step)
        outputs = []
        for _ in range(draws):
            hidden = model._encode_rows(block.pattern, block.values, None, model._user_tables(), model.hidden_bias)
            code, _, _ = model._branches(hidden)
            outputs.append(model._outputs(code, shared, block.pattern)[0])
    return torch.stack(outputs)


class TestPredictionMatchesTraining:
    """DESIGN's trap: a decoder that only ever saw noisy z must not be asked at μ."""

    DRAWS = 2000

    def case(self, ratings, **settings):
        model, block = build(ratings, "paper", **settings)
        with torch.no_grad():  # noise as wide as a KL near zero leaves it
            model.to_log_variance.bias.fill_(1.0)
            model.decode_z.weight.mul_(3)
        answers = predictions(model, block)[block.pattern.row, block.pattern.col]
        outputs = training_outputs(model, block, self.DRAWS)
        return (outputs.mean(0) - answers).abs() / (outputs.std(0) / self.DRAWS**0.5).clamp_min(1e-9)

    @pytest.mark.parametrize("fusion", ["dense", "folded"])
    def test_the_mean_prediction_is_the_mean_of_training_outputs(self, small_ratings, fusion):
        # five standard errors over the 1,200 ratings of one set of draws
        assert self.case(small_ratings, fusion=fusion).max() < 5

    def test_the_output_at_mu_is_not(self, small_ratings):
        assert self.case(small_ratings, predict_with="mu").median() > 5

    def test_linear_codes_need_no_noise(self, small_ratings):
        # without a decoder the output is linear in z: its mean is the output at μ
        model, _ = build(small_ratings)
        mean, log_variance = torch.randn(3, 4).double(), torch.zeros(3, 4).double()
        assert torch.equal(model.eval()._decode_variational(mean, log_variance), model.z_scale * mean)


# -- the default preset ---------------------------------------------------------------------------------


class TestTwoSided:
    def hidden_of(self, model, block, number=1):
        hidden = (visible_ratings(5, number, block.keys, model.config.hide) == 0).numpy()
        out = np.zeros(block.pattern.shape, dtype=bool)
        out[block.pattern.row[hidden], block.pattern.col[hidden]] = True
        return out

    def reference(self, model, block, ratings, noise):
        R, M = dense_ratings(ratings)
        hidden = self.hidden_of(model, block)
        scale, variance = float(model.z_scale), float(model.residual_variance)
        return lambda P: dense_hyvae.two_sided_loss(P, model.config, R, M, hidden, noise, scale, variance)

    SETTINGS = {"hidden_dropout": 0.0, "hide": 0.3}  # noqa: RUF012

    def test_loss_parts(self, small_ratings, monkeypatch):
        model, block = build(small_ratings, **self.SETTINGS)
        noise = fix_noise(monkeypatch, 4)
        parts = parts_of(model.train(), block, step_of(block))
        wanted = self.reference(model, block, small_ratings, noise)(weights_of(model))
        assert {name: float(part.detach()) for name, part in parts.items()} == pytest.approx(wanted, rel=1e-9)

    def test_gradients(self, small_ratings, monkeypatch):
        model, block = build(small_ratings, **self.SETTINGS)
        noise = fix_noise(monkeypatch, 4)
        torch.stack(list(parts_of(model.train(), block, step_of(block)).values())).sum().backward()
        loss = self.reference(model, block, small_ratings, noise)
        assert_gradients(model, lambda P: sum(loss(P).values()))

    def test_blocks_of_users_add_up(self, small_ratings, monkeypatch):
        model, block = build(small_ratings, hidden_dropout=0.0, branches="deep")
        step = step_of(block)
        with torch.no_grad():
            shared = model.shared(block, step)
            whole = model.loss(block, shared, step)
            halves = [
                model.loss(double(rating_block(None, small_ratings, users)), shared, step)
                for users in (np.arange(25), np.arange(25, 60))
            ]
        assert {name: float(sum(half[name] for half in halves)) for name in whole} == pytest.approx(
            {name: float(part) for name, part in whole.items()}, rel=1e-12
        )

    def test_free_vectors_are_no_part_of_answers(self, small_ratings):
        model, block = build(small_ratings)
        before = predictions(model, block)
        with torch.no_grad():
            model.user_vectors.add_(7.0)
        assert torch.equal(predictions(model, block), before)

    def test_a_run_leaves_free_vectors_out(self, small_ratings):
        model, _ = build(small_ratings)
        assert not [name for name in model.answering_state() if name.startswith(("user_vectors", "item_free"))]

    def test_predictions_without_refinement(self, small_ratings):
        model, block = build(small_ratings, refine=None)
        P, (R, M) = weights_of(model), dense_ratings(small_ratings)
        W, c = M.astype(float), model.config
        baseline = dense_hyvae.centring(R, M, W, c)
        X = np.where(M, R - baseline, 0.0)
        h = dense_hyvae.shared_layer(X, W, c, P["rating_table"], P["presence_table"], P["hidden_bias"])
        g = dense_hyvae.shared_layer(
            X.T, W.T, c, P["user_rating_table"], P["user_presence_table"], P["item_hidden_bias"]
        )
        code = np.hstack([h @ P["to_mean.weight"].T + P["to_mean.bias"], h @ P["deep.0.weight"].T + P["deep.0.bias"]])
        rows = P["item_free"] + g @ P["to_item_row.weight"].T + P["to_item_row.bias"]
        np.testing.assert_allclose(predictions(model, block).numpy(), baseline + code @ rows.T, rtol=0, atol=1e-10)

    def test_refinement_is_a_ridge_on_cross_fitted_residuals(self, small_ratings):
        model, block = build(small_ratings, refine=7.0)
        plain, _ = build(small_ratings, refine=None)
        predictions(model, block), predictions(plain, block)
        with torch.no_grad():
            correction = (model.encode(block) - plain.encode(block))[:, :-1].numpy()
            missed = model._cross_fitted_residuals(block)
        for user in (0, 13, N_USERS - 1):
            at = slice(int(block.pattern.crow[user]), int(block.pattern.crow[user + 1]))
            Q = model.item_rows[block.pattern.col[at], :-1].numpy()
            wanted = np.linalg.solve(Q.T @ Q + 7.0 * np.eye(Q.shape[1]), Q.T @ missed[at].numpy())
            np.testing.assert_allclose(correction[user], wanted, atol=1e-9)

    @pytest.mark.parametrize("center", ["none", "global"])
    def test_refinement_does_not_see_what_the_item_bias_explains(self, small_ratings, center):
        # outputs that are right to the last digit leave nothing to refine, wherever the model keeps its item biases
        model, block = build(small_ratings, center=center, refine=1.0, item_encoder=False, hide=0.0)
        with torch.no_grad():
            model.item_free.fill_(1.0)
            model.head_bias.copy_(torch.linspace(-1, 1, N_ITEMS))
            exact = replace(block, values=model.mean + model.head_bias[block.pattern.col])
            for layer in (model.to_mean, model.deep[0]):
                layer.weight.zero_(), layer.bias.zero_()
        answers = predictions(model, exact)
        torch.testing.assert_close(answers[exact.pattern.row, exact.pattern.col], exact.values)


# -- nothing predicts itself ----------------------------------------------------------------------------


def perturbed(block, at, by=1.0):
    values = block.values.clone()
    values[at] += by
    return replace(block, values=values)


def seen_in_a_step(model, block, step):
    """Everything that a step computes before it compares with a rating, and the loss parts."""
    recorded = {}
    branches, outputs = model._branches, model._outputs

    def record_branches(hidden):
        recorded["code"], mean, log_variance = branches(hidden)
        return recorded["code"], mean, log_variance

    def record_outputs(code, shared, pattern):
        recorded["output"], *others = outputs(code, shared, pattern)
        return recorded["output"], *others

    torch.manual_seed(6)
    model.train()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        shared = model.shared(block, step)
        patch.setattr(model, "_branches", record_branches)
        patch.setattr(model, "_outputs", record_outputs)
        parts = model.loss(block, shared, step)
    return {**shared, **recorded}, parts


class TestHiddenRatings:
    @pytest.fixture
    def case(self, small_ratings):
        model, block = build(small_ratings, vae_loss=0.0)
        step = step_of(block, number=3)
        hidden = visible_ratings(5, 3, block.keys, model.config.hide) == 0
        return model, block, step, hidden

    def test_a_hidden_rating_reaches_no_prediction(self, case):
        model, block, step, hidden = case
        before, _ = seen_in_a_step(model, block, step)
        for at in torch.nonzero(hidden)[:5, 0]:
            after, _ = seen_in_a_step(model, perturbed(block, at), step)
            assert before.keys() == after.keys()
            for name, tensor in before.items():
                assert torch.equal(tensor, after[name]), name

    def test_a_hidden_rating_changes_its_own_term_of_the_loss_only(self, case):
        model, block, step, hidden = case
        at = torch.nonzero(hidden)[4, 0]
        before, parts = seen_in_a_step(model, block, step)
        _, changed = seen_in_a_step(model, perturbed(block, at), step)
        assert torch.equal(parts["kl"], changed["kl"])
        row, col = block.pattern.row[at], block.pattern.col[at]
        centred = block.values[at] - before["mean"] - before["item_effect"][col] - before["user_effect"][row]
        error = centred - before["output"][4]
        own_term = ((error + 1).square() - error.square()) / (step.n_ratings * model.config.hide)
        assert float(changed["rec"] - parts["rec"]) == pytest.approx(float(own_term), rel=1e-9)

    @pytest.mark.parametrize("name", ["mean", "item_effect", "user_effect", "item_rows", "code", "output"])
    def test_a_visible_rating_reaches_everything(self, case, name):
        model, block, step, hidden = case
        before, _ = seen_in_a_step(model, block, step)
        after, _ = seen_in_a_step(model, perturbed(block, torch.nonzero(~hidden)[0, 0]), step)
        assert not torch.equal(before[name], after[name])

    def test_only_hidden_ratings_are_learnt_from(self, case):
        model, block, step, hidden = case
        recorded, _ = seen_in_a_step(model, block, step)
        assert len(recorded["output"]) == int(hidden.sum())

    def test_another_step_hides_others(self, case):
        model, block, step, _ = case
        recorded, _ = seen_in_a_step(model, block, step)
        later, _ = seen_in_a_step(model, block, step._replace(number=4))
        assert not torch.equal(recorded["mean"], later["mean"])


def cross_fitted(model, block):
    """Cross-fitted predictions of a block's own ratings, to the 12th digit."""
    with torch.no_grad():
        missed = model._cross_fitted_residuals(block)
    return (block.values - model.mean - model.item_effect[block.pattern.col] - missed).numpy().round(12)


class TestCrossFitting:
    @pytest.fixture
    def case(self, small_ratings):
        model, block = build(small_ratings)
        predictions(model, block)
        return model, block

    def test_no_rating_reaches_its_own_prediction(self, case):
        model, block = case
        before = cross_fitted(model, block)
        for at in (0, 7, 100, block.pattern.nnz - 1):
            assert cross_fitted(model, perturbed(block, at))[at] == before[at]

    def test_each_prediction_is_by_an_encoding_of_the_other_folds(self, case):
        model, block = case
        user = slice(int(block.pattern.crow[4]), int(block.pattern.crow[5]))
        fold = np.arange(user.stop - user.start) % hyvae.CROSS_FIT_FOLDS
        predicted = cross_fitted(model, block)[user]
        plain = copy.copy(model)
        plain.config = model.config.model_copy(update={"refine": None})
        for held_out in range(hyvae.CROSS_FIT_FOLDS):
            items = block.pattern.col[user][fold != held_out]
            others = SparsePattern((1, N_ITEMS), torch.tensor([0, len(items)]), items)
            code = plain.encode(RatingBlock(others, block.values[user][fold != held_out]))
            scores = (code[:, :-1] @ model.item_rows[:, :-1].T + code[:, -1:] - model.mean)[0]
            asked = block.pattern.col[user][fold == held_out]
            np.testing.assert_allclose(predicted[fold == held_out], scores[asked].numpy(), atol=1e-10)

    def test_a_rating_reaches_the_others_of_its_user_only(self, case):
        model, block = case
        own = slice(int(block.pattern.crow[4]), int(block.pattern.crow[5]))
        moved = torch.from_numpy(cross_fitted(model, block) != cross_fitted(model, perturbed(block, own.start)))
        assert not moved[: own.start].any()
        assert not moved[own.stop :].any()
        fold = torch.arange(own.stop - own.start) % hyvae.CROSS_FIT_FOLDS
        assert torch.equal(moved[own], fold != 0)

    def test_a_single_rating_is_predicted_by_an_empty_history(self, small_ratings, case):
        model, _ = case
        single = double(rating_block(None, small_ratings.take(np.array([3]))))
        before, after = cross_fitted(model, single), cross_fitted(model, perturbed(single, 0))
        assert before == after
        assert np.isfinite(before).all()


# -- settings that do not fit together ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "settings", "why"),
    [
        ("paper", {"item_encoder": True}, "item_encoder needs"),
        ("paper", {"decoder": None}, "decoder width"),
        ("paper", {"user_vectors": True}, "user_vectors needs"),
        ("paper", {"fusion": "folded", "output_activation": "relu"}, "needs fusion='dense'"),
        ("paper", {"fusion": "folded", "likelihood": "multinomial"}, "needs fusion='dense'"),
        ("paper", {"output_activation": "relu", "refine": 1.0}, "refine needs a linear"),
        ("paper", {"likelihood": "multinomial", "center": "global"}, "needs center='none'"),
        ("paper", {"likelihood": "multinomial", "hide": 0.1}, "needs center='none'"),
        ("paper", {"activation": "tanh"}, "needs activation='relu'"),
        ("default", {"fusion": "dense"}, "fusion='folded'|decoder width"),
    ],
)
def test_settings_that_contradict_are_refused(preset, settings, why):
    with pytest.raises(ConfigError, match=why):
        configure(HyVAE, preset, settings)


def test_the_paper_preset_has_the_papers_values():
    config, plan = HyVAE.presets["paper"]
    assert (config.hidden, config.latent, config.decoder, config.activation) == (256, 512, 256, "relu")
    assert (config.beta, config.l2, config.deep_dropout) == (0.2, 1e-4, 0.8)
    assert (plan.optimiser, plan.learning_rate, plan.batch_users) == ("rmsprop", 1e-4, 500)
    assert (config.fusion, config.item_encoder, config.presence, config.hide) == ("dense", False, False, 0.0)


# -- the loss on validation ratings ---------------------------------------------------------------------

VALIDATED = {
    "default": {"hide": 0.0},
    "one-sided": {"hide": 0.0, "item_encoder": False},
    "global mean": {"hide": 0.0, "center": "global"},
    "per user": {"hide": 0.0, "loss_reduction": "user"},
    "per rating": {"hide": 0.0, "loss_reduction": "rating"},
    "deep loss": {"hide": 0.0, "deep_loss": "masked"},
    "ordinal": {"hide": 0.0, "likelihood": "ordinal"},
    "deep alone": {"hide": 0.0, "branches": "deep"},
}
validated = pytest.mark.parametrize("settings", VALIDATED.values(), ids=VALIDATED.keys())


def floats(parts):
    return {name: float(part.detach()) for name, part in parts.items()}


def on_targets(model, block, targets, n_targets=None):
    step = step_of(block)._replace(n_targets=n_targets or targets.pattern.nnz)
    with torch.no_grad():
        return floats(model.eval().loss(block, model.shared(block, step), step, targets))


class TestValidationLoss:
    @validated
    def test_on_the_inputs_themselves_it_is_the_training_loss(self, small_ratings, settings):
        model, block = build(small_ratings, **settings)
        with torch.no_grad():
            training = floats(model.eval().loss(block, model.shared(block, step_of(block)), step_of(block)))
        assert on_targets(model, block, block) == pytest.approx(training, rel=1e-9)
        assert {"rec"} < set(training) or settings.get("branches") == "deep"

    def test_so_it_is_for_the_papers_model(self, small_ratings):
        model, block = build(small_ratings, "paper")
        step = step_of(block)
        with torch.no_grad():
            training = floats(model.eval().loss(block, model.shared(block, step), step))
        assert on_targets(model, block, block) == pytest.approx(training, rel=1e-9)

    @pytest.mark.parametrize("reduction", ["elbo", "rating"])
    def test_errors_are_those_of_the_predictions(self, parts, reduction):
        train, validation = parts
        # without free vectors, refinement and a share of its own for one branch, answers are what the loss looks at
        model, block = build(train, loss_reduction=reduction, user_vectors=False, refine=None, vae_loss=0.0)
        targets = double(rating_block(None, validation))
        answers = predictions(model, block)[targets.pattern.row, targets.pattern.col]
        wanted = float((answers - targets.values).square().mean())
        assert on_targets(model, block, targets)["rec"] == pytest.approx(wanted, rel=1e-9)

    @pytest.mark.parametrize("reduction", ["elbo", "rating", "user"])
    def test_it_is_in_the_unit_of_the_training_loss_whatever_is_hidden(self, small_ratings, reduction):
        # the expected loss of a step: as many ratings of a user as are hidden, or the mean of all
        shares = []
        for hide in (0.0, 0.5):
            model, block = build(small_ratings, hide=hide, loss_reduction=reduction)
            shares.append(on_targets(model, block, block)["rec"])
        assert shares[1] == pytest.approx(shares[0] * (0.5 if reduction == "user" else 1), rel=1e-9)

    @validated
    def test_blocks_of_users_add_up(self, parts, settings):
        model, block = build(parts[0], **{**settings, "hide": 0.3})
        targets = double(rating_block(None, parts[1]))
        step = step_of(block)._replace(n_targets=len(parts[1]))
        with torch.no_grad():
            model.eval()
            shared = model.shared(block, step)
            pieces = []
            for users in (np.arange(7), np.arange(7, 40), np.arange(40, 60)):
                inputs, wanted = (double(rating_block(None, part, users)) for part in parts)
                pieces.append(floats(model.loss(inputs, shared, step, wanted)))
        whole = on_targets(model, block, targets)
        assert {name: sum(piece[name] for piece in pieces) for name in whole} == pytest.approx(whole, rel=1e-9)

    def test_it_sees_all_inputs_and_no_noise(self, parts):
        model, block = build(parts[0], hide=0.5, hidden_dropout=0.5)
        targets = double(rating_block(None, parts[1]))
        torch.manual_seed(1)
        one = on_targets(model, block, targets)
        torch.manual_seed(2)
        assert on_targets(model, block, targets) == one

    def test_a_target_reaches_its_own_term_only(self, parts):
        model, block = build(parts[0], vae_loss=0.0)
        targets = double(rating_block(None, parts[1]))
        before, after = on_targets(model, block, targets), on_targets(model, block, perturbed(targets, 3))
        assert before["kl"] == after["kl"]
        assert before["rec"] != after["rec"]

    @pytest.mark.parametrize("settings", [{}, {"center": "global"}, {"branches": "vae"}, {"loss_reduction": "user"}])
    def test_the_posterior_is_what_the_kl_is_made_of(self, small_ratings, settings):
        model, block = build(small_ratings, **{"hide": 0.0, "beta": 0.3, **settings})
        predictions(model, block)
        mean, log_variance = model.posterior(block)
        assert mean.shape == log_variance.shape == (N_USERS, 4)
        kl = float((0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)).sum())
        scale = 1 / N_USERS
        if model.config.loss_reduction == "elbo":
            scale = 2 * float(model.residual_variance) / block.pattern.nnz
        assert on_targets(model, block, block)["kl"] == pytest.approx(0.3 * scale * kl, rel=1e-9)

    def test_one_branch_has_no_posterior(self, small_ratings):
        model, block = build(small_ratings, branches="deep")
        assert model.posterior(block) is None
