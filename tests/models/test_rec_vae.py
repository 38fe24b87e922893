"""RecVAE: the contract in both modes, its equations, and encoder and decoder learning in turns."""

import shutil

import dense_rec_vae
import dense_rows
import numpy as np
import pytest
import torch
from contract import ModelContract, RankingContract
from equations import (
    assert_gradients,
    build,
    dense_ratings,
    double,
    fix_dropout,
    fix_normal,
    numbers,
    parts_of,
    predictions,
    step_of,
    weights_of,
)

from hyvae.errors import ConfigError
from hyvae.models import REGISTRY, feedback
from hyvae.models.settings import configure
from hyvae.nn import latent
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block
from hyvae.training import Checkpointing, train, trainer
from hyvae.training.checkpoint import Keeper

SMALL = {"hidden": 14, "layers": 3, "latent": 6, "epochs": 15, "batch_users": 20, "learning_rate": 0.01}


class TestRating(ModelContract):
    model = "rec_vae"
    settings = SMALL


class TestRanking(RankingContract):
    model, preset = "rec_vae", "ranking"
    settings = SMALL


# -- equations ------------------------------------------------------------------------------------------

TINY = {"hidden": 7, "latent": 4, "gamma": 0.02}
VARIANTS = {
    "as published": {},
    "multinomial": {"likelihood": "multinomial"},
    "logistic": {"likelihood": "logistic"},
    "one beta for all": {"gamma": None, "beta": 0.3},
    "another prior": {"prior": (0.5, 0.5, 0.0), "likelihood": "multinomial"},
    "one layer": {"layers": 1},
    "presence": {"presence": True, "center": "global"},
    "from what was dropped": {"learn_from": "dropped", "input_dropout": 0.3},
    "l2": {"l2": 0.03},
}
cases = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
rounds = pytest.mark.parametrize("has_earlier", [False, True], ids=["first round", "later"])


class Case:
    """The model on `ratings`, and the same in numpy."""

    def __init__(self, ratings, monkeypatch, settings, has_earlier=True):
        self.model, self.block = build("rec_vae", ratings, **{**TINY, **settings})
        self.model.has_earlier.fill_(float(has_earlier))
        self.has_earlier, self.config = has_earlier, self.model.config
        self.earlier = {name: W for name, W in weights_of(self.model).items() if name.startswith("earlier.")}
        self.R, self.M = dense_ratings(ratings)
        mask = fix_dropout(monkeypatch, feedback)
        where = self.M if self.config.likelihood == "gaussian" else dense_rows.taken(self.R, self.M) > 0
        self.K = np.zeros_like(self.R)
        self.K[where] = mask((where.sum(),), self.config.input_dropout)
        self.noise = fix_normal(monkeypatch, latent, (len(self.R), self.config.latent))

    def parts(self, phase="encoder"):
        return parts_of(self.model.train(), self.block, step_of(self.block, phase=phase))

    def loss(self, P, K=None):
        K = self.K if K is None else K
        # what is kept of the encoder does not learn
        data = P | self.earlier, self.config, self.R, self.M, K
        return dense_rec_vae.loss(*data, self.noise, self.has_earlier)


