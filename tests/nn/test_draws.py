"""The draws that are kept: levels, users' answers, expected ratings."""

import numpy as np
import pytest
import torch

from hyvae.nn import draws as module
from hyvae.nn.draws import Draws
from hyvae.nn.probit import MOST_LEVELS, probabilities
from hyvae.scoring import rating_block

WIDTH, SAMPLES = 4, 3


@pytest.fixture(scope="module")
def case(small_ratings):
    block = rating_block(small_ratings)
    draws = Draws(small_ratings.n_users, small_ratings.n_items, SAMPLES, WIDTH)
    told = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        items = draws.draw(block.pattern, block.values, 6, 2, told.append)
    assert told == list(range(1, 13))
    return draws, items, block


def test_levels_are_the_different_ratings(case):
    draws, _, block = case
    assert draws.levels.unique().tolist() == block.values.unique().tolist() == [1, 2, 3, 4, 5]
    assert draws.levels[draws._level(block.values)].equal(block.values)
    assert draws.levels[draws._level(torch.tensor([0.0, 2.4, 2.6, 99.0]))].tolist() == [1, 2, 3, 5]
    assert torch.isfinite(draws.cuts[:, :4]).all()
    assert draws.cuts[:, 4:].isinf().all()


def test_too_many_different_ratings_are_binned(small_ratings):
    block = rating_block(small_ratings)
    values = block.values + torch.linspace(0, 0.9, len(block.values))
    draws = Draws(small_ratings.n_users, small_ratings.n_items, 1, WIDTH)
    with torch.random.fork_rng():
        draws.draw(block.pattern, values, 2, 1, lambda sweep: None)
    assert len(draws.levels.unique()) == MOST_LEVELS
    assert (draws.levels[draws._level(values)] - values).abs().mean() < 0.1


def test_expected_ratings_are_means_over_draws_of_those_of_the_levels(case):
    draws, items, block = case
    codes = draws.encode(block.pattern, block.values, items)
    wanted = torch.zeros(len(codes), len(items), dtype=torch.float64)
    for s in range(SAMPLES):
        part = slice(s * WIDTH, (s + 1) * WIDTH)
        p, q = codes[:, part].double(), items[:, part].double()
        scores = (p[:, :-1] @ q[:, :-1].T + p[:, -1:] + q[:, -1]).flatten()
        each = probabilities(scores, torch.ones_like(scores), draws.cuts[s, :4].double())
        wanted += (each @ draws.levels[:5].double()).view_as(wanted) / SAMPLES
    found = draws.expected(codes, items)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)
    at = draws.expected_at(codes, items, block.pattern)
    torch.testing.assert_close(at, found[block.pattern.row, block.pattern.col.long()])
    assert ((found >= 1) & (found <= 5)).all()


def test_a_user_is_the_maximum_of_their_posterior(case, monkeypatch):
    draws, items, block = case
    monkeypatch.setattr(module, "_EM_STEPS", 200)
    codes = draws.encode(block.pattern, block.values, items)[:, :WIDTH].double()
    precision, mean = draws.user_prior[0].double()
    effects, items = draws.item_effects[:, :WIDTH].double(), items[:, :WIDTH].double()
    for user in range(5):
        of = slice(int(block.pattern.crow[user]), int(block.pattern.crow[user + 1]))
        rated, level = block.pattern.col[of].long(), draws._level(block.values[of])
        if not len(rated):
            continue
        usual = float(draws.usual_user_count)
        missing = max(usual - len(rated), 0) * draws.usual_item[:WIDTH].double()
        prior = mean + (effects[rated].sum(0) + missing) / np.sqrt(max(len(rated), usual))
        x = codes[user].clone().requires_grad_(True)
        scores = items[rated, :-1] @ x[:-1] + x[-1] + items[rated, -1]
        share = probabilities(scores, torch.ones_like(scores), draws.cuts[0, :4].double())
        loss = 0.5 * (precision * (x - prior).square()).sum() - share[torch.arange(len(rated)), level].log().sum()
        loss.backward()
        assert x.grad.abs().max() < 1e-3


def test_someone_without_ratings_has_usual_ones(case, small_ratings):
    draws, items, block = case
    nobody = rating_block(small_ratings.take(np.zeros(len(small_ratings), bool)))
    codes = draws.encode(nobody.pattern, nobody.values, items)
    counts = torch.bincount(block.pattern.col.long(), minlength=len(items)).float()
    usual = counts @ draws.item_effects / counts.sum() * draws.usual_user_count.sqrt()
    torch.testing.assert_close(codes[0], draws.user_prior[:, 1].flatten() + usual)
    assert float(draws.usual_user_count) == np.sort(small_ratings.user_counts)[(small_ratings.n_users - 1) // 2]


def test_an_item_is_the_maximum_of_its_posterior(case, monkeypatch):
    draws, items, block = case
    monkeypatch.setattr(module, "_EM_STEPS", 200)
    turned = block.pattern.transpose
    pattern = type(block.pattern)(block.pattern.shape[::-1], turned.crow, turned.col)
    values = block.values[turned.order.long()]
    users = draws.encode(block.pattern, block.values, items)
    rows = draws.encode_items(pattern, values, users, torch.arange(len(users)))
    precision, mean = draws.item_prior[0].double()
    usual = float(draws.usual_item_count)
    counts = pattern.crow.diff()
    for item in (int(counts.argmin()), int(counts.argmax())):
        of = slice(int(turned.crow[item]), int(turned.crow[item + 1]))
        raters, level = turned.col[of].long(), draws._level(values[of])
        effects = draws.user_effects[raters, :WIDTH].sum(0) + max(usual - len(raters), 0) * draws.usual_user[:WIDTH]
        prior = mean + effects.double() / np.sqrt(max(len(raters), usual))
        vectors = users[raters, :WIDTH].double()
        x = rows[item, :WIDTH].double().clone().requires_grad_(True)
        scores = vectors[:, :-1] @ x[:-1] + x[-1] + vectors[:, -1]
        share = probabilities(scores, torch.ones_like(scores), draws.cuts[0, :4].double())
        loss = 0.5 * (precision * (x - prior).square()).sum() - share[torch.arange(len(raters)), level].log().sum()
        loss.backward()
        assert x.grad.abs().max() < 1e-3


def test_items_of_some_raters_need_only_their_vectors(case):
    draws, items, block = case
    turned = block.pattern.transpose
    pattern = type(block.pattern)(block.pattern.shape[::-1], turned.crow, turned.col).rows(3, 5)
    values = block.values[turned.order.long()][int(turned.crow[3]) : int(turned.crow[5])]
    users = draws.encode(block.pattern, block.values, items)
    raters = pattern.col.unique().long()
    some = draws.encode_items(pattern, values, users[raters], raters)
    torch.testing.assert_close(some, draws.encode_items(pattern, values, users, torch.arange(len(users))))
