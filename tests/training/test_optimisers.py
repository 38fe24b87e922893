"""RMSprop of touched rows: torch's own, to the last digits, without touching the others."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from hyvae.nn import kernels
from hyvae.nn.sparse import SparsePattern, TableGradient, table_gradients
from hyvae.training.optimisers import Adam, RMSprop

ROWS, WIDTH = 30, 5


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def way(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(kernels, "_compiled", {})
    elif not kernels.compiled():
        pytest.skip("no kernels were compiled")


def gradients(steps, density):
    """Gradients of some rows, others zero."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        gradient = torch.randn(ROWS, WIDTH, generator=generator)
        gradient[torch.rand(ROWS, generator=generator) > density] = 0
        yield gradient


def left_over(gradient, parts=1):
    """A gradient as the sparse products leave it, in one or more parts."""
    rows = torch.nonzero(gradient.abs().sum(1))[:, 0]
    pattern = SparsePattern((len(rows), ROWS), torch.arange(len(rows) + 1), rows.int(), row_gradients=True)
    return [TableGradient(pattern, torch.full((len(rows),), 1 / parts), gradient[rows]) for _ in range(parts)]


def trained(optimiser, weight, gradients):
    """Weights after steps with dense gradients, or with lists of what was left over."""
    for gradient in gradients:
        weight.grad = None if isinstance(gradient, list) else gradient
        weight.table_gradients = gradient if isinstance(gradient, list) else []
        optimiser.step()
        assert not table_gradients(weight)
    return weight.detach()


def weights():
    return nn.Parameter(torch.linspace(-1, 1, ROWS * WIDTH).reshape(ROWS, WIDTH))


class TestDense:
    @pytest.mark.parametrize("decay", [0.0, 0.1])
    def test_is_torchs(self, decay):
        ours, theirs = weights(), weights()
        torch.testing.assert_close(
            trained(RMSprop([ours], 0.01, weight_decay=decay), ours, gradients(40, 0.5)),
            trained(torch.optim.RMSprop([theirs], 0.01, weight_decay=decay), theirs, gradients(40, 0.5)),
        )

    def test_a_single_number(self):
        ours, theirs = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(2.0))
        slopes = [torch.tensor(float(k)) for k in range(-3, 5)]
        torch.testing.assert_close(
            trained(RMSprop([ours], 0.1), ours, slopes), trained(torch.optim.RMSprop([theirs], 0.1), theirs, slopes)
        )


class TestAdam:
    @pytest.mark.parametrize("decay", [0.0, 0.1])
    def test_is_torchs(self, decay):
        ours, theirs = weights(), weights()
        torch.testing.assert_close(
            trained(Adam([ours], 0.01, weight_decay=decay), ours, gradients(40, 0.5)),
            trained(
                torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99), weight_decay=decay), theirs, gradients(40, 0.5)
            ),
            rtol=1e-5,
            atol=1e-6,
        )

    def test_groups_have_settings_of_their_own(self):
        one, other = weights(), weights()
        optimiser = Adam([{"params": [one]}, {"params": [other], "weight_decay": 0.5}], 0.01)
        for group in optimiser.param_groups:
            group["lr"] = 0.02
        for parameter in (one, other):
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        alone = weights()
        assert torch.equal(one.detach(), trained(Adam([alone], 0.02), alone, [torch.ones(ROWS, WIDTH)]))
        alone = weights()
        wanted = trained(Adam([alone], 0.02, weight_decay=0.5), alone, [torch.ones(ROWS, WIDTH)])
        assert torch.equal(other.detach(), wanted)


