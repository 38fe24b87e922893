"""Mult-VAE, Mult-DAE and CDAE against a dense float64 transcription of their papers' equations."""

import dense_rows
import numpy as np
import pytest
import torch
from equations import (
    assert_gradients,
    build,
    dense_ratings,
    fix_dropout,
    fix_normal,
    numbers,
    parts_of,
    predictions,
    step_of,
    weights_of,
)

from hyvae.models import REGISTRY, cdae, feedback
from hyvae.nn import latent

SMALL = {
    "mult_vae": {"hidden": (9, 7), "latent": 4},
    "mult_dae": {"hidden": (8,), "latent": 5},
    "cdae": {"width": 6, "negatives": None},
}
VARIANTS = {
    "as published": {},
    "multinomial": {"likelihood": "multinomial"},
    "logistic": {"likelihood": "logistic"},
    "multinomial without dropout": {"likelihood": "multinomial", "input_dropout": 0.0},
    "biases": {"center": "biases"},
    "global mean": {"center": "global"},
    "no centring": {"center": "none"},
    "presence": {"presence": True},
    "from what was dropped": {"learn_from": "dropped", "input_dropout": 0.3},
    "l2": {"l2": 0.03},
}
cases = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
models = pytest.mark.parametrize("name", SMALL)


class Case:
    """One model on `ratings`, and the same in numpy."""

    def __init__(self, name, ratings, monkeypatch, settings):
        self.name = name
        self.model, self.block = build(name, ratings, **{**SMALL[name], **settings})
        self.config = self.model.config
        self.R, self.M = dense_ratings(ratings)
        mask = fix_dropout(monkeypatch, feedback)
        where = self.M if self.config.likelihood == "gaussian" else dense_rows.taken(self.R, self.M) > 0
        self.K = np.zeros_like(self.R)
        self.K[where] = mask((where.sum(),), self.config.input_dropout)
        self.noise = fix_normal(monkeypatch, latent, (len(self.R), getattr(self.config, "latent", 1)))
        # what the model drops of its users is tested for itself
        monkeypatch.setattr(cdae, "dropout", lambda x, rate, training: x)

    def loss(self, P, progress=0.4):
        data = P, self.config, self.R, self.M, self.K
        if self.name == "mult_vae":
            return dense_rows.mult_vae_loss(*data, self.noise, progress)
        return getattr(dense_rows, f"{self.name}_loss")(*data)

    def scores(self, P):
        data = P, self.config, self.R, self.M, np.ones_like(self.R)
        outputs, *_, B = (
            dense_rows.mult_vae(*data, 0.0) if self.name == "mult_vae" else getattr(dense_rows, self.name)(*data)
        )
        return dense_rows.scores(outputs, B)


@models
@cases
def test_loss_parts(name, small_ratings, monkeypatch, settings):
    case = Case(name, small_ratings, monkeypatch, settings)
    parts = parts_of(case.model.train(), case.block, step_of(case.block, progress=0.4))
    assert numbers(parts) == pytest.approx(case.loss(weights_of(case.model)), rel=1e-9)


@models
@cases
def test_gradients(name, small_ratings, monkeypatch, settings):
    case = Case(name, small_ratings, monkeypatch, settings)
    torch.stack(list(parts_of(case.model.train(), case.block, step_of(case.block, 0.4)).values())).sum().backward()
    assert_gradients(case.model, lambda P: sum(case.loss(P).values()))


@models
@cases
def test_scores(name, small_ratings, monkeypatch, settings):
    case = Case(name, small_ratings, monkeypatch, settings)
    if "center" not in settings and case.config.likelihood == "gaussian" and case.config.learn_from == "dropped":
        case.config = case.config.model_copy(update={"learn_from": "all"})  # answers lose no inputs
    wanted = case.scores(weights_of(case.model))
    np.testing.assert_allclose(predictions(case.model, case.block), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("preset", ["default", "ranking"])
def test_a_dropped_user_is_someone_never_seen(small_ratings, monkeypatch, preset):
    case = Case("cdae", small_ratings, monkeypatch, {"likelihood": "gaussian" if preset == "default" else "logistic"})
    kept = np.random.default_rng(3).random((len(case.R), 1)) < 0.7
    monkeypatch.setattr(cdae, "dropout", lambda x, rate, training: torch.from_numpy(kept / 0.9))
    parts = parts_of(case.model.train(), case.block, step_of(case.block))
    wanted = dense_rows.cdae_loss(weights_of(case.model), case.config, case.R, case.M, case.K, kept)
    assert numbers(parts) == pytest.approx(wanted, rel=1e-9)


def test_published_defaults():
    # the figures of the papers and of the authors' code
    mult_vae, mult_dae, cdae_ = (published(name) for name in ("mult_vae", "mult_dae", "cdae"))
    assert (mult_vae.hidden, mult_vae.latent, mult_vae.beta, mult_vae.input_dropout) == ((600,), 200, 0.2, 0.5)
    assert (mult_dae.latent, mult_dae.input_dropout, mult_dae.l2) == (200, 0.5, 0.01 / 500)
    assert (cdae_.width, cdae_.negatives, cdae_.l2, cdae_.input_dropout, cdae_.tied) == (50, 5, 0.01, 0.5, True)


def published(name):
    return REGISTRY[name].presets["ranking"].config
