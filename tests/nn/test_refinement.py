"""The closed-form refinement against a ridge regression a row."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from hyvae.nn.refinement import solve_refinement
from hyvae.nn.sparse import SparsePattern


def case(seed=0, n_rows=8, n_items=12, width=3):
    rng = np.random.default_rng(seed)
    mask = rng.random((n_rows, n_items)) < 0.5
    mask[[1, 6]] = False
    crow = np.concatenate([[0], np.cumsum(mask.sum(1))])
    pattern = SparsePattern.from_numpy(crow, np.nonzero(mask)[1], n_items)
    return pattern, torch.from_numpy(rng.normal(size=pattern.nnz)), torch.from_numpy(rng.normal(size=(n_items, width)))


@given(st.integers(0, 1000), st.floats(0.01, 200))
@settings(deadline=None)
def test_each_row_is_its_normal_equations(seed, strength):
    pattern, residuals, codes = case(seed)
    found = solve_refinement(residuals, codes, pattern, strength).numpy()
    for row in range(pattern.shape[0]):
        at = slice(int(pattern.crow[row]), int(pattern.crow[row + 1]))
        Q, e = codes[pattern.col[at]].numpy(), residuals[at].numpy()
        wanted = np.linalg.solve(Q.T @ Q + strength * np.eye(Q.shape[1]), Q.T @ e)
        np.testing.assert_allclose(found[row], wanted, atol=1e-10)


def test_a_row_is_sklearns_ridge():
    pattern, residuals, codes = case()
    at = slice(0, int(pattern.crow[1]))
    ridge = Ridge(alpha=4.0, fit_intercept=False).fit(codes[pattern.col[at]].numpy(), residuals[at].numpy())
    np.testing.assert_allclose(solve_refinement(residuals, codes, pattern, 4.0)[0], ridge.coef_)


def test_a_row_without_entries_is_zero():
    pattern, residuals, codes = case()
    assert not solve_refinement(residuals, codes, pattern, 1.0)[[1, 6]].any()


def test_no_entries_at_all():
    pattern = SparsePattern.from_numpy(np.zeros(4, int), np.array([], int), 5)
    assert solve_refinement(torch.empty(0), torch.ones(5, 2), pattern, 1.0).tolist() == [[0.0, 0.0]] * 3


def test_a_row_does_not_depend_on_the_others():
    pattern, residuals, codes = case()
    changed = residuals.clone()
    changed[: int(pattern.crow[3])] += 1
    before, after = (solve_refinement(e, codes, pattern, 1.0) for e in (residuals, changed))
    assert torch.equal(before[3:], after[3:])
    assert not torch.equal(before[:3], after[:3])


def test_more_strength_gives_a_smaller_correction():
    pattern, residuals, codes = case()
    norms = [float(solve_refinement(residuals, codes, pattern, s)[0].norm()) for s in (0.1, 1.0, 10.0, 1e9)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] == pytest.approx(0, abs=1e-6)