@pytest.mark.parametrize("kind", [Adam, RMSprop])
class TestState:
    def test_goes_on_where_it_was(self, kind):
        whole, first, second = weights(), weights(), weights()
        steps = list(gradients(20, 0.8))
        trained(kind([whole], 0.01), whole, steps)
        one = kind([first], 0.5)
        one.param_groups[0]["lr"] = 0.01
        trained(one, first, steps[:9])
        with torch.no_grad():
            second.copy_(first)
        other = kind([second], 0.7)
        other.load_state_dict(one.state_dict())
        trained(one, first, steps[9:12])  # what was given is not shared
        assert torch.equal(trained(other, second, steps[9:]), whole.detach())

    def test_of_other_parameters_is_refused(self, kind):
        with pytest.raises(ValueError, match="of other parameters"):
            kind([weights()], 0.01).load_state_dict(kind([weights(), weights()], 0.01).state_dict())
        narrow = nn.Parameter(torch.ones(ROWS, 1))
        optimiser = kind([narrow], 0.01)
        trained(optimiser, narrow, [torch.ones(ROWS, 1)])
        with pytest.raises(ValueError, match="of other parameters"):
            kind([weights()], 0.01).load_state_dict(optimiser.state_dict())

    def test_gradients_are_forgotten(self, kind):
        weight = weights()
        weight.grad = torch.ones_like(weight)
        weight.table_gradients = left_over(torch.ones(ROWS, WIDTH))
        optimiser = kind([weight], 0.01)
        optimiser.zero_grad()
        assert weight.grad is None
        assert not table_gradients(weight)
        optimiser.step()
        assert torch.equal(weight, weights())


def test_training_does_not_wait_for_torchs_compiler():
    program = (
        "import sys, numpy as np; from hyvae import HyVAE, Ratings; "
        "pairs = np.divmod(np.arange(0, 400, 3), 20); "
        "HyVAE(epochs=2).fit(Ratings.from_arrays(*pairs, 1.0 + np.arange(134) % 5)); "
        "HyVAE(preset='paper', fusion='folded', epochs=2).fit(Ratings.from_arrays(*pairs, 1.0 + np.arange(134) % 5)); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class TestRows:
    @pytest.mark.parametrize("parts", [1, 3])
    @pytest.mark.parametrize("density", [0.02, 0.3, 1.0])
    def test_are_torchs_with_all_rows(self, density, parts):
        ours, theirs = weights(), weights()
        rows = [left_over(gradient, parts) for gradient in gradients(60, density)]
        torch.testing.assert_close(
            trained(RMSprop([ours], 0.01), ours, rows),
            trained(torch.optim.RMSprop([theirs], 0.01), theirs, gradients(60, density)),
            rtol=1e-5,
            atol=1e-6,
        )

    def test_a_dense_gradient_in_between(self):
        ours, theirs = weights(), weights()
        mixed = [g if k % 3 == 2 else left_over(g) for k, g in enumerate(gradients(30, 0.3))]
        torch.testing.assert_close(
            trained(RMSprop([ours], 0.01), ours, mixed),
            trained(torch.optim.RMSprop([theirs], 0.01), theirs, gradients(30, 0.3)),
            rtol=1e-5,
            atol=1e-6,
        )

    @pytest.mark.parametrize("decay", [0.0, 0.3])
    def test_a_steps_blocks_are_as_one(self, decay):
        whole, parted = weights(), weights()
        one, other = list(gradients(20, 0.2)), list(gradients(20, 0.2))[::-1]
        together = [left_over(a + b) for a, b in zip(one, other, strict=True)]
        blocks = [left_over(a) + left_over(b) for a, b in zip(one, other, strict=True)]
        torch.testing.assert_close(
            trained(RMSprop([parted], 0.01, weight_decay=decay), parted, blocks),
            trained(RMSprop([whole], 0.01, weight_decay=decay), whole, together),
            rtol=1e-5,
            atol=1e-6,
        )

    def test_untouched_rows_keep_their_weights_and_are_not_decayed(self):
        weight = weights()
        before = weight.detach().clone()
        gradient = torch.zeros(ROWS, WIDTH)
        gradient[4] = 1
        after = trained(RMSprop([weight], 0.01, weight_decay=0.5), weight, [left_over(gradient)] * 3)
        assert (after != before).any(1).nonzero()[:, 0].tolist() == [4]

    def test_a_state_goes_on_where_it_was(self):
        whole, first, second = weights(), weights(), weights()
        steps = [left_over(gradient) for gradient in gradients(20, 0.3)]
        trained(RMSprop([whole], 0.01), whole, steps)
        one = RMSprop([first], 0.01)
        trained(one, first, steps[:9])
        with torch.no_grad():
            second.copy_(first)
        other = RMSprop([second], 0.01)
        other.load_state_dict(one.state_dict())
        assert torch.equal(trained(other, second, steps[9:]), whole.detach())
