"""The dense fusion against numpy, and its fold against itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.nn.fusion import DenseFusion
from hyvae.nn.sparse import SparsePattern

N_ITEMS = 11
widths = pytest.mark.parametrize("widths", [(3, 5), (4, 4), (0, 5), (3, 0)])


def head(widths, **options):
    torch.manual_seed(0)
    return DenseFusion(widths, N_ITEMS, **options).double()


def codes(widths, n=7):
    return torch.randn(n, sum(widths), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("relu", [False, True])
def test_forward_is_the_papers_formula(relu):
    layer, code = head((3, 5), relu=relu), codes((3, 5))
    weights = [p.detach().numpy() for p in layer.parameters()]
    (W_z, b_z), (W_d, b_d), (W, b) = weights[0:2], weights[2:4], weights[4:6]
    x = code.numpy()
    V_V, V_D = x[:, :3] @ W_z.T + b_z, x[:, 3:] @ W_d.T + b_d
    if relu:
        V_V, V_D = np.maximum(V_V, 0), np.maximum(V_D, 0)
    fused, deep = layer(code)
    np.testing.assert_allclose(fused.detach(), np.hstack([V_V, V_D]) @ W.T + b)
    np.testing.assert_allclose(deep.detach(), V_D)


@widths
def test_folded_is_the_same_function(widths):
    layer, code = head(widths), codes(widths)
    rows, bias = layer.fold()
    torch.testing.assert_close(code @ rows.T + bias, layer(code)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("relu", [False, True])
@widths
def test_at_some_positions_it_is_the_same_with_the_same_gradients(widths, relu):
    layer, code = head(widths, relu=relu), codes(widths).requires_grad_(True)
    rated = torch.rand(len(code), N_ITEMS, generator=torch.Generator().manual_seed(2)) < 0.4
    rated[2] = False
    rows, cols = rated.nonzero().T
    pattern = SparsePattern.from_numpy(np.append(0, rated.sum(1).cumsum(0)), cols.numpy(), N_ITEMS)
    weights = torch.randn(2, len(rows), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found, wanted = layer.at(code, pattern), [output[rows, cols] for output in layer(code)]
    gradients = []
    for outputs in (found, wanted):
        loss = sum((weight * output.square()).sum() for weight, output in zip(weights, outputs, strict=True))
        gradients.append(torch.autograd.grad(loss, [code, *layer.parameters()]))
    torch.testing.assert_close(found, tuple(wanted))
    torch.testing.assert_close(*gradients)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 8))
@settings(deadline=None)
def test_every_linear_head_folds(seed, width_z, width_d, n_items):
    torch.manual_seed(seed)
    layer = DenseFusion((width_z, width_d), n_items).double()
    code = torch.randn(4, width_z + width_d, dtype=torch.float64)
    rows, bias = layer.fold()
    assert rows.shape == (n_items, width_z + width_d)
    torch.testing.assert_close(code @ rows.T + bias, layer(code)[0], rtol=0, atol=1e-11)


@widths
def test_fold_hands_out_copies_without_gradients(widths):
    layer, code = head(widths), codes(widths)
    before = layer(code)[0].detach()
    for tensor in layer.fold():
        assert not tensor.requires_grad
        tensor.zero_()
    assert torch.equal(layer(code)[0], before)


def test_a_relu_is_not_folded():
    with pytest.raises(ValueError, match="ReLU"):
        head((3, 5), relu=True).fold()


def test_one_branch_has_nothing_to_fuse():
    assert head((0, 5)).fuse is None
    assert head((3, 5)).fuse.weight.shape == (N_ITEMS, 2 * N_ITEMS)
