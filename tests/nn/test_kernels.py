"""The compiled kernels against plain torch, at widths and sizes that take every path through their loops."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import sparse as sp
from scipy import stats

from hyvae.nn import kernels

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no kernels were compiled")

WIDTHS = [1, 7, 16, 33, 64, 100, 128, 200, 512]
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
# one thread's work, and enough for all threads to share
sizes = pytest.mark.parametrize("n_rows", [3, 400])


def case(n_rows, n_cols=90, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    mask = sp.csr_array(rng.random((n_rows, n_cols)) < share)
    mask.sort_indices()
    return torch.from_numpy(mask.indptr.astype(np.int64)), torch.from_numpy(mask.indices.astype(np.int32))


def draw(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def both_ways(monkeypatch, operator, *arguments):
    """What the compiled way and plain torch give; a tensor that is written to is the result."""
    results = []
    for functions in (kernels._compiled, {}):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "_compiled", functions)
            copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
            out = operator(*copies)
            results.append([a for a in copies if isinstance(a, torch.Tensor)] if out is None else out)
    return results


@types
@sizes
@pytest.mark.parametrize("width", WIDTHS)
class TestProducts:
    def test_product(self, monkeypatch, n_rows, width, dtype):
        crow, col = case(n_rows)
        values, table = draw(len(col), dtype=dtype), draw(90, width, dtype=dtype)
        torch.testing.assert_close(*both_ways(monkeypatch, kernels.product, crow, col, None, values, table))

    def test_product_of_the_transpose(self, monkeypatch, n_rows, width, dtype):
        crow, col = case(n_rows)
        crow_t, col_t, order, _ = kernels.transpose(crow, col, 90, False)
        values, table = draw(len(col), dtype=dtype), draw(n_rows, width, dtype=dtype)
        ours, theirs = both_ways(monkeypatch, kernels.product, crow_t, col_t, order, values, table)
        torch.testing.assert_close(ours, theirs)
        dense = torch.sparse_csr_tensor(crow, col.long(), values, (n_rows, 90)).to_dense()
        torch.testing.assert_close(ours, dense.T @ table)

    def test_pair_and_both(self, monkeypatch, n_rows, width, dtype):
        crow, col = case(n_rows)
        seen = (torch.arange(len(col)) % 4 > 0).to(dtype)
        values = draw(len(col), dtype=dtype) * seen
        table, other = draw(90, width, dtype=dtype), draw(91, width, dtype=dtype)[1:]
        torch.testing.assert_close(
            *both_ways(monkeypatch, kernels.product_pair, crow, col, None, values, seen, table, other)
        )
        torch.testing.assert_close(*both_ways(monkeypatch, kernels.product_both, crow, col, None, values, seen, table))

    def test_sample(self, monkeypatch, n_rows, width, dtype):
        crow, col = case(n_rows)
        left, right = draw(n_rows, width, dtype=dtype), draw(90, width, dtype=dtype)
        ours, theirs = both_ways(monkeypatch, kernels.sample, crow, col, left, right)
        # of hundreds of terms near 1: rounding differs with their order
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4 if dtype is torch.float32 else 1e-9)

    def test_columns_of_a_wider_table(self, monkeypatch, n_rows, width, dtype):
        crow, col = case(n_rows)
        wide = draw(90, width + 5, dtype=dtype)[:, 3 : 3 + width]
        left, values = draw(n_rows, width + 2, dtype=dtype)[:, :width], draw(len(col), dtype=dtype)
        torch.testing.assert_close(
            kernels.product(crow, col, None, values, wide), kernels.product(crow, col, None, values, wide.clone())
        )
        assert torch.equal(kernels.sample(crow, col, left, wide), kernels.sample(crow, col, left.clone(), wide.clone()))


@types
# many rows of the table, and wide ones, which are read in strips
@pytest.mark.parametrize(("n_cols", "width"), [(17_000, 256), (17_000, 200), (1_900, 1_667)])
@pytest.mark.parametrize("ascending", [True, False])
def test_a_table_that_outgrows_the_caches(monkeypatch, n_cols, width, dtype, ascending):
    crow, col = case(400, n_cols, share=0.1)
    if not ascending:  # slower, and as right
        col = col.flip(0)
        crow = len(col) - crow.flip(0)
    seen = (torch.arange(len(col)) % 4 > 0).to(dtype)
    values = draw(len(col), dtype=dtype) * seen
    table, other = draw(n_cols, width, dtype=dtype), draw(n_cols + 1, width, dtype=dtype)[1:]
    near = {"rtol": 1e-4, "atol": 1e-3 if dtype is torch.float32 else 1e-9}
    product = both_ways(monkeypatch, kernels.product, crow, col, None, values, table)
    torch.testing.assert_close(*product, **near)
    # entry after entry, as without tiles: to the bit what a row alone, of too few entries for them, gives
    alone = kernels.product(crow[:2], col[: crow[1]], None, values[: crow[1]], table)
    assert torch.equal(product[0][:1], alone)
    pair = both_ways(monkeypatch, kernels.product_pair, crow, col, None, values, seen, table, other)
    torch.testing.assert_close(*pair, **near)
    both = both_ways(monkeypatch, kernels.product_both, crow, col, None, values, seen, table)
    torch.testing.assert_close(*both, **near)
    left = draw(400, width, dtype=dtype)
    torch.testing.assert_close(*both_ways(monkeypatch, kernels.sample, crow, col, left, table), **near)


@types
@sizes
@pytest.mark.parametrize("width", WIDTHS[:7])
def test_ridge(monkeypatch, n_rows, width, dtype):
    crow, col = case(n_rows, share=0.1)
    crow = torch.cat([crow[:1], crow[:-1]])  # the first row is empty
    values, table = draw(len(col), dtype=dtype), draw(90, width, dtype=dtype)
    ours, theirs = both_ways(monkeypatch, kernels.ridge, crow, col[: crow[-1]], values, table, 3.0)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 if dtype is torch.float32 else 1e-9)


@types
@sizes
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("width", WIDTHS[:7])
def test_regressions(monkeypatch, n_rows, width, intercept, dtype):
    # of fewer entries than the width, and of more
    crow, col = case(n_rows, share=0.5)
    crow = torch.cat([crow[:1], crow[:-1]])  # the first row is empty
    values, table = draw(len(col), dtype=dtype), draw(90, width + 3, dtype=dtype)[:, :width]
    arguments = (crow, col[: crow[-1]], values, table, 0.5, intercept)
    tolerance = 1e-5 if dtype is torch.float32 else 1e-9
    for ours, theirs in zip(*both_ways(monkeypatch, kernels.regressions, *arguments), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.bits
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_bit(threads):
    crow, col = case(1500)
    assert len(col) > 2**15, "or one thread does it all"
    values, table, left, ones = draw(len(col)), draw(90, 40), draw(1500, 40), torch.ones(len(col))
    effects = (None, None, None, None)
    bounds, rows, order, touched = kernels.transpose(crow, col, 90, True)
    before = torch.get_num_threads()

    def all_of_them():
        weight, square, latest = table.clone(), table.square(), torch.zeros(90, dtype=torch.int32)
        kernels.rmsprop_rows_(
            weight, square, latest, touched, bounds, rows, order, values, left, 1, 0.9, 0.1, 1e-8, 0.0
        )
        return [
            weight,
            kernels.product(crow, col, None, values, table),
            *kernels.product_both(crow, col, None, values, ones, table),
            kernels.sample(crow, col, left, table),
            kernels.ridge(crow, col, values, table, 1.0),
            *kernels.regressions(crow, col, values, table, 1.0, True),
            kernels.residuals(crow, col, values, *effects),
            kernels.sum_rows(crow, col, values, *effects),
            kernels.sum_columns(crow, col, 90, values, *effects),
            kernels.dropout(left, 5, 0.3),
            kernels.normal(left, 5),
            kernels.kl(left, left),
            kernels.others(left.view(150, 10, 40)),
        ]

    try:
        torch.set_num_threads(threads)
        first = all_of_them()
        torch.set_num_threads(3 - threads)
        assert all(torch.equal(a, b) for a, b in zip(first, all_of_them(), strict=True))
    finally:
        torch.set_num_threads(before)


def test_another_default_type_changes_nothing():
    before = kernels.visible(torch.arange(50), 3, 0.5), kernels.normal(torch.empty(50), 3)
    try:
        torch.set_default_dtype(torch.float64)
        after = kernels.visible(torch.arange(50), 3, 0.5), kernels.normal(torch.empty(50, dtype=torch.float32), 3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_transposed_gradient_is_taken(monkeypatch):
    arguments = (draw(300, 200), draw(300, 200), draw(300, 200).square())
    for operator, rest in (
        (kernels.adam_, (4, 0.9, 0.99, 0.1, 1e-8, 0.3)),
        (kernels.rmsprop_, (4, 0.9, 0.1, 1e-8, 0.3)),
    ):
        tensors = arguments if operator is kernels.adam_ else (*arguments[:1], arguments[2], None)
        for ours, theirs in zip(*both_ways(monkeypatch, operator, *tensors, draw(200, 300).T, *rest), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_ridge_that_rounding_makes_singular_is_finite():
    # fewer codes than their width, and next to no penalty
    crow, col = torch.tensor([0, 10]), torch.arange(10, dtype=torch.int32)
    solved = kernels.ridge(crow, col, draw(10), draw(10, 64), 1e-7)
    assert torch.isfinite(solved).all()


@sizes
class TestResiduals:
    @pytest.mark.parametrize("given", ["nothing", "weights", "effects", "all"])
    def test_residuals_and_sums(self, monkeypatch, n_rows, given):
        crow, col = case(n_rows)
        weights = (torch.arange(len(col)) % 3 > 0).float() if given in ("weights", "all") else None
        effects = (draw(1)[0], draw(n_rows), draw(90)) if given in ("effects", "all") else (None, None, None)
        arguments = (draw(len(col)), weights, *effects)
        for operator, sizes in ((kernels.residuals, ()), (kernels.sum_rows, ()), (kernels.sum_columns, (90,))):
            torch.testing.assert_close(
                *both_ways(monkeypatch, operator, crow, col, *sizes, *arguments), rtol=1e-5, atol=1e-5
            )

    @pytest.mark.parametrize("touched", [False, True])
    def test_transpose(self, monkeypatch, n_rows, touched):
        crow, col = case(n_rows, share=0.02)
        for ours, theirs in zip(*both_ways(monkeypatch, kernels.transpose, crow, col, 90, touched), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype

    def test_hidden_entries(self, monkeypatch, n_rows):
        crow, col = case(n_rows)
        visible = (draw(len(col)) > 0).float()
        for ours, theirs in zip(*both_ways(monkeypatch, kernels.hidden_entries, crow, col, visible), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype


@types
@pytest.mark.parametrize("shape", [(0, 10), (3, 1), (3, 10), (200, 10, 33)])
def test_others(monkeypatch, shape, dtype):
    x = draw(*shape, dtype=dtype)
    ours, theirs = both_ways(monkeypatch, kernels.others, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, x.sum(1, keepdim=True) - x, rtol=1e-4, atol=1e-4)


def test_others_never_see_their_own():
    x = draw(5, 10, 7)
    before = kernels.others(x)
    x[:, 4] = 1e9
    assert torch.equal(kernels.others(x)[:, 4], before[:, 4])


@pytest.mark.parametrize("shape", [(), (9,), (50, 33)])
def test_adam(monkeypatch, shape):
    arguments = (draw(*shape), draw(*shape), draw(*shape).square(), draw(*shape) + 1, 4, 0.9, 0.99, 0.1, 1e-8, 0.3)
    for ours, theirs in zip(*both_ways(monkeypatch, kernels.adam_, *arguments), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


class TestRandomChoices:
    @pytest.mark.parametrize("share", [0.0, 1e-9, 0.1, 0.5, 1.0])
    def test_visible(self, monkeypatch, share):
        keys = torch.arange(-5, 70_000)
        assert torch.equal(*both_ways(monkeypatch, kernels.visible, keys, -(2**63) + 11, share))

    @pytest.mark.parametrize("n", [0, 1, 2, 31, 100_001])
    def test_dropout(self, monkeypatch, n):
        x = draw(n) + 9
        ours, theirs = both_ways(monkeypatch, kernels.dropout, x, 2**62 + 3, 0.4)
        torch.testing.assert_close(ours, theirs)

    def test_dropout_drops_its_share_and_keeps_the_mean(self):
        x = torch.ones(1000, 300)
        out = kernels.dropout(x, 17, 0.4)
        assert out.unique().tolist() == pytest.approx([0, 1 / 0.6])
        assert float((out == 0).float().mean()) == pytest.approx(0.4, abs=0.005)
        # neighbours and rows are independent
        pairs = ((out[:, 1:] == 0) & (out[:, :-1] == 0)).float().mean()
        below = ((out[1:] == 0) & (out[:-1] == 0)).float().mean()
        assert float(pairs) == pytest.approx(0.16, abs=0.005)
        assert float(below) == pytest.approx(0.16, abs=0.005)

    @pytest.mark.parametrize("shape", [(1,), (7,), (3, 50_001)])
    def test_normal(self, monkeypatch, shape):
        ours, theirs = both_ways(monkeypatch, kernels.normal, torch.empty(shape), 2**62 + 5)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert ours.shape == shape

    def test_normal_numbers_are_normal_and_independent(self):
        x = kernels.normal(torch.empty(1000, 300), 3).numpy()
        assert stats.kstest(x.ravel(), "norm").pvalue > 0.001
        for a, b in ((x[:, 1:], x[:, :-1]), (x[1:], x[:-1]), (x[:500], x[500:])):
            assert abs(float((a * b).mean())) < 5 / np.sqrt(a.size)
            assert abs(float(((a**2 - 1) * (b**2 - 1)).mean())) < 10 / np.sqrt(a.size)
        assert abs(np.corrcoef(x.ravel(), kernels.normal(torch.empty(1000, 300), 4).numpy().ravel())[0, 1]) < 0.01

    def test_latent_and_kl(self, monkeypatch):
        mean, log_variance, noise = draw(300, 70), 3 * draw(301, 70)[1:], draw(300, 71)[:, :70]
        torch.testing.assert_close(*both_ways(monkeypatch, kernels.latent, mean, log_variance, noise))
        torch.testing.assert_close(*both_ways(monkeypatch, kernels.kl, mean, log_variance))
        weight = torch.tensor(0.3)
        torch.testing.assert_close(*both_ways(monkeypatch, kernels.kl_gradient, mean, log_variance, weight))

    def test_dropout_of_another_key_is_another(self):
        x = torch.ones(5000)
        assert not torch.equal(kernels.dropout(x, 1, 0.4), kernels.dropout(x, 2, 0.4))


class TestRMSprop:
    @pytest.mark.parametrize("shape", [(), (9,), (50, 33)])
    def test_all_rows(self, monkeypatch, shape):
        weight, square, gradient = draw(*shape), draw(*shape).square(), draw(*shape) + 1
        arguments = (None, gradient, 4, 0.99, 0.1, 1e-8, 0.3)
        for ours, theirs in zip(*both_ways(monkeypatch, kernels.rmsprop_, weight, square, *arguments), strict=True):
            torch.testing.assert_close(ours, theirs)

    @sizes
    @pytest.mark.parametrize("width", [33, 256])
    def test_some_rows(self, monkeypatch, n_rows, width):
        crow, col = case(n_rows, share=0.02)
        bounds, rows, order, touched = kernels.transpose(crow, col, 90, True)
        assert 0 < len(touched) <= 90
        latest = torch.tensor([3] * 20 + [1] * 70, dtype=torch.int32)
        gradient = (touched, bounds, rows, order, draw(len(col)), draw(n_rows, width))
        arguments = (draw(90, width), draw(90, width).square(), latest, *gradient, 7, 0.9, 0.1, 1e-8, 0.3)
        results = both_ways(monkeypatch, kernels.rmsprop_rows_, *arguments)
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert (results[0][2][touched] == 7).all()
        assert int((results[0][2] == 7).sum()) == len(touched)


class TestBest:
    @pytest.mark.parametrize("k", [1, 10, 200])
    @pytest.mark.parametrize("n_rows", [1, 40])
    def test_is_topk_in_any_pieces(self, monkeypatch, k, n_rows):
        scores = draw(n_rows, 3000)
        scores[:, 5] = -torch.inf
        wanted = torch.topk(scores, k, dim=1)
        for functions in (kernels._compiled, {}):
            with monkeypatch.context() as patch:
                patch.setattr(kernels, "_compiled", functions)
                best = torch.full((n_rows, k), -torch.inf)
                items = torch.full((n_rows, k), -1)
                for start in (0, 1100, 1200):
                    stop = {0: 1100, 1100: 1200, 1200: 3000}[start]
                    kernels.best_(scores[:, start:stop], start, None, None, None, best, items)
            assert torch.equal(best, wanted.values)
            assert torch.equal(items, wanted.indices)

    def test_the_lower_number_wins_a_tie(self):
        best, items = torch.full((1, 3), -torch.inf), torch.full((1, 3), -1)
        kernels.best_(torch.tensor([[1.0, 2.0, 2.0, 2.0, 1.0, 3.0]]), 10, None, None, None, best, items)
        assert items.tolist() == [[15, 11, 12]]

    def test_what_cannot_be_recommended_leaves_a_gap(self):
        best, items = torch.full((1, 3), -torch.inf), torch.full((1, 3), -1)
        kernels.best_(torch.tensor([[-torch.inf, 2.0, torch.nan]]), 0, None, None, None, best, items)
        assert items.tolist() == [[1, -1, -1]]


class TestChoice:
    def asked(self, **environment):
        program = "from hyvae.nn import kernels; print(kernels.compiled())"
        return subprocess.run(
            [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True
        )

    def test_plain_torch_can_be_asked_for(self):
        assert self.asked(HYVAE_KERNELS="torch").stdout.strip() == "False"
        assert self.asked(HYVAE_KERNELS="compiled").stdout.strip() == "True"

    def test_a_library_of_another_version_is_left_alone(self, monkeypatch):
        monkeypatch.setattr(kernels, "_VERSION", 0)
        with pytest.warns(UserWarning, match="is of another version or machine: install hyvae again"):
            assert kernels._load() == {}

    def test_anything_else_is_refused(self):
        assert "must be 'compiled', 'torch' or the path of a library" in self.asked(HYVAE_KERNELS="fast").stderr


def positive(width):
    return 0.5 + draw(width).square()


@sizes
@pytest.mark.parametrize("width", [1, 7, 16, 33])
class TestDraws:
    def test_rows(self, monkeypatch, n_rows, width):
        crow, col = case(n_rows)
        given = (draw(len(col)), draw(90, width), positive(width), draw(width))
        ours, theirs = [], []
        for functions, found in ((kernels._compiled, ours), ({}, theirs)):
            with monkeypatch.context() as patch:
                patch.setattr(kernels, "_compiled", functions)
                vectors = draw(n_rows, width)
                found += [*kernels.draw_rows(crow, col, *given, draw(n_rows, width), vectors), vectors]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)

    def test_table(self, monkeypatch, n_rows, width):
        crow, col = case(n_rows)
        crow_t, col_t, _, _ = kernels.transpose(crow, col, 90, False)
        design = draw(n_rows, 4 * width, width)
        grams, weights = design.mT @ design, 0.2 + draw(n_rows).square()
        sums = kernels.product(crow_t, col_t, None, weights.square()[col_t.long()], grams.flatten(1))
        given = (crow_t, col_t, weights, grams, sums.view(90, width, width), positive(width), draw(width))
        found = both_ways(
            monkeypatch,
            lambda x, h: kernels.draw_table(*given, draw(90, width), x, h),
            draw(90, width),
            draw(n_rows, width),
        )
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-2)

    def test_probit_rows(self, monkeypatch, n_rows, width):
        crow, col = case(n_rows)
        level, samples = torch.arange(len(col)) % 4, 3
        curves = draw(samples, 4, 17), torch.full((samples,), -4.0), torch.full((samples,), 2.0)
        prior = torch.stack([positive(width)] * samples), draw(samples, width).square(), draw(n_rows).sigmoid()
        given = (crow, col, level, 0.3 * draw(90, samples * width), *curves, *prior, draw(n_rows, samples * width))
        torch.testing.assert_close(*both_ways(monkeypatch, kernels.probit_rows, *given, 3), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("n", [1, 100_000])
def test_interpolate(monkeypatch, n):
    x = 4 * draw(n)
    grid = torch.linspace(-3, 5, 2049)
    given = (draw(n), x, -3.0, 256.0, torch.tanh(grid))
    ours, theirs = both_ways(monkeypatch, kernels.interpolate_, *given)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours[0], given[0] + torch.tanh(x.clamp(-3, 5)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_people", [1, 4, 5, 16, 19])
@pytest.mark.parametrize("n_items", [1, 64, 150])
@pytest.mark.parametrize("width", [2, 9, 32])
def test_mean_levels(monkeypatch, n_people, n_items, width):
    samples, wide = 3, 3 * width + 5  # a code has more behind
    codes, items = 0.5 * draw(n_people, wide), 0.5 * draw(n_items, wide)
    low = torch.tensor([-3.0, -2.5, -2.0])
    curves = draw(samples, 33).sigmoid()
    given = (codes[:, :-5], items[:, :-5], low, torch.tensor([5.0, 6.0, 7.0]), curves)
    ours, theirs = both_ways(monkeypatch, kernels.mean_levels, *given)
    torch.testing.assert_close(ours, theirs)
    alone = kernels.mean_levels(given[0][-1:], *given[1:])
    torch.testing.assert_close(ours[-1:], alone, rtol=0, atol=0)
    whole = (codes[:, :-5].unflatten(1, (samples, width)), items[:, :-5].unflatten(1, (samples, width)))
    scores = torch.einsum("usk,isk->sui", *(t[..., :-1] for t in whole))
    scores += whole[0][..., -1].T.unsqueeze(2) + whole[1][..., -1].T.unsqueeze(1)
    expected = torch.stack(
        [
            torch.from_numpy(np.interp(each, start + torch.arange(33) / step, curve))
            for each, start, step, curve in zip(scores, low, given[3], curves, strict=True)
        ]
    ).mean(0)
    torch.testing.assert_close(ours.double(), expected.double(), rtol=1e-4, atol=1e-5)
