"""Biases against a plain loop, and folding in against fitting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.nn.biases import Shrinkage, estimate_shrinkage, fit_biases, fold_in_user_bias, shrinkage_of
from hyvae.nn.sparse import SparsePattern


def case(seed=0, n_users=6, n_items=5, share=0.6):
    rng = np.random.default_rng(seed)
    mask = rng.random((n_users, n_items)) < share
    mask[2], mask[:, 3], mask[0, 0] = False, False, True
    rows, cols = np.nonzero(mask)
    crow = np.concatenate([[0], np.cumsum(mask.sum(1))])
    values = torch.from_numpy(rng.integers(1, 6, len(rows)).astype(float))
    return SparsePattern.from_numpy(crow, cols, n_items), values, rows, cols


def both(user, item=None):
    """Shrinkage of users and of items, by default the same."""
    sides = torch.tensor([user, user if item is None else item], dtype=torch.float64)
    return Shrinkage(*sides)


def by_loop(rows, cols, values, weights, shape, shrinkage, sweeps):
    """The definition, one effect at a time."""
    mean = np.average(values, weights=weights)
    user, item = np.zeros(shape[0]), np.zeros(shape[1])
    for _ in range(sweeps):
        for i in range(shape[1]):
            at = cols == i
            item[i] = (weights[at] * (values[at] - mean - user[rows[at]])).sum() / (weights[at].sum() + shrinkage[1])
        for u in range(shape[0]):
            at = rows == u
            user[u] = (weights[at] * (values[at] - mean - item[cols[at]])).sum() / (weights[at].sum() + shrinkage[0])
    return mean, user, item


@settings(deadline=None)
@given(st.integers(0, 1000), st.tuples(st.floats(0.1, 20), st.floats(0.1, 20)), st.integers(1, 4), st.booleans())
def test_equals_the_plain_loop(seed, shrinkage, sweeps, weighted):
    pattern, values, rows, cols = case(seed)
    weights = np.ones(len(rows))
    if weighted:
        weights = (np.random.default_rng(seed).random(len(rows)) < 0.7).astype(float)
        weights[0] = 1
    biases = fit_biases(values, pattern, both(*shrinkage), torch.from_numpy(weights) if weighted else None, sweeps)
    mean, user, item = by_loop(rows, cols, values.numpy(), weights, pattern.shape, shrinkage, sweeps)
    assert float(biases.mean) == pytest.approx(mean)
    np.testing.assert_allclose(biases.user, user, atol=1e-12)
    np.testing.assert_allclose(biases.item, item, atol=1e-12)


def test_a_rating_of_weight_zero_cannot_be_seen():
    pattern, values, _, _ = case()
    weights = torch.ones_like(values)
    weights[4] = 0
    changed = values.clone()
    changed[4] += 100
    before, after = (fit_biases(v, pattern, both(5.0), weights) for v in (values, changed))
    for name in ("mean", "user", "item"):
        assert torch.equal(getattr(before, name), getattr(after, name))


def test_a_rating_of_weight_zero_is_as_if_it_were_not_there():
    pattern, values, _, _ = case()
    keep = torch.ones(len(values), dtype=torch.bool)
    keep[[1, 4]] = False
    weighted = fit_biases(values, pattern, both(5.0), keep.double())
    without = fit_biases(values[keep], pattern.hidden((~keep).double())[0], both(5.0))
    for name in ("mean", "user", "item"):
        torch.testing.assert_close(getattr(weighted, name), getattr(without, name))


def test_without_ratings_the_effect_is_zero():
    pattern, values, _, _ = case()
    biases = fit_biases(values, pattern, both(5.0))
    assert biases.user[2] == 0
    assert biases.item[3] == 0


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_folding_in_a_known_user_gives_their_fitted_effect(seed, sweeps):
    pattern, values, _, _ = case(seed)
    biases = fit_biases(values, pattern, both(3.0, 7.0), sweeps=sweeps)
    torch.testing.assert_close(
        fold_in_user_bias(values, pattern, biases.mean, biases.item, torch.tensor(3.0)), biases.user
    )


def test_folding_in_no_ratings_gives_zero_even_without_shrinkage():
    pattern = SparsePattern.from_numpy(np.array([0, 0]), np.array([], int), 3)
    effect = fold_in_user_bias(torch.empty(0), pattern, torch.tensor(3.0), torch.ones(3), torch.tensor(0.0))
    assert effect.tolist() == [0.0]


def test_more_shrinkage_makes_smaller_effects():
    pattern, values, _, _ = case()
    norms = [float(fit_biases(values, pattern, both(shrinkage)).user.norm()) for shrinkage in (0.1, 1, 10, 100)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < norms[0]


def test_at_adds_the_three_up():
    pattern, values, rows, cols = case()
    biases = fit_biases(values, pattern, both(5.0))
    wanted = [float(biases.mean + biases.user[u] + biases.item[i]) for u, i in zip(rows, cols, strict=True)]
    np.testing.assert_allclose(biases.at(pattern), wanted)


# -- shrinkage that the ratings tell -----------------------------------------------------------------------


def drawn(user_sd, item_sd, noise, n_users=300, n_items=200, share=0.1, seed=0):
    """Ratings from random effects of known variances."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n_users, n_items)) < share
    rows, cols = np.nonzero(mask)
    effects = user_sd * rng.normal(size=n_users), item_sd * rng.normal(size=n_items)
    values = 3 + effects[0][rows] + effects[1][cols] + noise * rng.normal(size=len(rows))
    crow = np.concatenate([[0], np.cumsum(mask.sum(1))])
    return torch.from_numpy(values), SparsePattern.from_numpy(crow, cols, n_items)


