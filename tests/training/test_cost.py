"""The guard against algorithms that grow worse: costs are counted, so that no slow machine can make it fail."""

import numpy as np
import pytest
import torch
from cost import Cost

from hyvae.models.hyvae import HyVAE
from hyvae.models.settings import configure
from hyvae.nn import kernels
from hyvae.ratings import Ratings, Vocabulary
from hyvae.scoring import best_items, rating_block
from hyvae.training import trainer

HIDDEN, LATENT, DECODER, DEEP = 16, 12, 10, 14
ONE_SIDED = {"fusion": "folded", "hidden": HIDDEN, "latent": LATENT, "deep_layers": DEEP, "decoder": DECODER}
TWO_SIDED = {"hidden": HIDDEN, "latent": 6, "deep_layers": 5, "samples": 0}


def ratings_of(n_users=200, n_items=900, n_ratings=6000, seed=0):
    """So many ratings of so many users and items; more items are items that few have rated."""
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.choice(n_users * 900, n_ratings, replace=False))
    users, items = np.divmod(pairs, 900)
    return Ratings.from_indices(
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        users,
        items,
        rng.integers(1, 6, n_ratings),
        scale=(1.0, 5.0),
    )


def run_of(ratings, preset, settings):
    """A training that stands before its second step, which has all its buffers, and the blocks of that step."""
    config, plan = configure(HyVAE, preset, {**settings, "epochs": 10})
    torch.manual_seed(0)
    model = HyVAE(config, ratings.n_users, ratings.n_items, ratings.scale)
    run = trainer._Run(model, ratings, plan, None, None, 0, None, None)
    with torch.no_grad():
        model.prepare(run.whole)
    optimiser = trainer.OPTIMISERS[plan.optimiser](trainer.parameter_groups(model), plan.learning_rate)
    phase, blocks = next(run._steps(1, 0))
    run._step(optimiser, blocks, 1, phase)
    return run, optimiser, *next(run._steps(2, 0))


def cost_of_a_step(ratings, preset="default", settings=TWO_SIDED):
    run, optimiser, phase, blocks = run_of(ratings, preset, settings)
    with Cost() as cost:
        run._step(optimiser, blocks, 2, phase)
    return cost, sum(block.pattern.nnz for block in blocks), sum(block.pattern.shape[0] for block in blocks)


class TestMiniBatch:
    """A step of the paper's model with a folded head."""

    @pytest.fixture(scope="class")
    @classmethod
    def step(cls):
        return cost_of_a_step(ratings_of(), "paper", {**ONE_SIDED, "batch_users": 50})

    def test_flops_are_those_of_the_equations_and_no_more(self, step):
        cost, n_ratings, n_users = step
        # forward, and for the tables' gradients; the outputs' codes need a gradient too
        sparse = 2 * n_ratings * (2 * HIDDEN + 3 * 2 * DECODER + 3 * DECODER)
        layers = 2 * HIDDEN * LATENT + LATENT * DECODER + HIDDEN * DEEP + DEEP * DECODER
        assert cost.flops == sparse + 2 * n_users * 3 * layers

    def test_each_kernel_is_called_as_often_as_it_must(self, step):
        assert step[0].ours() == {
            "residuals": 1,  # centring
            "sum_rows": 1,
            "product": 3,  # of the input; of the gradients of the two outputs' codes
            "sample": 2,
            "sum_columns": 2,  # gradients of the two outputs' biases
            "normal": 1,
            "latent": 1,
            "kl": 1,
            "kl_gradient": 1,
            "dropout": 2,
            "transpose": 1,
            "rmsprop_rows_": 3,  # the input table and the two of the output
            "rmsprop_": 13,
        }

    def test_memory_does_not_grow_with_the_items(self):
        few, many = (
            cost_of_a_step(ratings_of(n_items=n), "paper", {**ONE_SIDED, "batch_users": 50})[0] for n in (900, 9000)
        )
        # a bias an item, its gradient, and a place in the transposed pattern; no row of a table
        assert many.allocated - few.allocated <= 64 * (9000 - 900)
        assert many.flops == few.flops

    def test_memory_grows_with_the_ratings_of_the_batch_at_most(self):
        few, many = (
            cost_of_a_step(ratings_of(n_ratings=n), "paper", {**ONE_SIDED, "batch_users": 50})[0] for n in (6000, 12000)
        )
        assert many.allocated < 2 * few.allocated

    def test_the_guard_notices_a_gradient_of_all_rows(self):
        settings = {**ONE_SIDED, "batch_users": 50, "gradient_clip": 1e9}
        few, many = (cost_of_a_step(ratings_of(n_items=n), "paper", settings)[0] for n in (900, 9000))
        assert many.allocated - few.allocated > 64 * (9000 - 900)


