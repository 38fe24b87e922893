"""Adding a model is one file and one line: a toy model is registered, and goes all the way."""

import numpy as np
import pytest
import torch
from contract import ModelContract
from pydantic import Field
from torch import nn

from hyvae.errors import ConfigError
from hyvae.metrics import rmse
from hyvae.models import REGISTRY
from hyvae.models.base import Config, Preset, RatingModel, TrainingPlan
from hyvae.nn.randomness import generator
from hyvae.nn.sparse import sampled_product, sparse_product
from hyvae.recommender import Recommender


class ToyConfig(Config):
    width: int = Field(3, gt=0)


class Toy(RatingModel):
    """A linear autoencoder of centred ratings: all that a model's file must hold."""

    name, title, citation = "toy", "Toy", "nobody (2026)"
    Config = ToyConfig
    presets = {"default": Preset(ToyConfig(), TrainingPlan(epochs=40, learning_rate=0.02, batch_users=None))}  # noqa: RUF012

    def __init__(self, config, n_users, n_items, scale):
        super().__init__(config, n_users, n_items, scale, config.width + 1)
        self.inputs = nn.Parameter(0.1 * torch.randn(n_items, config.width, generator=generator()))
        self.outputs = nn.Parameter(0.1 * torch.randn(n_items, config.width, generator=generator()))
        self.register_buffer("mean", torch.zeros(()))

    def prepare(self, train):
        self.mean.copy_(train.values.mean())

    def hidden(self, block):
        scaled = (block.values - self.mean) / (block.counts[block.pattern.row] + 1).sqrt()
        return sparse_product(scaled, self.inputs, block.pattern)

    def loss(self, block, shared, step, targets=None):
        on = block if targets is None else targets
        predictions = self.mean + sampled_product(self.hidden(block), self.outputs, on.pattern)
        return {"squares": (on.values - predictions).square().sum() / (step.n_targets or step.n_ratings)}

    def finish(self, train):
        with torch.no_grad():
            self.item_rows[:, :-1], self.item_rows[:, -1] = self.outputs, 1.0

    def encode(self, block):
        return torch.cat([self.hidden(block), self.mean.expand(len(block.counts), 1)], 1)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(REGISTRY, "toy", Toy)


class TestToy(ModelContract):
    """The contract holds for whoever fills in the hooks."""

    model = "toy"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _registered_for_the_class(cls):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(REGISTRY, "toy", Toy)
            yield


def test_a_new_model_goes_all_the_way(parts, tmp_path):
    train, validation = parts
    model = Recommender("toy", width=4).fit(train, validation, seed=1)
    error = rmse(model.predict_ratings(validation), validation.values)
    assert error < rmse(np.full(len(validation), train.values.mean()), validation.values)
    user = train.users.ids.tolist()[0]
    lines = model.recommend(user, 5)
    model.save(tmp_path / "run")
    loaded = Recommender.load(tmp_path / "run")
    assert loaded.recommend(user, 5) == lines
    np.testing.assert_array_equal(loaded.predict_ratings(validation), model.predict_ratings(validation))
    assert loaded.config.width == 4


def test_its_loss_part_is_reported(parts):
    assert set(Recommender("toy").fit(parts[0]).training.epochs[0].parts) == {"squares"}


def test_it_cannot_encode_new_items_and_says_so(small_ratings):
    model = Recommender("toy", epochs=1).fit(small_ratings)
    with pytest.raises(ConfigError, match="cannot encode new items"):
        model.with_items({7: {100: 4.0}})


@pytest.mark.parametrize("name", ["bias", "hyvae"])
def test_models_are_registered_by_their_name(name):
    assert REGISTRY[name].name == name
    assert "default" in REGISTRY[name].presets


def test_every_preset_is_valid():
    for model in REGISTRY.values():
        for config, plan in model.presets.values():
            assert model.Config.model_validate(config.model_dump()) == config
            assert TrainingPlan.model_validate(plan.model_dump()) == plan


def test_every_setting_is_described():
    for model in [*REGISTRY.values()]:
        if model is Toy:
            continue
        plain = ("optimiser", "learning_rate", "activation")  # their names say it all
        for config in (model.Config, TrainingPlan):
            for name, field in config.model_fields.items():
                assert field.description or name in plain, f"{model.name}: {name}"


def test_no_setting_is_both_the_models_and_the_plans():
    for model in REGISTRY.values():
        assert not set(model.Config.model_fields) & set(TrainingPlan.model_fields)


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"no model is called 'toi'; there are: .*bias.*hyvae"):
        Recommender("toi")
