"""Likelihoods over all items against dense torch, whole or in blocks, and draws of what was not taken."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus
from torch.utils._python_dispatch import TorchDispatchMode

from hyvae.nn import implicit
from hyvae.nn.implicit import draw_negatives, logistic_loss, multinomial_loss, sampled_logistic_loss
from hyvae.nn.sparse import SparsePattern

WIDTH = 3


def dense_multinomial(code, rows, bias, mask):
    return -((code @ rows.T + bias).log_softmax(1) * mask).sum()


def dense_logistic(code, rows, bias, mask):
    logits = code @ rows.T + bias
    return (softplus(-logits) * mask + softplus(logits) * (1 - mask)).sum()


LOSSES = {"multinomial": (multinomial_loss, dense_multinomial), "logistic": (logistic_loss, dense_logistic)}
losses = pytest.mark.parametrize(("ours", "dense"), LOSSES.values(), ids=LOSSES.keys())
MASK = np.random.default_rng(3).random((7, 9)) < 0.4
MASK[[0, 3]] = False
any_mask = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda cells: np.array(cells, dtype=bool).reshape(shape)
    )
)


def pattern_of(mask):
    bounds = np.concatenate([[0], np.cumsum(mask.sum(1))])
    return SparsePattern.from_numpy(bounds, np.nonzero(mask)[1], mask.shape[1])


def inputs_of(mask, seed=0, size=1.0, asked=(True, True, True)):
    """Codes, rows and biases, float64 leaves."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (mask.shape[0], WIDTH), (mask.shape[1], WIDTH), (mask.shape[1],)
    drawn = [size * torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [x.requires_grad_(wanted) for x, wanted in zip(drawn, asked, strict=True)]


class TestOverAllItems:
    @losses
    @given(any_mask, st.integers(0, 40), st.integers(0, 10**6))
    @settings(max_examples=60, deadline=None)
    def test_value_and_gradients_are_dense_torchs_in_any_blocks(self, ours, dense, mask, logits, seed):
        one, other = inputs_of(mask, seed), inputs_of(mask, seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(implicit, "_LOGITS", logits)
            loss = ours(*one, pattern_of(mask))
        wanted = dense(*other, torch.from_numpy(mask).double())
        torch.testing.assert_close(loss, wanted)
        # times something, as in a loss that is divided by the number of users
        (0.3 * loss).backward()
        (0.3 * wanted).backward()
        for x, y in zip(one, other, strict=True):
            torch.testing.assert_close(x.grad, y.grad)

    @losses
    def test_logits_far_apart_stay_finite(self, ours, dense):
        one, other = inputs_of(MASK, size=100.0), inputs_of(MASK, size=100.0)
        loss, wanted = ours(*one, pattern_of(MASK)), dense(*other, torch.from_numpy(MASK).double())
        assert torch.isfinite(loss)
        torch.testing.assert_close(loss, wanted)
        loss.backward()
        assert all(torch.isfinite(x.grad).all() for x in one)


class Products(TorchDispatchMode):
    """Counts dense matrix products."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += "mm" in func.name().split("::")[1]
        return func(*args, **(kwargs or {}))


class TestOnlyWhatIsAskedFor:
    @losses
    @pytest.mark.parametrize("asked", list(itertools.product([False, True], repeat=3)))
    def test_gradients_of_some_inputs(self, ours, dense, asked):
        one, other = inputs_of(MASK, asked=asked), inputs_of(MASK)
        with Products() as products:
            loss = ours(*one, pattern_of(MASK))
        # the logits, and one for each table
        assert products.n == 1 + asked[0] + asked[1]
        wanted = dense(*other, torch.from_numpy(MASK).double())
        torch.testing.assert_close(loss, wanted)
        assert loss.requires_grad == any(asked)
        wanted.backward()
        if any(asked):
            loss.backward()
        for x, y, is_asked in zip(one, other, asked, strict=True):
            assert (x.grad is not None) == is_asked
            if is_asked:
                torch.testing.assert_close(x.grad, y.grad)

    @losses
    def test_none_where_none_is_recorded(self, ours, dense):
        inputs = inputs_of(MASK)
        with torch.no_grad(), Products() as products:
            loss = ours(*inputs, pattern_of(MASK))
        assert products.n == 1
        assert not loss.requires_grad
        torch.testing.assert_close(loss, dense(*inputs, torch.from_numpy(MASK).double()).detach())


class TestDraws:
    @given(any_mask, st.integers(1, 4), st.integers(0, 10**6))
    @settings(max_examples=60, deadline=None)
    def test_a_taken_item_never_counts_and_any_other_does(self, mask, negatives, seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn, counts = draw_negatives(pattern_of(mask), negatives)
        assert drawn.shape == mask.shape
        places = list(zip(drawn.row.tolist(), drawn.col.tolist(), strict=True))
        assert places == sorted(set(places))
        assert (counts > 0).tolist() == (~mask[drawn.row.numpy(), drawn.col.numpy()]).tolist()
        of_rows = torch.zeros(len(mask), dtype=torch.int64).index_add_(0, drawn.row, counts)
        assert (of_rows.numpy() <= negatives * mask.sum(1)).all()

    def test_nobody_took_anything(self):
        drawn, counts = draw_negatives(pattern_of(np.zeros((3, 4), bool)), 5)
        assert drawn.nnz == len(counts) == 0

    def test_a_place_beyond_32_bits_is_found(self):
        # row · n_items + item of the last row
        n_users, n_items = 70_000, 40_000
        taken = SparsePattern(
            (n_users, n_items),
            torch.cat([torch.zeros(n_users, dtype=torch.int64), torch.tensor([n_items - 1])]),
            torch.arange(1, n_items).int(),
        )
        drawn, counts = draw_negatives(taken, 3)
        assert (counts > 0).tolist() == (drawn.col == 0).tolist()

    def test_every_item_is_as_likely_as_any_other(self):
        n, n_items = 20_000, 8
        with torch.random.fork_rng():
            torch.manual_seed(0)
            drawn, times = draw_negatives(pattern_of(np.eye(2, n_items, 3, dtype=bool)), n)
        assert drawn.crow.tolist() == [0, n_items, 2 * n_items]
        for row in range(2):
            counts = times[drawn.row == row].double()
            assert counts[3 + row] == 0, "taken"
            counts[3 + row] = n / n_items
            # five standard deviations of a binomial
            assert (counts - n / n_items).abs().max() < 5 * (n / n_items * (1 - 1 / n_items)) ** 0.5

    def test_the_mean_of_the_sampled_loss_is_what_it_stands_for(self):
        code, rows, bias = inputs_of(MASK, asked=(False,) * 3)
        pattern, mask, negatives = pattern_of(MASK), torch.from_numpy(MASK).double(), 4
        with torch.random.fork_rng():
            torch.manual_seed(0)
            values = torch.stack([sampled_logistic_loss(code, rows, bias, pattern, negatives) for _ in range(2000)])
        logits = code @ rows.T + bias
        draws = negatives * mask.sum(1, keepdim=True) / MASK.shape[1]
        wanted = (mask * softplus(-logits) + draws * (1 - mask) * softplus(logits)).sum()
        error = float(values.std() / len(values) ** 0.5)
        assert float(values.mean()) == pytest.approx(float(wanted), abs=4 * error)
        assert error < 0.01 * float(wanted)

    def test_its_gradients_are_those_of_the_draws(self, monkeypatch):
        pattern, mask = pattern_of(MASK), torch.from_numpy(MASK).double()
        one, other = inputs_of(MASK), inputs_of(MASK)
        with torch.random.fork_rng():
            torch.manual_seed(2)
            drawn, counts = draw_negatives(pattern, 3)
        monkeypatch.setattr(implicit, "draw_negatives", lambda *_: (drawn, counts))
        loss = sampled_logistic_loss(*one, pattern, 3)
        times = torch.zeros_like(mask).index_put_((drawn.row, drawn.col.long()), counts.double(), accumulate=True)
        logits = other[0] @ other[1].T + other[2]
        wanted = (mask * softplus(-logits) + times * softplus(logits)).sum()
        torch.testing.assert_close(loss, wanted)
        loss.backward()
        wanted.backward()
        for x, y in zip(one, other, strict=True):
            torch.testing.assert_close(x.grad, y.grad)
