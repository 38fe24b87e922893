"""What tests need that hold a model against a dense float64 transcription of its paper's equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hyvae.models import REGISTRY
from hyvae.models.base import Step
from hyvae.models.settings import configure
from hyvae.scoring import rating_block


def build(name, ratings, preset="default", **settings):
    """A float64 model, prepared, with every weight (biases too) away from zero, and all ratings as a block."""
    if "bias_shrinkage" in REGISTRY[name].Config.model_fields:
        settings = {"bias_shrinkage": 5.0} | settings  # estimated, it is no part of a model's equations
    config, _ = configure(REGISTRY[name], preset, settings)
    torch.manual_seed(0)
    model = REGISTRY[name](config, ratings.n_users, ratings.n_items, ratings.scale).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    block = double(rating_block(ratings))
    with torch.no_grad():
        model.prepare(block)
    return model, block


def double(block):
    return replace(block, values=block.values.double())


def step_of(block, progress=1.0, **more):
    n_users, n_ratings = block.pattern.shape[0], block.pattern.nnz
    return Step(**{"number": 1, "progress": progress, "seed": 5, "n_users": n_users, "n_ratings": n_ratings, **more})


def parts_of(model, block, step):
    """All loss parts, that of the penalties included."""
    weights = dict(model.named_parameters())
    squares = [penalty * weights[name].square().sum() for name, penalty in model.penalties().items()]
    return model.loss(block, model.shared(block, step), step) | ({"l2": sum(squares)} if squares else {})


def numbers(parts):
    return {name: float(part.detach()) for name, part in parts.items()}


def weights_of(model):
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def dense_ratings(ratings):
    """Ratings and where they are, both (n_users, n_items)."""
    R = np.zeros((ratings.n_users, ratings.n_items))
    M = np.zeros_like(R, dtype=bool)
    R[ratings.user_index, ratings.indices] = ratings.values
    M[ratings.user_index, ratings.indices] = True
    return R, M


def fix_dropout(monkeypatch, module):
    """Let `module.dropout` take a mask that depends on the shape alone; a function that gives that mask."""

    def mask(shape, rate):
        if not rate:
            return np.ones(shape)
        return (np.random.default_rng(9).random(shape) >= rate) / (1 - rate)

    def fixed(x, rate, training, key=None):
        return x * torch.from_numpy(mask(tuple(x.shape), rate)) if training else x

    monkeypatch.setattr(module, "dropout", fixed)
    return mask


def fix_normal(monkeypatch, module, shape):
    """Let `module.normal_like` give the same noise at every call; that noise."""
    noise = np.random.default_rng(8).normal(size=shape)
    monkeypatch.setattr(module, "normal_like", lambda like: torch.from_numpy(noise[: len(like)]))
    return noise


def predictions(model, block):
    """Scores of all pairs, by the way that answers are given."""
    model.eval()
    with torch.no_grad():
        model.finish(block)
        return model.score(model.encode(block), slice(0, model.n_items)).numpy()


def assert_gradients(model, reference, without=()):
    """Each parameter's gradient along a random direction is the central difference of the reference's total.

    `without`: parameters that the loss at hand does not reach.
    """
    rng, P, h = np.random.default_rng(2), weights_of(model), 1e-6
    for name, parameter in model.named_parameters():
        gradient = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        direction = rng.normal(size=gradient.shape)
        up, down = (reference(P | {name: P[name] + sign * h * direction}) for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-7), name
        assert gradient.any() or name in without, f"{name} has no gradient, which proves nothing"
