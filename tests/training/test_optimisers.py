"""Optimisers: torch's own, to the last digits; RMSprop of touched rows without touching the others."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from hyvae.nn import kernels
from hyvae.nn.sparse import SparsePattern, TableGradient, table_gradients
from hyvae.training.optimisers import SGD, Adagrad, Adam, RMSprop, Rprop

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


OLDER = {Adagrad: torch.optim.Adagrad, SGD: partial(torch.optim.SGD, momentum=0.9), Rprop: torch.optim.Rprop}


class TestOlder:
    # torch's Rprop knows no decay
    @pytest.mark.parametrize(("kind", "decay"), [(Adagrad, 0.0), (Adagrad, 0.1), (SGD, 0.0), (SGD, 0.1), (Rprop, 0.0)])
    def test_is_torchs(self, kind, decay):
        ours, theirs = weights(), weights()
        settings = {"weight_decay": decay} if decay else {}
        torch.testing.assert_close(
            trained(kind([ours], 0.01, **settings), ours, gradients(40, 0.5)),
            trained(OLDER[kind]([theirs], 0.01, **settings), theirs, gradients(40, 0.5)),
            rtol=1e-5,
            atol=1e-6,
        )

    @pytest.mark.parametrize("lr", [40.0, 3e-6], ids=["at the largest step", "at the smallest"])
    def test_rprop_keeps_within_bounds(self, lr):
        ours, theirs = (nn.Parameter(torch.zeros(ROWS, WIDTH)) for _ in range(2))
        large = lr > 1
        # signs that hold, or turn after every step that was taken
        signs = [torch.full((ROWS, WIDTH), 1.0 if large or k % 4 < 2 else -1.0) for k in range(12)]
        optimiser = Rprop([ours], lr)
        torch.testing.assert_close(
            trained(optimiser, ours, signs), trained(torch.optim.Rprop([theirs], lr), theirs, signs), rtol=1e-6, atol=0
        )
        bound = 50.0 if large else 1e-6
        torch.testing.assert_close(lr * optimiser.state[ours]["step_size"], torch.full_like(ours, bound))

    def test_rprop_decays_by_the_sign_of_the_whole_gradient(self):
        ours, theirs = weights(), weights()
        optimiser, alone = Rprop([ours], 0.01, weight_decay=0.5), torch.optim.Rprop([theirs], 0.01)
        for gradient in gradients(20, 0.8):
            trained(alone, theirs, [gradient + 0.5 * theirs.detach()])
            trained(optimiser, ours, [gradient])
        torch.testing.assert_close(ours, theirs)

    def test_all_steps_of_rprop_follow_the_learning_rate(self):
        weight = nn.Parameter(torch.zeros(1))
        optimiser, places = Rprop([weight], 0.1), []
        for rate in (0.1, 0.1, 0.05):
            optimiser.param_groups[0]["lr"] = rate
            places.append(float(trained(optimiser, weight, [torch.ones(1)])))
        assert np.diff([0.0, *places]).tolist() == pytest.approx([-0.1, -0.1 * 1.2, -0.05 * 1.2**2])

    @pytest.mark.parametrize("kind", [Adam, *OLDER])
    def test_what_was_left_over_is_part_of_the_gradient(self, kind):
        ours, theirs = weights(), weights()
        rows = [left_over(gradient, 2) for gradient in gradients(20, 0.3)]
        torch.testing.assert_close(
            trained(kind([ours], 0.01), ours, rows), trained(kind([theirs], 0.01), theirs, gradients(20, 0.3))
        )


@pytest.mark.parametrize("kind", [Adam, RMSprop, *OLDER])
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
