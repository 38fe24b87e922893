"""The sparse first layer against a dense one."""

import numpy as np
import pytest
import torch

from hyvae.nn.rows import RowLayer
from hyvae.nn.sparse import SparsePattern

WIDTH = 4
MASK = np.random.default_rng(4).random((7, 9)) < 0.4
MASK[[0, 3]] = False


@pytest.fixture
def case():
    """A pattern, values at it, and factors of which some are 0."""
    bounds = np.concatenate([[0], np.cumsum(MASK.sum(1))])
    pattern = SparsePattern.from_numpy(bounds, np.nonzero(MASK)[1], MASK.shape[1])
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(pattern.nnz, generator=generator, dtype=torch.float64)
    kept = (torch.rand(pattern.nnz, generator=generator) < 0.6).double() / 0.6
    assert 0 < int((kept == 0).sum()) < pattern.nnz
    return pattern, values, kept


def layer_of(presence=False, scaled=None):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RowLayer(MASK.shape[1], WIDTH, presence, scaled).double()


def dense(layer, pattern, values, kept):
    """The same from matrices that hold every zero."""

    def matrix(entries):
        out = torch.zeros(pattern.shape, dtype=entries.dtype)
        out[pattern.row, pattern.col] = entries
        return out

    kept = torch.ones_like(values) if kept is None else kept
    total = matrix(values * kept) @ layer.table
    if layer.presence_table is not None:
        total = total + matrix(kept) @ layer.presence_table
    if layer.scaled is not None:
        # by all entries, dropped ones too; a row without any is zero anyway
        total = total / torch.from_numpy(MASK.sum(1, keepdims=True) + layer.scaled).clamp_min(1e-12).sqrt()
    return total + layer.bias


@pytest.mark.parametrize("dropped", [False, True], ids=["whole", "dropped"])
@pytest.mark.parametrize("scaled", [None, 0.0, 1.0])
@pytest.mark.parametrize("presence", [False, True], ids=["values", "presence"])
def test_value_and_gradients_are_the_dense_layers(case, presence, scaled, dropped):
    pattern, values, kept = case
    kept = kept if dropped else None
    ours, theirs = layer_of(presence, scaled), layer_of(presence, scaled)
    one, other = ours(pattern, values, kept), dense(theirs, pattern, values, kept)
    torch.testing.assert_close(one, other)
    weight = torch.linspace(-1, 1, one.numel(), dtype=torch.float64).view_as(one)
    (one * weight).sum().backward()
    (other * weight).sum().backward()
    for (name, x), y in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(x.grad, y.grad, msg=name)
    assert len(list(ours.parameters())) == 2 + presence


@pytest.mark.parametrize("scaled", [None, 0.0, 1.0])
def test_a_row_without_entries_is_the_bias(case, scaled):
    pattern, values, kept = case
    layer = layer_of(True, scaled)
    out = layer(pattern, values, kept)
    assert torch.equal(out[[0, 3]], layer.bias.expand(2, -1))
    out.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_scaled_rows_of_ones_have_length_1(case):
    pattern, values, _ = case
    layer = RowLayer(MASK.shape[1], MASK.shape[1], scaled=0.0).double()
    with torch.no_grad():
        layer.table.copy_(torch.eye(MASK.shape[1]))
        layer.bias.zero_()
        lengths = torch.linalg.vector_norm(layer(pattern, torch.ones_like(values)), dim=1)
    torch.testing.assert_close(lengths, torch.from_numpy(MASK.any(1)).double())
