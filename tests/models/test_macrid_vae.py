"""MacridVAE: the contract in both modes, its equations, and what its softmax over all items takes of memory."""

import dense_macrid_vae
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
from torch.utils._python_dispatch import TorchDispatchMode

from hyvae.errors import ConfigError
from hyvae.models import REGISTRY, feedback, macrid_vae
from hyvae.nn import latent
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block

SMALL = {"concepts": 3, "latent": 8, "epochs": 15, "batch_users": 20, "learning_rate": 0.04}


class TestRating(ModelContract):
    model = "macrid_vae"
    settings = SMALL


class TestRanking(RankingContract):
    model, preset = "macrid_vae", "ranking"
    settings = SMALL


# -- equations ------------------------------------------------------------------------------------------

TINY = {"concepts": 3, "latent": 5, "temperature": 0.4, "deviation": 0.3, "kl_warmup": 0.8}
VARIANTS = {
    "as published": {},
    "multinomial": {"likelihood": "multinomial"},
    "multinomial without dropout": {"likelihood": "multinomial", "input_dropout": 0.0},
    "one concept": {"concepts": 1, "likelihood": "multinomial"},
    "global mean": {"center": "global"},
    "presence": {"presence": True, "center": "none"},
    "from what was dropped": {"learn_from": "dropped", "input_dropout": 0.3},
    "l2": {"l2": 0.03},
}
cases = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
modes = pytest.mark.parametrize("likelihood", ["gaussian", "multinomial"])


class Case:
    """The model on `ratings`, and the same in numpy."""

    def __init__(self, ratings, monkeypatch, settings):
        self.model, self.block = build("macrid_vae", ratings, **{**TINY, **settings})
        self.config = c = self.model.config
        self.R, self.M = dense_ratings(ratings)
        mask = fix_dropout(monkeypatch, feedback)
        where = self.M if c.likelihood == "gaussian" else dense_rows.taken(self.R, self.M) > 0
        self.K = np.zeros_like(self.R)
        self.K[where] = mask((where.sum(),), c.input_dropout)
        self.noise = fix_normal(monkeypatch, latent, (len(self.R), c.concepts, c.latent))
        self.gumbel = np.random.default_rng(7).gumbel(size=(self.R.shape[1], c.concepts))
        monkeypatch.setattr(macrid_vae, "gumbel_like", lambda like: torch.from_numpy(self.gumbel))

    def parts(self, progress=0.4):
        return parts_of(self.model.train(), self.block, step_of(self.block, progress))

    def loss(self, P, progress=0.4):
        data = P, self.config, self.R, self.M, self.K
        return dense_macrid_vae.loss(*data, self.gumbel, self.noise, progress)


