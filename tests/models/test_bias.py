"""The bias model keeps the contract, and is what its docstring says."""

import numpy as np
import pytest
from contract import ModelContract

from hyvae import BiasModel


class TestBias(ModelContract):
    model = "bias"


def test_predictions_are_mean_and_both_effects(small_ratings):
    bias = BiasModel(shrinkage=2.0, sweeps=50).fit(small_ratings)
    values, rows, cols = small_ratings.values.astype(float), small_ratings.user_index, small_ratings.indices
    mean, user, item = values.mean(), np.zeros(60), np.zeros(80)
    for _ in range(50):
        item = np.bincount(cols, values - mean - user[rows], 80) / (small_ratings.item_counts + 2.0)
        user = np.bincount(rows, values - mean - item[cols], 60) / (small_ratings.user_counts + 2.0)
    wanted = (mean + user[rows] + item[cols]).clip(1, 5)
    np.testing.assert_allclose(bias.predict_ratings(small_ratings), wanted, atol=1e-4)


def test_nothing_is_trained(small_ratings):
    bias = BiasModel().fit(small_ratings)
    assert bias.training.epochs == []
    assert not list(bias.model.parameters())


def test_a_new_item_gets_its_effect(small_ratings):
    users = small_ratings.users.ids.tolist()
    liked = BiasModel().fit(small_ratings).with_items({7: dict.fromkeys(users[:30], 5.0)})
    loathed = BiasModel().fit(small_ratings).with_items({7: dict.fromkeys(users[:30], 1.0)})
    assert liked.predict([users[40]], [7])[0] > loathed.predict([users[40]], [7])[0] + 1


@pytest.mark.parametrize("setting", [{"shrinkage": 0.0}, {"sweeps": 0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(Exception, match=next(iter(setting))):
        BiasModel(**setting)