class TestFullBatch:
    """A step of the two-sided default."""

    @pytest.fixture(scope="class")
    @classmethod
    def step(cls):
        return cost_of_a_step(ratings_of())

    def test_each_kernel_is_called_as_often_as_it_must(self, step):
        assert step[0].ours() == {
            "visible": 2,  # for the item rows and for the users
            "sum_rows": 5,
            "sum_columns": 4,
            "residuals": 3,
            "product_pair": 2,  # both sides' inputs
            "product_both": 2,  # and their gradients
            "hidden_entries": 1,
            "transpose": 1,  # of the hidden ratings; that of all is kept
            "sample": 2,  # the two branches' parts
            "product": 4,
            "dropout": 4,
            "normal": 1,
            "latent": 1,
            "kl": 1,
            "kl_gradient": 1,
            "adam_": 16,  # once a parameter
        }

    def test_flops_grow_with_the_ratings(self):
        few, many = (cost_of_a_step(ratings_of(n_ratings=n))[0] for n in (20_000, 40_000))
        assert many.flops < 2 * few.flops
        assert many.allocated < 2 * few.allocated

    def test_an_item_more_costs_its_rows_and_no_more(self):
        few, many = (cost_of_a_step(ratings_of(n_items=n))[0] for n in (900, 9000))
        width, more = 11, 9000 - 900
        # encoding a column without ratings is a dense layer: forward, and two gradients
        assert many.flops - few.flops == 3 * 2 * more * HIDDEN * width
        # about ten tensors of a row's widths: activations, item rows, gradients
        assert many.allocated - few.allocated < 4 * more * 10 * (2 * HIDDEN + width)

    def test_the_guard_notices_a_pass_more(self, monkeypatch):
        once = cost_of_a_step(ratings_of())[0]
        loss = HyVAE.loss

        def twice(self, block, shared, *rest):
            loss(self, block, shared, *rest)
            return loss(self, block, shared, *rest)

        monkeypatch.setattr(HyVAE, "loss", twice)
        again = cost_of_a_step(ratings_of())[0]
        assert again.flops > 1.1 * once.flops
        assert again.ours() != once.ours()


class TestAnswering:
    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls):
        ratings = ratings_of()
        run, *_ = run_of(ratings, "default", TWO_SIDED)
        run.model.eval()
        run.model.finish(run.whole)
        return run.model, ratings

    def test_every_rating_of_a_history_is_summed_once_for_all_folds(self, fitted):
        model, ratings = fitted
        block = rating_block(None, ratings)
        with Cost() as cost, torch.no_grad():
            model.encode(block)
        ours = cost.ours()
        assert {name: ours[name] for name in ("product_pair", "product_both", "product", "sample", "ridge")} == {
            "product_pair": 1,
            "product_both": 1,
            "product": 1,
            "sample": 1,
            "ridge": 1,
        }
        n, width = block.pattern.nnz, 11
        dense = 2 * HIDDEN * (6 + 6 + 5) * (len(block.counts) * 11)  # ten folds and the whole
        assert cost.flops == n * (4 * HIDDEN + 4 * HIDDEN + 2 * HIDDEN + 2 * width + width**2) + dense

    def test_one_person_is_a_few_calls(self, fitted):
        model, ratings = fitted
        block = rating_block(None, ratings, np.array([3]))
        with Cost() as cost, torch.no_grad():
            best_items(model, model.encode(block), 10, block.pattern, np.ones(ratings.n_items, bool))
        # each takes microseconds, whatever it computes: they are most of the time of an answer
        assert sum(cost.calls.values()) < 220

    def test_ranking_holds_a_block_of_scores_at_most(self, fitted, monkeypatch):
        model, ratings = fitted
        monkeypatch.setattr("hyvae.scoring.SCORES_AT_A_TIME", 20_000)
        monkeypatch.setattr("hyvae.scoring.MIN_ITEM_BLOCK", 1)
        block = rating_block(None, ratings)
        with torch.no_grad():
            codes = model.encode(block)
            with Cost() as cost:
                best_items(model, codes, 10, block.pattern, np.ones(ratings.n_items, bool))
        assert cost.largest <= 4 * 20_000
        assert cost.ours() == {"best_": 9}


def test_the_counts_do_not_depend_on_what_was_compiled(monkeypatch):
    before = cost_of_a_step(ratings_of())[0]
    monkeypatch.setattr(kernels, "_compiled", {})
    after = cost_of_a_step(ratings_of())[0]
    assert before.ours() == after.ours()
    assert before.flops == after.flops
