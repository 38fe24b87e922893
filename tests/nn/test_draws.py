"""The draws that are kept: levels, users' answers, expected ratings."""

import numpy as np
import pytest
import torch

from hyvae.nn import draws as module
from hyvae.nn.draws import Draws
from hyvae.nn.gibbs import Gibbs, with_one_for_bias
from hyvae.nn.probit import MOST_LEVELS, probabilities
from hyvae.scoring import rating_block

WIDTH, SAMPLES = 4, 3


@pytest.fixture(scope="module")
def case(small_ratings):
    block = rating_block(None, small_ratings)
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
    block = rating_block(None, small_ratings)
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


def prior_of_first_draw(encoder, entries):
    """Precision and mean of the vector of a row with some entries, in the first draw."""
    precision, mean = encoder.prior[0].double()
    average, spread = encoder.encodings[0].double()
    usual = float(encoder.usual_count)
    missing = max(1 - len(entries) / usual, 0)
    encoded = encoder.effects[entries, :WIDTH].double().sum(0) / np.sqrt(max(len(entries), usual))
    return 1 / (1 / precision + missing * spread), mean + encoded + missing * average


def test_a_user_is_the_maximum_of_their_posterior(case, monkeypatch):
    draws, items, block = case
    monkeypatch.setattr(module, "_EM_STEPS", 200)
    codes = draws.encode(block.pattern, block.values, items)[:, :WIDTH].double()
    items = items[:, :WIDTH].double()
    for user in range(5):
        of = slice(int(block.pattern.crow[user]), int(block.pattern.crow[user + 1]))
        rated, level = block.pattern.col[of].long(), draws._level(block.values[of])
        if not len(rated):
            continue
        precision, prior = prior_of_first_draw(draws.users, rated)
        x = codes[user].clone().requires_grad_(True)
        scores = items[rated, :-1] @ x[:-1] + x[-1] + items[rated, -1]
        share = probabilities(scores, torch.ones_like(scores), draws.cuts[0, :4].double())
        loss = 0.5 * (precision * (x - prior).square()).sum() - share[torch.arange(len(rated)), level].log().sum()
        loss.backward()
        assert x.grad.abs().max() < 1e-3


def test_the_usual_number_of_ratings_is_their_median(case, small_ratings):
    for encoder, counts in ((case[0].users, small_ratings.user_counts), (case[0].items, small_ratings.item_counts)):
        counts = np.sort(counts[counts > 0])
        assert float(encoder.usual_count) == counts[(len(counts) - 1) // 2]


@pytest.mark.parametrize("side", ["users", "items"])
def test_what_is_unknown_is_the_average_encoding(small_ratings, side):
    block, (own, others) = (
        rating_block(None, small_ratings),
        ("users", "items") if side == "users" else ("items", "users"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gibbs = Gibbs(block.pattern, block.values.long() - 1, 5, WIDTH)
        for _ in range(3):
            gibbs.sweep()
    draws = Draws(*block.pattern.shape, 1, WIDTH)
    draws._keep(0, gibbs)
    entries = {"users": block.pattern.row.long(), "items": block.pattern.col.long()}
    encoded = getattr(gibbs, own).encoded(getattr(gibbs, own).table)[entries[own]]
    mean, spread = getattr(draws, own).encodings[0]
    torch.testing.assert_close(mean[:-1], encoded.mean(0)[:-1])
    torch.testing.assert_close(spread, encoded.var(0, correction=0))
    # to the average person or thing of the other side, whoever is unknown gives the mean score
    vectors = {"users": gibbs.user_vectors, "items": gibbs.item_vectors}
    unknown, other = mean + getattr(draws, own).prior[0, 1], vectors[others][entries[others]].mean(0)
    score = (vectors["users"][entries["users"]] * with_one_for_bias(vectors["items"])[entries["items"]]).sum(1)
    score = (score + vectors["items"][entries["items"], -1]).mean()
    torch.testing.assert_close(unknown[:-1] @ other[:-1] + unknown[-1] + other[-1], score)


def test_someone_without_ratings_is_who_is_expected(case, small_ratings):
    draws, items, _ = case
    nobody = rating_block(None, small_ratings.take(np.zeros(len(small_ratings), bool)))
    codes = draws.encode(nobody.pattern, nobody.values, items)
    torch.testing.assert_close(codes[0], (draws.users.prior[:, 1] + draws.users.encodings[:, 0]).flatten())


def test_an_item_is_the_maximum_of_its_posterior(case, monkeypatch):
    draws, items, block = case
    monkeypatch.setattr(module, "_EM_STEPS", 200)
    turned = block.pattern.transpose
    pattern = type(block.pattern)(block.pattern.shape[::-1], turned.crow, turned.col)
    values = block.values[turned.order.long()]
    users = draws.encode(block.pattern, block.values, items)
    rows = draws.encode_items(pattern, values, users, torch.arange(len(users)))
    counts = pattern.crow.diff()
    for item in (int(counts.argmin()), int(counts.argmax())):
        of = slice(int(turned.crow[item]), int(turned.crow[item + 1]))
        raters, level = turned.col[of].long(), draws._level(values[of])
        precision, prior = prior_of_first_draw(draws.items, raters)
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


def test_what_has_no_ratings_says_nothing(small_ratings):
    few = small_ratings.take((small_ratings.indices != 3) & (small_ratings.user_index != 5))
    block = rating_block(None, few)
    draws = Draws(few.n_users, few.n_items, SAMPLES, WIDTH)
    with torch.random.fork_rng():
        items = draws.draw(block.pattern, block.values, 6, 1, lambda sweep: None)
    for rows, counts in (
        (items, few.item_counts),
        (draws.users.effects, few.item_counts),
        (draws.items.effects, few.user_counts),
    ):
        assert rows.any(1).tolist() == (counts > 0).tolist()
