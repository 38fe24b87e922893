"""Measures of posterior collapse, against closed forms and against what must happen where nobody listens to z."""

import json
import math

import numpy as np
import pytest
import torch

from hyvae import Recommender
from hyvae.evaluation.posterior import diagnose, mutual_information, posteriors
from hyvae.nn.randomness import seeded

QUICK = {"epochs": 20, "hidden": 8, "latent": 3, "deep_layers": (4,), "samples": 0}


class TestMutualInformation:
    def test_of_equal_posteriors_is_nothing(self):
        mean = torch.randn(5, dtype=torch.float64).expand(200, 5)
        assert mutual_information(mean, torch.zeros(200, 5, dtype=torch.float64)) == pytest.approx(0, abs=1e-12)

    def test_of_posteriors_far_apart_is_the_logarithm_of_the_users(self):
        mean = 100.0 * torch.arange(50, dtype=torch.float64).unsqueeze(1)
        assert mutual_information(mean, torch.zeros(50, 1, dtype=torch.float64)) == pytest.approx(math.log(50))

    @pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0])
    def test_of_normal_means_is_that_of_a_gaussian_channel(self, deviation):
        """μ ~ N(0, s²) and noise of variance v: ½ log(1 + s²/v), a unit."""
        variance, units = 0.5, 2
        with seeded(0):
            mean = deviation * torch.randn(4000, units, dtype=torch.float64)
            found = mutual_information(mean, torch.full_like(mean, math.log(variance)))
        assert found == pytest.approx(units * 0.5 * math.log1p(deviation**2 / variance), rel=0.05)


@pytest.fixture(scope="module")
def fitted(parts):
    train, valid = parts
    return Recommender("hyvae", **QUICK).fit(train, valid, seed=0, progress=False), valid


class TestDiagnose:
    def test_errors_without_a_branch_are_those_of_its_mean(self, fitted):
        recommender, valid = fitted
        found = diagnose(recommender, valid)
        assert found["rmse"]["all"] == pytest.approx(
            np.sqrt(np.mean((recommender.predict_ratings(valid) - valid.values) ** 2)), rel=1e-6
        )
        # with both gone, all users get the same code: only what centring took away tells them apart
        assert found["rmse"]["without_both"] != found["rmse"]["all"]
        assert set(found["rmse"]) == {"all", "z_permuted", "without_z", "without_d", "without_both"}

    def test_nobody_listens_to_z_whose_rows_are_zero(self, fitted):
        recommender, valid = fitted
        model = recommender.model
        before = model.item_rows.clone()
        model.item_rows[:, model.code_parts["z"]] = 0
        try:
            errors = diagnose(recommender, valid)["rmse"]
        finally:
            model.item_rows.copy_(before)
        assert errors["z_permuted"] == errors["without_z"] == errors["all"]
        assert errors["without_d"] == errors["without_both"]

    def test_units_are_counted_as_the_posterior_says(self, fitted):
        recommender, _ = fitted
        mean, log_variance = posteriors(recommender)
        found = diagnose(recommender)
        assert found["users"] == len(mean)
        assert found["units"] == 3
        assert found["active_units"] == int((mean.numpy().var(0) > 0.01).sum())
        kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).mean(0)
        np.testing.assert_allclose(found["kl_per_unit"], kl, rtol=1e-9)
        assert 0 <= found["mutual_information"] <= found["log_users"] + 1e-9
        assert "rmse" not in found

    def test_it_is_the_same_each_time(self, fitted):
        assert diagnose(*fitted) == diagnose(*fitted)

    def test_the_draws_do_not_answer_meanwhile(self, parts):
        train, valid = parts
        settings = {**QUICK, "samples": 4, "chains": 1, "sweeps": 6, "sample_width": 4}
        recommender = Recommender("hyvae", **settings).fit(train, valid, progress=False)
        network = Recommender("hyvae", **QUICK).fit(train, valid, progress=False)
        before = recommender.predict_ratings(valid)
        assert diagnose(recommender, valid)["rmse"] == pytest.approx(diagnose(network, valid)["rmse"], rel=1e-5)
        np.testing.assert_array_equal(recommender.predict_ratings(valid), before)

    @pytest.mark.parametrize("model", ["mult_vae", "rec_vae", "macrid_vae"])
    def test_of_other_variational_models(self, model, parts):
        train, valid = parts
        found = diagnose(Recommender(model, epochs=2).fit(train, valid, progress=False), valid)
        assert set(found["rmse"]) == {"all", "z_permuted", "without_z"}
        json.dumps(found)

    def test_of_a_model_without_a_posterior(self, parts):
        assert diagnose(Recommender("bias").fit(parts[0]), parts[1]) is None
        assert diagnose(Recommender("hyvae", branches="deep", **QUICK).fit(parts[0], progress=False)) is None
