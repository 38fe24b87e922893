"""Sparse products against dense autograd, and patterns against scipy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse as sp
from torch import nn

from hyvae.errors import DataError
from hyvae.nn import kernels, sparse
from hyvae.nn.sparse import (
    SparsePattern,
    at_columns,
    forget_table_gradients,
    paired_product,
    sampled_product,
    sampled_product_in_parts,
    sparse_product,
    table_gradients,
)

WIDTH = 3


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def way(request, monkeypatch):
    """Everything here holds for both ways of computing it."""
    if request.param == "torch":
        monkeypatch.setattr(kernels, "_compiled", {})
    elif not kernels.compiled():
        pytest.skip("no kernels were compiled")


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
    def test_transpose_is_scipys(self, mask):
        pattern, values, _, _ = random_case(mask)
        csr = sp.csr_array((values.numpy(), pattern.col.numpy(), pattern.crow.numpy()), shape=pattern.shape)
        csc = csr.tocsc()
        assert pattern.transpose.crow.tolist() == csc.indptr.tolist()
        assert pattern.transpose.col.tolist() == csc.indices.tolist()
        assert values[pattern.transpose.order].tolist() == csc.data.tolist()

    @masks
    def test_the_touched_transpose_leaves_out_empty_columns(self, mask):
        pattern = replace(pattern_of(mask), row_gradients=True)
        t, whole = pattern.transpose, pattern_of(mask).transpose
        assert t.touched.tolist() == np.flatnonzero(mask.any(0)).tolist()
        assert t.crow.tolist() == [0, *whole.crow[1:][t.touched].tolist()]
        assert t.col.tolist() == whole.col.tolist()
        assert t.order.tolist() == whole.order.tolist()

    @given(any_mask, st.randoms(use_true_random=False))
    @settings(max_examples=60, deadline=None)
    def test_hidden_is_the_pattern_of_the_entries_that_are_not_visible(self, mask, random):
        pattern = pattern_of(mask)
        visible = torch.tensor([random.random() < 0.5 for _ in range(pattern.nnz)], dtype=torch.float32)
        hidden, places = pattern.hidden(visible)
        wanted = pattern_of(dense(pattern, visible == 0).numpy() > 0)
        assert hidden.shape == wanted.shape
        assert torch.equal(hidden.crow, wanted.crow)
        assert torch.equal(hidden.col, wanted.col)
        assert places.tolist() == torch.nonzero(visible == 0)[:, 0].tolist()

    @masks
    def test_rows_are_a_part_of_the_matrix(self, mask):
        pattern, values, _, _ = random_case(mask)
        last = len(mask)
        part = pattern.rows(last // 2, last)
        wanted = dense(pattern, values)[last // 2 :]
        assert torch.equal(dense(part, values[pattern.crow[last // 2] :]), wanted)

    def test_too_many_entries_for_an_index_are_refused(self, monkeypatch):
        monkeypatch.setattr(sparse, "_MOST_ENTRIES", 3)
        with pytest.raises(DataError, match="more than one block can hold"):
            SparsePattern.from_numpy(np.array([0, 4]), np.arange(4), 4)

    def test_from_numpy_takes_any_integer_type(self):
        pattern = SparsePattern.from_numpy(np.array([0, 1], np.uint8), np.array([2], np.int32), 4)
        assert (pattern.crow.dtype, pattern.col.dtype) == (torch.int64, torch.int32)
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


class TestTransposedProduct:
    @masks
    def test_value_and_gradient_are_dense_autograds(self, mask):
        pattern, values, table, weight = random_case(mask)
        ours, theirs = table.clone().requires_grad_(), table.clone().requires_grad_()
        product = sparse_product(values, ours, pattern, transposed=True)
        wanted = dense(pattern, values).T @ theirs
        torch.testing.assert_close(product, wanted)
        (product * weight).sum().backward()
        (wanted * weight).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


class TestPairedProduct:
    @pytest.mark.parametrize("transposed", [False, True])
    @masks
    def test_is_the_sum_of_two_products(self, mask, transposed):
        pattern, values, *sides = random_case(mask)
        seen = (torch.arange(pattern.nnz) % 3 > 0).double()
        values = values * seen
        table, weight = reversed(sides) if not transposed else sides
        tables = [table.clone().requires_grad_(), (2 - table).requires_grad_()]
        copies = [t.detach().clone().requires_grad_() for t in tables]
        product = paired_product(values, tables[0], seen, tables[1], pattern, transposed)
        matrices = [dense(pattern, v) for v in (values, seen)]
        wanted = sum((m.T if transposed else m) @ t for m, t in zip(matrices, copies, strict=True))
        torch.testing.assert_close(product, wanted)
        (product * weight).sum().backward()
        (wanted * weight).sum().backward()
        for ours, theirs in zip(tables, copies, strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)


class TestSampledProductInParts:
    @masks
    def test_parts_and_gradients_are_dense_autograds(self, mask):
        pattern, values, left, right = random_case(mask)
        ours = [left.clone().requires_grad_(), right.clone().requires_grad_()]
        theirs = [left.clone().requires_grad_(), right.clone().requires_grad_()]
        first, second = sampled_product_in_parts(*ours, pattern, 1)
        at = pattern.row, pattern.col
        wanted = [(theirs[0][:, part] @ theirs[1][:, part].T)[at] for part in (slice(0, 1), slice(1, None))]
        torch.testing.assert_close([first, second], wanted)
        (first * values + second.square()).sum().backward()
        (wanted[0] * values + wanted[1].square()).sum().backward()
        torch.testing.assert_close([t.grad for t in ours], [t.grad for t in theirs])


class TestAtColumns:
    @masks
    def test_value_and_gradient(self, mask):
        pattern, values, _, right = random_case(mask)
        vector = right[:, 0].clone().requires_grad_()
        entries = at_columns(vector, pattern)
        assert torch.equal(entries, vector[pattern.col])
        (entries * values).sum().backward()
        torch.testing.assert_close(vector.grad, dense(pattern, values).sum(0))


class TestTableGradients:
    """Gradients that are left to the optimiser."""

    @masks
    def test_are_the_dense_ones(self, mask):
        pattern, values, left, right = random_case(mask)

        def tables(pattern):
            tables = [nn.Parameter(right.clone()) for _ in range(4)]
            seen = torch.ones_like(values)
            out = sparse_product(values, tables[0], pattern) + paired_product(
                values, tables[1], seen, tables[2], pattern
            )
            loss = (out * left).sum() + (sampled_product(left, tables[3], pattern) * values).sum()
            loss.backward()
            return tables

        for later, now in zip(tables(replace(pattern, row_gradients=True)), tables(pattern), strict=True):
            assert later.grad is None
            (gradient,) = table_gradients(later)
            assert not table_gradients(now)
            assert len(gradient.pattern.transpose.touched) == int(mask.any(0).sum())
            torch.testing.assert_close(gradient.dense(), now.grad)

    def test_a_frozen_parameter_gets_none(self):
        pattern, values, left, right = random_case(FULL)
        pattern = replace(pattern, row_gradients=True)
        frozen, learnt = nn.Parameter(right.clone(), requires_grad=False), nn.Parameter(right.clone())
        (paired_product(values, learnt, torch.ones_like(values), frozen, pattern) * left).sum().backward()
        assert len(table_gradients(learnt)) == 1
        assert not table_gradients(frozen)
        forget_table_gradients(learnt)
        assert not table_gradients(learnt)

    def test_of_a_leaf_that_is_no_parameter_are_computed_at_once(self):
        pattern, values, left, right = random_case(EMPTY_COLUMN)
        leaf = right.clone().requires_grad_()
        (sampled_product(left, leaf, replace(pattern, row_gradients=True)) * values).sum().backward()
        torch.testing.assert_close(leaf.grad, dense(pattern, values).T @ left)

    def test_of_what_is_no_parameter_are_computed_at_once(self):
        pattern, values, left, right = random_case(EMPTY_COLUMN)
        gradients = []
        for row_gradients in (True, False):
            table = right.clone().requires_grad_()
            product = sparse_product(values, 2 * table, replace(pattern, row_gradients=row_gradients))
            (product * left).sum().backward()
            gradients.append(table.grad)
        torch.testing.assert_close(*gradients)


class TestGathering:
    """The path of CPU builds without MKL."""

    @pytest.mark.parametrize("chunk", [1, 4, 1000])
    @masks
    def test_equals_the_dense_product_over_any_chunks(self, mask, chunk, monkeypatch):
        monkeypatch.setattr(kernels, "_GATHER_CHUNK", chunk)
        pattern, _, left, right = random_case(mask)
        wanted = (left @ right.T)[pattern.row, pattern.col]
        torch.testing.assert_close(kernels._sample_by_gathering(pattern.crow, pattern.col, left, right), wanted)

    def test_is_chosen_without_mkl_and_has_the_same_gradients(self, monkeypatch):
        pattern, values, left, right = random_case(FULL)
        monkeypatch.setattr(kernels, "_compiled", {})
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
        monkeypatch.setattr(torch.sparse, "sampled_addmm", lambda *_, **__: pytest.fail("the kernel was called"))
        monkeypatch.setattr(kernels, "_GATHER_CHUNK", 5)
        left.requires_grad_(), right.requires_grad_()
        (sampled_product(left, right, pattern) * values).sum().backward()
        torch.testing.assert_close(left.grad, dense(pattern, values) @ right.detach())
        torch.testing.assert_close(right.grad, dense(pattern, values).T @ left.detach())