class TestEquations:
    @cases
    def test_loss_parts(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        assert numbers(case.parts()) == pytest.approx(case.loss(weights_of(case.model)), rel=1e-9)

    @cases
    def test_gradients(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        torch.stack(list(case.parts().values())).sum().backward()
        # where all items are of one concept, its prototype tells nothing
        without = ["prototypes"] if case.config.concepts == 1 else []
        assert_gradients(case.model, lambda P: sum(case.loss(P).values()), without)

    @cases
    def test_scores(self, small_ratings, monkeypatch, settings):
        case = Case(small_ratings, monkeypatch, settings)
        config = case.config.model_copy(update={"learn_from": "all"})  # answers lose no inputs
        data = weights_of(case.model), config, case.R, case.M, np.ones_like(case.R)
        Y, *_, B = dense_macrid_vae.outputs(*data, 0.0, 0 * case.noise)
        np.testing.assert_allclose(predictions(case.model, case.block), Y + B, rtol=0, atol=1e-10)

    @modes
    def test_blocks_of_users_share_the_concepts(self, small_ratings, monkeypatch, likelihood):
        model, block = build("macrid_vae", small_ratings, **TINY, likelihood=likelihood, input_dropout=0.0)
        monkeypatch.setattr(latent, "normal_like", torch.zeros_like)
        step = step_of(block)
        shared = model.train().shared(block, step)
        whole = numbers(model.loss(block, shared, step))
        pieces = [numbers(model.loss(block.rows(*part), shared, step)) for part in ((0, 7), (7, 60))]
        assert {name: sum(piece[name] for piece in pieces) for name in whole} == pytest.approx(whole, rel=1e-9)

    @modes
    def test_rows_without_ratings_are_answered_and_learnt_from(self, small_ratings, likelihood):
        model, block = build("macrid_vae", small_ratings, **TINY, likelihood=likelihood)
        empty = double(rating_block(None, Ratings.empty(small_ratings.users, small_ratings.items, small_ratings.scale)))
        assert np.isfinite(predictions(model, empty)).all()
        torch.stack(list(parts_of(model.train(), empty, step_of(block)).values())).sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())

    def test_a_cold_temperature_stays_finite(self, small_ratings):
        model, block = build("macrid_vae", small_ratings, **{**TINY, "temperature": 1e-3}, likelihood="multinomial")
        model, block = model.float(), rating_block(None, small_ratings)
        torch.stack(list(parts_of(model.train(), block, step_of(block)).values())).sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        assert np.isfinite(predictions(model, block)).all()


class TestSoftmaxOverAllItems:
    def test_some_users_at_a_time_give_the_same(self, small_ratings, monkeypatch):
        found = []
        for logits in (1 << 22, 3 * 80 * 7, 1):
            monkeypatch.setattr(macrid_vae, "_LOGITS", logits)
            case = Case(small_ratings, monkeypatch, {"likelihood": "multinomial"})
            torch.stack(list(case.parts().values())).sum().backward()
            found.append({name: p.grad for name, p in case.model.named_parameters()})
        for other in found[1:]:
            for name, gradient in found[0].items():
                torch.testing.assert_close(other[name], gradient, rtol=1e-9, atol=1e-12)

    def test_memory_is_that_of_some_users(self, small_ratings, monkeypatch):
        class Largest(TorchDispatchMode):
            size = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                result = func(*args, **(kwargs or {}))
                for tensor in result if isinstance(result, tuple) else (result,):
                    if isinstance(tensor, torch.Tensor):
                        self.size = max(self.size, tensor.numel())
                return result

        case = Case(small_ratings, monkeypatch, {"likelihood": "multinomial"})
        monkeypatch.setattr(macrid_vae, "_LOGITS", 3 * 80 * 7)
        with Largest() as largest:
            torch.stack(list(case.parts().values())).sum().backward()
        # K numbers a rating are the most, beside the logits of seven users
        assert largest.size <= max(3 * 80 * 7, 3 * case.block.pattern.nnz) < 60 * 80


class TestMixtureOverAllItems:
    """−Σ log softmax of mixtures, against dense torch."""

    @staticmethod
    def case(ratings, asked=(True, True)):
        generator = torch.Generator().manual_seed(0)
        shapes = (ratings.n_users, 3, 4), (ratings.n_items, 4)
        drawn = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
        return [x.requires_grad_(wanted) for x, wanted in zip(drawn, asked, strict=True)]

    @staticmethod
    def dense(codes, rows, pattern):
        scores = torch.einsum("ukw,iw->uki", codes, rows).logsumexp(1).log_softmax(1)
        return -scores[pattern.row, pattern.col.long()].sum()

    @pytest.mark.parametrize("asked", [(True, True), (True, False), (False, True), (False, False)])
    def test_value_and_the_gradients_that_are_asked_for(self, small_ratings, monkeypatch, asked):
        monkeypatch.setattr(macrid_vae, "_LOGITS", 3 * 80 * 7)
        pattern = rating_block(None, small_ratings).pattern
        one, other = self.case(small_ratings, asked), self.case(small_ratings)
        assert macrid_vae.wanted_gradients(*one) == asked
        loss = macrid_vae._MixtureOverAllItems.apply(*one, pattern, asked)
        wanted = self.dense(*other, pattern)
        torch.testing.assert_close(loss, wanted)
        wanted.backward()
        if any(asked):
            (2 * loss).backward()
        for x, y, is_asked in zip(one, other, asked, strict=True):
            assert (x.grad is not None) == is_asked
            if is_asked:
                torch.testing.assert_close(x.grad, 2 * y.grad)

    def test_validation_asks_for_none(self, small_ratings, monkeypatch):
        case = Case(small_ratings, monkeypatch, {"likelihood": "multinomial"})
        seen = []
        apply = macrid_vae._MixtureOverAllItems.apply
        watched = lambda *args: (seen.append(args[-1]), apply(*args))[1]  # noqa: E731
        monkeypatch.setattr(macrid_vae._MixtureOverAllItems, "apply", watched)
        with torch.no_grad():
            case.parts()
        case.parts()
        assert seen == [(False, False), (True, True)]


def test_gumbel_numbers_are_gumbel():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = macrid_vae.gumbel_like(torch.empty(100_000))
    assert torch.isfinite(x).all()
    assert float(x.mean()) == pytest.approx(np.euler_gamma, abs=0.02)
    assert float(x.var()) == pytest.approx(np.pi**2 / 6, rel=0.02)


def test_concepts_do_not_depend_on_noise_when_answering(parts):
    fitted = [Recommender("macrid_vae", **SMALL).fit(parts[0], seed=1) for _ in range(2)]
    gates = [one.model.gates for one in fitted]
    assert torch.equal(*gates)
    torch.testing.assert_close(gates[0].sum(1), torch.ones(len(gates[0])))


@pytest.mark.parametrize("preset", ["default", "ranking"])
def test_an_update_begins_at_the_same_answers(small_ratings, preset):
    fitted = Recommender("macrid_vae", preset=preset, **SMALL).fit(small_ratings)
    model, block = fitted.model, rating_block(fitted.model, small_ratings)
    before = predictions(model, block)
    recovered = model.recover_training_state(block)
    assert set(recovered) == set(model.state_dict()) - set(model.answering_state())
    with torch.no_grad():
        model.load_state_dict({name: tensor.clone() for name, tensor in recovered.items()}, strict=False)
    np.testing.assert_allclose(predictions(model, block), before, atol=1e-4)


def test_a_logistic_likelihood_is_refused():
    with pytest.raises(ConfigError, match="likelihood"):
        Recommender("macrid_vae", likelihood="logistic")


@pytest.mark.parametrize("preset", ["default", "ranking"])
@pytest.mark.parametrize(
    "plan", [{"block_users": 7}, {"batch_users": None}, {"optimiser": "rmsprop"}, {"matmul": "bfloat16"}]
)
def test_any_plan_trains_it(parts, preset, plan):
    fitted = Recommender("macrid_vae", preset=preset, **{**SMALL, "epochs": 2, **plan}).fit(*parts, seed=1)
    assert np.isfinite(list(fitted.training.epochs[-1].parts.values())).all()


def test_published_defaults():
    config, plan = REGISTRY["macrid_vae"].presets["ranking"]
    assert (config.concepts, config.latent, config.temperature, config.deviation) == (7, 100, 0.1, 0.075)
    assert (config.beta, config.kl_warmup, config.input_dropout) == (0.2, 1 / 200, 0.5)
    assert (plan.optimiser, plan.learning_rate, plan.batch_users, plan.epochs) == ("adam", 1e-3, 350, 200)
