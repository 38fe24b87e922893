"""Sparse products against dense autograd, and patterns against scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse as sp

from hyvae.nn import sparse
from hyvae.nn.sparse import SparsePattern, sampled_product, sparse_product

WIDTH = 3


def pattern_of(mask):
    csr = sp.csr_array(np.asarray(mask, dtype=bool))
    csr.sort_indices()
    return SparsePattern.from_numpy(csr.indptr, csr.indices, csr.shape[1])


def random_case(mask, seed=0):
    """A pattern, values at it, and both dense factors, all float64."""
    generator = torch.Generator().manual_seed(seed)
    pattern = pattern_of(mask)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return pattern, draw(pattern.nnz), draw(pattern.shape[0], WIDTH), draw(pattern.shape[1], WIDTH)


def dense(pattern, values):
    out = torch.zeros(pattern.shape, dtype=values.dtype)
    out[pattern.row, pattern.col] = values
    return out


FULL = np.random.default_rng(3).random((7, 9)) < 0.4
EMPTY_ROW, EMPTY_COLUMN = FULL.copy(), FULL.copy()
EMPTY_ROW[[0, 3, 6]] = False
EMPTY_COLUMN[:, [0, 4, 8]] = False
MASKS = {
    "full": FULL,
    "empty rows": EMPTY_ROW,
    "empty columns": EMPTY_COLUMN,
    "empty": np.zeros((4, 5), bool),
    "one rating": np.eye(1, 6, 2, dtype=bool),
}
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
any_mask = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda cells: np.array(cells, dtype=bool).reshape(shape)
    )
)


class TestPattern:
    @masks
    def test_row_of_each_entry(self, mask):
        assert pattern_of(mask).row.tolist() == np.nonzero(mask)[0].tolist()

    @masks
    def test_matrix_has_the_values_at_the_positions(self, mask):
        pattern, values, _, _ = random_case(mask)
        assert torch.equal(pattern.matrix(values).to_dense(), dense(pattern, values))

    @masks
    def test_matrix_t_is_the_transpose(self, mask):
        pattern, values, _, _ = random_case(mask)
        assert torch.equal(pattern.matrix_t(values).to_dense(), dense(pattern, values).T)

    @masks
    def test_transpose_is_scipys(self, mask):
        pattern, values, _, _ = random_case(mask)
        csr = sp.csr_array((values.numpy(), pattern.col.numpy(), pattern.crow.numpy()), shape=pattern.shape)
        csc = csr.tocsc()
        assert pattern.transpose.crow.tolist() == csc.indptr.tolist()
        assert pattern.transpose.col.tolist() == csc.indices.tolist()
        assert values[pattern.transpose.order].tolist() == csc.data.tolist()

    @masks
    def test_the_transposed_pattern_is_the_patterns_of_the_transpose(self, mask):
        pattern, wanted = pattern_of(mask).T, pattern_of(mask.T)
        assert pattern.shape == wanted.shape
        assert torch.equal(pattern.crow, wanted.crow)
        assert torch.equal(pattern.col, wanted.col)

    @masks
    def test_transposing_twice_gives_the_pattern_back(self, mask):
        pattern = pattern_of(mask)
        twice = pattern.T.T
        assert twice.shape == pattern.shape
        assert torch.equal(twice.crow, pattern.crow)
        assert torch.equal(twice.col, pattern.col)
        order = pattern.transpose.order[pattern.T.transpose.order]
        assert torch.equal(order, torch.arange(pattern.nnz))

    @given(any_mask, st.randoms(use_true_random=False))
    @settings(max_examples=60, deadline=None)
    def test_where_is_the_pattern_of_the_kept_entries(self, mask, random):
        pattern = pattern_of(mask)
        keep = torch.tensor([random.random() < 0.5 for _ in range(pattern.nnz)], dtype=torch.bool)
        kept, wanted = pattern.where(keep), pattern_of(dense(pattern, keep.double()).numpy() > 0)
        for got, want in ((kept, wanted), (kept.T, wanted.T)):
            assert got.shape == want.shape
            assert torch.equal(got.crow, want.crow)
            assert torch.equal(got.col, want.col)
        # the transpose that `where` hands on is the one that would have been computed
        assert torch.equal(kept.transpose.order, wanted.transpose.order)

    def test_from_numpy_takes_any_integer_type(self):
        pattern = SparsePattern.from_numpy(np.array([0, 1], np.uint8), np.array([2], np.int32), 4)
        assert pattern.crow.dtype == pattern.col.dtype == torch.int64
        assert pattern.shape == (1, 4)


class TestSparseProduct:
    @masks
    def test_value_is_the_dense_product(self, mask):
        pattern, values, _, table = random_case(mask)
        torch.testing.assert_close(sparse_product(values, table, pattern), dense(pattern, values) @ table)

    @masks
    def test_gradient_is_dense_autograds(self, mask):
        pattern, values, weight, table = random_case(mask)
        ours, theirs = table.clone().requires_grad_(), table.clone().requires_grad_()
        (sparse_product(values, ours, pattern) * weight).sum().backward()
        (dense(pattern, values) @ theirs * weight).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)

    @masks
    def test_gradcheck(self, mask):
        pattern, values, _, table = random_case(mask)
        assert torch.autograd.gradcheck(lambda t: sparse_product(values, t, pattern), table.requires_grad_())

    def test_an_expanded_gradient_is_taken(self):
        # the gradient of a sum has stride 0, which a sparse kernel may not read
        pattern, values, _, table = random_case(FULL)
        table.requires_grad_()
        sparse_product(values, table, pattern).sum().backward()
        torch.testing.assert_close(table.grad, dense(pattern, values).T @ torch.ones(7, WIDTH, dtype=torch.float64))

    def test_rows_without_ratings_are_zero(self):
        pattern, values, _, table = random_case(EMPTY_ROW)
        assert not sparse_product(values, table, pattern)[[0, 3, 6]].any()


class TestSampledProduct:
    @masks
    def test_value_is_the_dense_product_at_the_positions(self, mask):
        pattern, _, left, right = random_case(mask)
        wanted = (left @ right.T)[pattern.row, pattern.col]
        torch.testing.assert_close(sampled_product(left, right, pattern), wanted)

    @masks
    def test_gradients_are_dense_autograds(self, mask):
        pattern, values, left, right = random_case(mask)
        ours = [left.clone().requires_grad_(), right.clone().requires_grad_()]
        theirs = [left.clone().requires_grad_(), right.clone().requires_grad_()]
        (sampled_product(*ours, pattern) * values).sum().backward()
        ((theirs[0] @ theirs[1].T) * dense(pattern, values)).sum().backward()
        torch.testing.assert_close([t.grad for t in ours], [t.grad for t in theirs])

    @masks
    def test_gradcheck(self, mask):
        pattern, _, left, right = random_case(mask)
        inputs = (left.requires_grad_(), right.requires_grad_())
        assert torch.autograd.gradcheck(lambda a, b: sampled_product(a, b, pattern), inputs)

    def test_one_sided_gradient(self):
        pattern, values, left, right = random_case(FULL)
        right.requires_grad_()
        (sampled_product(left, right, pattern) * values).sum().backward()
        torch.testing.assert_close(right.grad, dense(pattern, values).T @ left)
        assert left.grad is None

    def test_transposed_views_are_taken(self):
        pattern, _, left, right = random_case(FULL)
        columns = right.T.contiguous().T
        assert not columns.is_contiguous()
        wanted = (left @ right.T)[pattern.row, pattern.col]
        torch.testing.assert_close(sampled_product(left, columns, pattern), wanted)


class TestGathering:
    """The path of CPU builds without MKL."""

    @pytest.mark.parametrize("chunk", [1, 4, 1000])
    @masks
    def test_equals_the_dense_product_over_any_chunks(self, mask, chunk, monkeypatch):
        monkeypatch.setattr(sparse, "_GATHER_CHUNK", chunk)
        pattern, _, left, right = random_case(mask)
        wanted = (left @ right.T)[pattern.row, pattern.col]
        torch.testing.assert_close(sparse._sample_by_gathering(left, right, pattern), wanted)

    @pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL: there is no kernel path")
    def test_equals_the_kernel(self):
        pattern, _, left, right = random_case(FULL)
        by_kernel = sparse._sample_by_kernel(left, right, pattern)
        torch.testing.assert_close(sparse._sample_by_gathering(left, right, pattern), by_kernel)

    def test_is_chosen_without_mkl_and_has_the_same_gradients(self, monkeypatch):
        pattern, values, left, right = random_case(FULL)
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
        monkeypatch.setattr(sparse, "_sample_by_kernel", lambda *_: pytest.fail("the kernel was called"))
        monkeypatch.setattr(sparse, "_GATHER_CHUNK", 5)
        left.requires_grad_(), right.requires_grad_()
        (sampled_product(left, right, pattern) * values).sum().backward()
        torch.testing.assert_close(left.grad, dense(pattern, values) @ right.detach())
        torch.testing.assert_close(right.grad, dense(pattern, values).T @ left.detach())