@pytest.mark.parametrize(("user_sd", "item_sd", "noise"), [(0.5, 0.3, 1.0), (0.2, 0.6, 0.8), (0.4, 0.4, 0.5)])
def test_estimates_are_the_ratios_of_variances(user_sd, item_sd, noise):
    found = estimate_shrinkage(*drawn(user_sd, item_sd, noise))
    assert float(found.user) == pytest.approx((noise / user_sd) ** 2, rel=0.3)
    assert float(found.item) == pytest.approx((noise / item_sd) ** 2, rel=0.3)


def test_estimates_do_not_depend_on_the_unit_or_the_order_of_sides():
    values, pattern = drawn(0.5, 0.3, 1.0)
    found, tenfold = estimate_shrinkage(values, pattern), estimate_shrinkage(10 * values - 7, pattern)
    torch.testing.assert_close(torch.stack(tenfold), torch.stack(found))


def test_estimates_of_effects_that_are_not_there_are_large():
    found = estimate_shrinkage(*drawn(0.0, 0.5, 1.0))
    assert float(found.user) > 40 > 10 > float(found.item)


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [1.0, 5.0, 3.0]])
def test_estimates_from_next_to_nothing_are_usable(values):
    pattern = SparsePattern.from_numpy(np.array([0, 1, 2, 3]), np.array([0, 1, 0]), 2)
    found = torch.stack(estimate_shrinkage(torch.tensor(values), pattern))
    assert ((found > 0) & torch.isfinite(found)).all()


def test_estimates_from_no_rating_are_the_usual():
    pattern = SparsePattern.from_numpy(np.array([0, 0]), np.array([], int), 2)
    assert torch.stack(estimate_shrinkage(torch.empty(0), pattern)).tolist() == [5.0, 5.0]


def test_a_fixed_shrinkage_is_that_of_both_sides():
    values, pattern = drawn(0.5, 0.3, 1.0)
    assert torch.stack(shrinkage_of(2.5, values, pattern)).tolist() == [2.5, 2.5]
    assert shrinkage_of(None, values, pattern) == estimate_shrinkage(values, pattern)