class TestEquations:
    @cases
    @rounds
    def test_loss_parts(self, small_ratings, monkeypatch, settings, has_earlier):
        case = Case(small_ratings, monkeypatch, settings, has_earlier)
        assert numbers(case.parts()) == pytest.approx(case.loss(weights_of(case.model)), rel=1e-9)

    @cases
    def test_gradients(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        torch.stack(list(case.parts().values())).sum().backward()
        assert_gradients(case.model, lambda P: sum(case.loss(P).values()), without=case.earlier)

    @cases
    def test_the_decoder_learns_from_whole_inputs(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        case.config = case.config.model_copy(update={"learn_from": "all"})  # nothing is dropped
        wanted = case.loss(weights_of(case.model), np.ones_like(case.R))
        assert numbers(case.parts("decoder")) == pytest.approx(wanted, rel=1e-9)

    @cases
    def test_scores(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        config = case.config.model_copy(update={"learn_from": "all"})
        Y, *_, B = dense_rec_vae.outputs(weights_of(case.model), config, case.R, case.M, np.ones_like(case.R), 0.0)
        np.testing.assert_allclose(predictions(case.model, case.block), Y + B, rtol=0, atol=1e-10)

    def test_rows_without_ratings_are_answered(self, small_ratings):
        for settings in ({}, {"likelihood": "multinomial"}):
            model, _ = build("rec_vae", small_ratings, **{**TINY, **settings})
            empty = Ratings.empty(small_ratings.users, small_ratings.items, small_ratings.scale)
            assert np.isfinite(predictions(model, double(rating_block(None, empty)))).all()


class TestValidationLoss:
    def test_is_without_noise_and_dropout(self, parts):
        model, block = build("rec_vae", parts[0], **TINY)
        model.has_earlier.fill_(1.0)
        step = step_of(block, n_targets=len(parts[1]))
        targets = double(rating_block(None, parts[1]))
        losses = [numbers(model.eval().loss(block, {}, step, targets)) for _ in range(2)]
        assert losses[0] == losses[1]

    def test_its_kl_is_exact_against_one_normal_density(self, small_ratings):
        model, block = build("rec_vae", small_ratings, **TINY)
        with torch.no_grad():
            kl = float(model.eval().loss(block, {}, step_of(block, n_targets=block.pattern.nnz), block)["kl"])
        exact = latent.kl_to_standard_normal(*model.posterior(block)).sum(1)
        assert kl == pytest.approx(float((0.02 * block.counts * exact).mean()), rel=1e-9)

    def test_its_kl_is_about_the_mean_of_what_training_draws(self, small_ratings):
        model, block = build("rec_vae", small_ratings, **TINY, input_dropout=0.0)
        model.has_earlier.fill_(1.0)
        with torch.no_grad():
            noiseless = float(model.eval().loss(block, {}, step_of(block))["kl"])
            drawn = [float(model.train().loss(block, {}, step_of(block))["kl"]) for _ in range(400)]
        assert noiseless == pytest.approx(np.mean(drawn), rel=0.1)


def test_the_prior_is_shared_out(small_ratings):
    with pytest.raises(ConfigError, match="add up to 1"):
        Recommender("rec_vae", prior=(0.5, 0.4, 0.2))


@pytest.mark.parametrize("preset", ["default", "ranking"])
@pytest.mark.parametrize(
    "plan", [{"block_users": 7}, {"batch_users": None}, {"optimiser": "rmsprop"}, {"matmul": "bfloat16"}]
)
def test_any_plan_trains_it(parts, preset, plan):
    fitted = Recommender("rec_vae", preset=preset, **{**SMALL, "epochs": 2, **plan}).fit(*parts, seed=1)
    assert np.isfinite(list(fitted.training.epochs[-1].parts.values())).all()


def test_published_defaults():
    config, plan = REGISTRY["rec_vae"].presets["ranking"]
    assert (config.layers, config.hidden, config.latent, config.input_dropout) == (5, 600, 200, 0.5)
    assert (config.prior, config.gamma) == ((0.15, 0.75, 0.1), 0.005)
    assert (config.encoder_passes, config.decoder_passes) == (3, 1)
    assert (plan.optimiser, plan.learning_rate, plan.batch_users, plan.epochs) == ("adam", 5e-4, 500, 50)


# -- learning in turns ----------------------------------------------------------------------------------


def built(ratings, **settings):
    config, plan = configure(REGISTRY["rec_vae"], "default", {**SMALL, "epochs": 2, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return REGISTRY["rec_vae"](config, ratings.n_users, ratings.n_items, ratings.scale), plan


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before, after):
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


class TestTurns:
    @pytest.fixture
    def course(self, small_ratings, monkeypatch):
        """Phase, and state before and after, of each step; and states when phases end."""
        model, plan = built(small_ratings)
        steps, ends = [], []
        step, end_phase = trainer._Run._step, type(model).end_phase

        def watched_step(run, optimiser, blocks, number, phase):
            before = state_of(model)
            sums = step(run, optimiser, blocks, number, phase)
            steps.append((phase.name, before, state_of(model)))
            return sums

        def watched_end(self, name):
            end_phase(self, name)
            ends.append((name, len(steps), state_of(self)))

        monkeypatch.setattr(trainer._Run, "_step", watched_step)
        monkeypatch.setattr(type(model), "end_phase", watched_end)
        train(model, small_ratings, plan)
        return steps, ends

    def test_an_epoch_is_three_passes_of_the_encoder_and_one_of_the_decoder(self, course):
        steps, ends = course
        assert [phase for phase, *_ in steps] == 2 * (9 * ["encoder"] + 3 * ["decoder"])
        assert [(name, at) for name, at, _ in ends] == [
            ("encoder", 9),
            ("decoder", 12),
            ("encoder", 21),
            ("decoder", 24),
        ]

    def test_each_moves_its_own_weights_and_all_of_them(self, course):
        steps, _ = course
        names = {"encoder": set(), "decoder": set()}
        for phase, before, after in steps:
            names[phase] |= changed(before, after)
        state = steps[0][1]
        assert names["encoder"] == {name for name in state if name.startswith("encoder.")}
        assert names["decoder"] == {name for name in state if name.startswith("head.")}

    def test_the_earlier_encoder_is_the_encoder_after_its_turn(self, course):
        steps, ends = course
        for name, _, state in ends:
            earlier = {key.replace("earlier.", "encoder."): W for key, W in state.items() if key.startswith("earlier.")}
            assert earlier
            assert name != "encoder" or not changed(state, earlier)
            assert state["has_earlier"] == 1
        assert steps[0][1]["has_earlier"] == 0
        # a copy: it stays while the encoder goes on
        assert any(name.startswith("encoder.") for name in changed(steps[12][1], steps[20][2]))
        assert not any(name.startswith("earlier.") for name in changed(steps[12][1], steps[20][2]))

    @pytest.mark.bits
    def test_any_checkpoint_goes_on_to_the_same_bits(self, parts, tmp_path, monkeypatch):
        def run(**arguments):
            model, plan = built(parts[0], batch_users=30)
            train(model, parts[0], plan, validation=parts[1], seed=5, **arguments)
            return state_of(model)

        kept, save = [], Keeper.save

        def save_and_copy(keeper, state):
            save(keeper, state)
            kept.append(shutil.copy(keeper.path, tmp_path / f"{len(kept)}.copy"))

        uninterrupted = run()
        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "save", save_and_copy)
            assert not changed(uninterrupted, run(checkpoint=Checkpointing(tmp_path / "whole", every=0)))
        assert len(kept) == 2 * (4 * 2 + 1)
        for file in kept:
            shutil.copy(file, tmp_path / "run")
            assert not changed(uninterrupted, run(checkpoint=Checkpointing(tmp_path / "run", resume=True)))

    def test_a_run_holds_no_prior_and_an_update_has_it_again(self, small_ratings):
        fitted = Recommender("rec_vae", **SMALL).fit(small_ratings)
        assert not any(name.startswith(("earlier", "has_", "head")) for name in fitted.model.answering_state())
        state = fitted.model.state_dict()
        recovered = fitted.model.recover_training_state(rating_block(fitted.model, small_ratings))
        assert set(recovered) == {name for name in state if name.startswith(("earlier", "has_", "head"))}
        for name, tensor in recovered.items():
            torch.testing.assert_close(tensor, state[name], rtol=0, atol=1e-6)
