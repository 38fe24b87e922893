"""The sampler: each draw against its conditional distribution, written out in full, and what the chain finds."""

import numpy as np
import pytest
import torch

from hyvae.nn import kernels
from hyvae.nn.gibbs import Gibbs, draw_prior, scores_at, with_one_for_bias
from hyvae.nn.probit import draw_noise
from hyvae.nn.sparse import SparsePattern

WIDTH = 3


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def pattern_of(mask):
    crow = np.concatenate([[0], np.cumsum(mask.sum(1))])
    return SparsePattern.from_numpy(crow, np.nonzero(mask)[1], mask.shape[1])


@pytest.fixture
def gibbs():
    mask = np.random.default_rng(0).random((9, 7)) < 0.5
    mask[4], mask[:, 5] = False, False
    pattern = pattern_of(mask)
    sampler = Gibbs(pattern, torch.arange(pattern.nnz) % 3, 3, WIDTH)
    for _ in range(3):
        sampler.sweep()
    return sampler


def test_vectors_are_free_parts_and_encodings(gibbs):
    for side, kept in ((gibbs.users, gibbs.user_vectors), (gibbs.items, gibbs.item_vectors)):
        torch.testing.assert_close(side.vectors, kept, rtol=1e-4, atol=1e-5)
    rated = [set(gibbs.pattern.col[gibbs.pattern.crow[u] : gibbs.pattern.crow[u + 1]].tolist()) for u in range(9)]
    user = gibbs.users.free[0] + sum(gibbs.users.table[j] for j in rated[0]) / np.sqrt(len(rated[0]))
    torch.testing.assert_close(gibbs.user_vectors[0], user, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gibbs.user_vectors[4], gibbs.users.free[4])


def test_the_score_is_a_product_and_two_biases(gibbs):
    p, q = gibbs.user_vectors, gibbs.item_vectors
    scores = scores_at(gibbs.pattern, p, q)
    dense = p[:, :-1] @ q[:, :-1].T + p[:, -1:] + q[:, -1]
    torch.testing.assert_close(scores, dense[gibbs.pattern.row, gibbs.pattern.col.long()])


def test_draws_are_those_of_the_conditional_distributions(gibbs):
    """All rows and the first of the table, against a regression on everything at once."""
    side, pattern = gibbs.users, gibbs.pattern
    scores = scores_at(pattern, gibbs.user_vectors, gibbs.item_vectors)
    noise = draw_noise(scores, gibbs.level, gibbs.cuts)
    design = with_one_for_bias(gibbs.item_vectors)
    precision, mean = torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.1, -0.2, 0.3])
    n = 20_000
    found = {"free": [], "table": []}
    rows = design[pattern.col.long()]
    weight = side.weight
    for seed in range(n // 100):
        torch.manual_seed(seed)
        for _ in range(100):
            free, table = side.free.clone(), side.table.clone()
            grams, moments = kernels.draw_rows(
                pattern.crow, pattern.col, noise, design, precision, mean, torch.randn(9, WIDTH), free
            )
            found["free"].append(free[0])
    drawn = torch.stack(found["free"])
    # y = target of user 0's free part: noise + what it explains now
    of = slice(int(pattern.crow[0]), int(pattern.crow[1]))
    y = noise[of] + rows[of] @ side.free[0]
    A = rows[of].T @ rows[of] + torch.diag(precision)
    b = rows[of].T @ y + precision * mean
    torch.testing.assert_close(drawn.mean(0), torch.linalg.solve(A, b), rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(drawn.T), torch.linalg.inv(A), rtol=0.1, atol=0.03)
    # and the first row of the table, given the last draw of the free parts
    residual = noise - ((free - side.free)[pattern.row] * rows).sum(1)
    users = [u for u in range(9) if 0 in pattern.col[pattern.crow[u] : pattern.crow[u + 1]]]
    entries = torch.isin(pattern.row, torch.tensor(users))
    X = weight[pattern.row[entries]].unsqueeze(1) * rows[entries]
    A = X.T @ X + torch.diag(precision)
    b = X.T @ (residual[entries] + X @ side.table[0]) + precision * mean
    turned = gibbs.items.pattern
    sums = kernels.product(turned.crow, turned.col, None, weight.square()[turned.col.long()], grams.flatten(1))
    sums = sums.view(7, WIDTH, WIDTH)
    kernels.draw_table(
        turned.crow, turned.col, weight, grams, sums, precision, mean, torch.zeros(7, WIDTH), table, moments
    )
    torch.testing.assert_close(table[0], torch.linalg.solve(A, b), rtol=1e-3, atol=1e-3)


def test_a_row_that_nothing_is_known_of_is_drawn_from_the_prior(gibbs):
    drawn = []
    precision, mean = torch.tensor([4.0, 1.0, 0.25]), torch.tensor([1.0, 0.0, -1.0])
    design = with_one_for_bias(gibbs.item_vectors)
    for _ in range(4000):
        free = gibbs.users.free.clone()
        values = torch.zeros(gibbs.pattern.nnz)
        kernels.draw_rows(
            gibbs.pattern.crow, gibbs.pattern.col, values, design, precision, mean, torch.randn(9, WIDTH), free
        )
        drawn.append(free[4])
    drawn = torch.stack(drawn)
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.15)
    torch.testing.assert_close(drawn.var(0), 1 / precision, rtol=0.1, atol=0)


def test_priors_are_drawn_about_what_has_them():
    vectors = torch.tensor([1.0, -2.0]) + torch.tensor([0.5, 2.0]) * torch.randn(4000, 2)
    precision, mean = torch.stack([draw_prior(vectors) for _ in range(300)]).mean(0)
    torch.testing.assert_close(mean, vectors.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(precision, 1 / vectors.var(0), rtol=0.03, atol=0)


def test_the_chain_finds_what_ratings_were_drawn_from():
    rng = np.random.default_rng(1)
    n_users, n_items = 150, 120
    p, q = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2))
    b, c = 0.7 * rng.normal(size=n_users), 0.7 * rng.normal(size=n_items)
    truth = p @ q.T + b[:, None] + c
    mask = rng.random((n_users, n_items)) < 0.3
    pattern = pattern_of(mask)
    level = torch.from_numpy(np.digitize((truth + rng.normal(size=truth.shape))[mask], [-2, -0.7, 0.7, 2]))
    sampler = Gibbs(pattern, level, 5, 3)
    mean, kept = torch.zeros(n_users, n_items), 0
    for sweep in range(80):
        sampler.sweep()
        if sweep >= 30:
            u, v = sampler.user_vectors, sampler.item_vectors
            mean += u[:, :-1] @ v[:, :-1].T + u[:, -1:] + v[:, -1]
            kept += 1
    found = (mean / kept).numpy()[~mask]
    assert np.corrcoef(found, truth[~mask])[0, 1] > 0.9
    np.testing.assert_allclose(sampler.cuts, [-2, -0.7, 0.7, 2], atol=0.5)
