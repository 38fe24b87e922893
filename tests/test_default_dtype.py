"""A program that makes float64 torch's default gets the models that any other gets."""

from collections.abc import Iterator

import pytest
import torch

from hyvae import Recommender

KINDS = {
    "fast": {"preset": "fast", "epochs": 2},
    "draws": {"epochs": 2, "samples": 2, "sample_width": 3, "sweeps": 4},
    "paper": {"preset": "paper", "epochs": 2},
    "ranking": {"model": "mult_vae", "preset": "ranking", "epochs": 2},
    "bias": {"model": "bias"},
}


@pytest.fixture
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def plain(parts):
    return {kind: Recommender(**settings).fit(*parts) for kind, settings in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_the_same(plain, parts, in_double, kind, tmp_path):
    model = Recommender(**KINDS[kind]).fit(*parts)
    assert torch.get_default_dtype() == torch.float64
    assert model.fingerprint == plain[kind].fingerprint
    assert model.recommend(100) == plain[kind].recommend(100)
    assert model.recommend({100: 5.0}) == plain[kind].recommend({100: 5.0})
    assert model.without_users([100]).recommend(103) == plain[kind].without_users([100]).recommend(103)
    model.save(tmp_path / "run")
    assert Recommender.load(tmp_path / "run").recommend(100)[0].item == model.recommend(100)[0].item
