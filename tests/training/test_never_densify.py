"""No step of training makes a users × items tensor; a watch on every tensor that torch makes proves it."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from hyvae.models.hyvae import HyVAE
from hyvae.models.settings import configure
from hyvae.ratings import Ratings
from hyvae.training import train

N_USERS, N_ITEMS, BATCH = 300, 700, 150
WIDTHS = {"hidden": 8, "latent": 4, "deep_layers": (5,), "samples": 2, "sample_width": 3, "sweeps": 4}


class AllocationWatch(TorchDispatchMode):
    """Records the shape of what every operation gives, of backward passes too.

    A sparse tensor counts as its stored values: its shape is not what it takes.
    """

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                stored = tensor if tensor.layout == torch.strided else tensor.values()
                self.shapes.add(tuple(stored.shape))
        return result

    def dense_ones(self, users):
        """Shapes as large as users × items, or with both in them."""
        return {
            shape
            for shape in self.shapes
            if np.prod(shape, dtype=int) >= users * N_ITEMS or (users in shape and N_ITEMS in shape)
        }


@pytest.fixture(scope="module")
def sparse_ratings(make_ratings) -> Ratings:
    return make_ratings(N_USERS, N_ITEMS, share=0.02)


def watched(ratings, preset, validation=None, **settings):
    config, plan = configure(HyVAE, preset, {**WIDTHS, "epochs": 2, **settings})
    model = HyVAE(config, ratings.n_users, ratings.n_items, ratings.scale)
    with AllocationWatch() as watch:
        train(model, ratings, plan, validation=validation)
    return watch


def users_with_ratings(ratings):
    return int((ratings.user_counts > 0).sum())


def test_the_default_preset(sparse_ratings):
    watch = watched(sparse_ratings, "default")
    assert not watch.dense_ones(N_USERS)
    assert not watch.dense_ones(users_with_ratings(sparse_ratings))


def test_the_default_preset_while_it_validates(sparse_ratings):
    held_out = np.arange(len(sparse_ratings)) % 10 == 0
    train_part, validation = sparse_ratings.take(~held_out), sparse_ratings.take(held_out)
    watch = watched(train_part, "default", validation, validate_every=1)
    assert not watch.dense_ones(N_USERS)


@pytest.mark.parametrize("fill", ["zero", "user_mean"])
def test_the_papers_model_with_the_folded_head(sparse_ratings, fill):
    watch = watched(sparse_ratings, "paper", fusion="folded", decoder=6, batch_users=BATCH, fill=fill)
    assert not watch.dense_ones(BATCH)
    assert not watch.dense_ones(users_with_ratings(sparse_ratings) - BATCH)


def test_the_watch_sees_the_dense_head(sparse_ratings):
    watch = watched(sparse_ratings, "paper", fusion="dense", decoder=6, batch_users=BATCH)
    assert (BATCH, N_ITEMS) in watch.dense_ones(BATCH)


def test_the_watch_sees_backward_passes():
    class DenseBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

        @staticmethod
        def backward(ctx, grad):
            return torch.zeros(BATCH, N_ITEMS)[:3, 0] * grad

    with AllocationWatch() as watch:
        DenseBackward.apply(torch.ones(3, requires_grad=True)).backward()
    assert (BATCH, N_ITEMS) in watch.dense_ones(BATCH)


def test_the_watch_sees_the_whole_of_a_step(sparse_ratings):
    # forward and backward of both sparse products go past the watch
    shapes = watched(sparse_ratings, "default").shapes
    assert (N_ITEMS, WIDTHS["hidden"]) in shapes
    assert (N_USERS, WIDTHS["hidden"]) in shapes
    assert (len(sparse_ratings),) in shapes
