"""Dense layers at half the bits: torch's own but for the rounding of their factors."""

import pytest
import torch
from torch import nn

from hyvae.nn.dense import Linear, set_reduced


@pytest.fixture
def layers():
    torch.manual_seed(0)
    ours, theirs = Linear(64, 32), nn.Linear(64, 32)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def rounded(layer):
    """The same layer with weights of half the bits."""
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16().float())
    return layer


def outcome(layer, x):
    x = x.clone().requires_grad_()
    out = layer(x)
    out.square().sum().backward()
    return out.detach(), x.grad, layer.weight.grad, layer.bias.grad


def test_is_torchs_unless_asked(layers):
    x = torch.randn(50, 64)
    for ours, theirs in zip(outcome(layers[0], x), outcome(layers[1], x), strict=True):
        assert torch.equal(ours, theirs)


def test_half_is_within_the_rounding_of_a_product(layers):
    ours, theirs = layers
    set_reduced(ours, True)
    x = torch.randn(50, 64).bfloat16().float()
    for half, whole in zip(outcome(ours, x), outcome(rounded(theirs), x), strict=True):
        assert half.dtype == torch.float32
        assert not torch.equal(half, whole)
        assert float((half - whole).norm() / whole.norm()) < 2**-7


@pytest.mark.parametrize("shape", [(64,), (4, 5, 64), (2, 3, 4, 64)])
def test_half_is_the_same_in_any_shape(layers, shape):
    ours, _ = layers
    set_reduced(ours, True)
    x = torch.randn(*shape)
    shaped = outcome(ours, x)
    ours.zero_grad()
    for one, flat in zip(shaped, outcome(ours, x.reshape(-1, 64)), strict=True):
        torch.testing.assert_close(one.reshape(flat.shape), flat)


def test_answers_are_never_at_half(layers):
    ours, theirs = layers
    set_reduced(ours, True)
    ours.eval()
    x = torch.randn(5, 64)
    assert torch.equal(ours(x), theirs(x))


def test_reaches_every_layer_of_a_model():
    model = nn.Sequential(Linear(3, 3), nn.ModuleList([Linear(3, 3)]), nn.Linear(3, 3))
    set_reduced(model, True)
    assert [layer.reduced for layer in model.modules() if isinstance(layer, Linear)] == [True, True]
    set_reduced(model, False)
    assert not any(layer.reduced for layer in model.modules() if isinstance(layer, Linear))
