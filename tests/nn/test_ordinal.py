import numpy as np
import pytest
import torch
from scipy.special import expit

from hyvae.nn.ordinal import OrdinalHead


@pytest.fixture
def head() -> OrdinalHead:
    torch.manual_seed(0)
    head = OrdinalHead(5, (1.0, 5.0)).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head


def probabilities(head: OrdinalHead, score: float) -> np.ndarray:
    cuts, noise = head.cuts.detach().numpy(), head.log_noise.exp().item()
    below = np.concatenate([[0.0], expit((cuts - score) / noise), [1.0]])
    return np.diff(below)


def test_cut_points_start_midway_and_stay_in_order(head):
    torch.testing.assert_close(OrdinalHead(5, (1.0, 5.0)).cuts, torch.tensor([1.5, 2.5, 3.5, 4.5]))
    torch.testing.assert_close(OrdinalHead(10, (0.5, 5.0)).cuts[:2], torch.tensor([0.75, 1.25]))
    assert (head.cuts.diff() > 0).all()


@pytest.mark.parametrize("score", [-2.0, 1.0, 2.9, 4.4, 9.0])
def test_log_likelihood_and_expectation_are_those_of_the_level_probabilities(head, score):
    expected = probabilities(head, score)
    scores = torch.full((5,), score, dtype=torch.float64)
    found = head.log_likelihood(scores, torch.arange(1.0, 6.0, dtype=torch.float64)).exp()
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-6)
    np.testing.assert_allclose(head.expectation(scores).detach(), expected @ np.arange(1, 6), rtol=1e-9)


def test_gradients(head):
    scores = torch.randn(12, dtype=torch.float64, requires_grad=True)
    ratings = torch.randint(1, 6, (12,)).double()
    parameters = list(head.parameters())
    torch.autograd.gradcheck(lambda *_: head.log_likelihood(scores, ratings), (scores, *parameters))


def test_far_scores_have_finite_likelihoods_and_gradients():
    head = OrdinalHead(5, (1.0, 5.0))
    scores = torch.tensor([-300.0, 300.0], requires_grad=True)
    head.log_likelihood(scores, torch.tensor([5.0, 1.0])).sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_a_rating_between_levels_counts_as_the_nearest():
    head = OrdinalHead(5, (1.0, 5.0))
    scores = torch.zeros(2)
    near, exact = head.log_likelihood(scores, torch.tensor([3.2, 3.0]))
    assert near == exact
