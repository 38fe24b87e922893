"""Models see ratings in standard units: another unit of the ratings gives the same predictions, in that unit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hyvae import Ratings, Recommender
from hyvae.errors import ConfigError, TrainingWarning
from hyvae.models import REGISTRY
from hyvae.training import describe_job, job_hash
from hyvae.units import RAW, fitted_bias_model

# small, and a few steps each; every model that predicts ratings
MODELS = {
    "random": {},
    "random:normal": {"draw": "normal"},
    "bias": {},
    "mf": {"latent": 4, "epochs": 4},
    "autorec": {"width": 8, "epochs": 4},
    "autorec:user": {"width": 8, "epochs": 4},
    "autorec:uncentred": {"width": 8, "epochs": 4, "center": "none"},
    "deep_ae": {"hidden": (8,), "latent": 8, "epochs": 3},
    "mult_dae": {"latent": 8, "epochs": 4},
    "mult_vae": {"hidden": (8,), "latent": 4, "epochs": 4},
    "rec_vae": {"hidden": 8, "latent": 4, "layers": 2, "epochs": 2},
    "macrid_vae": {"latent": 4, "concepts": 2, "epochs": 3},
    "cdae": {"width": 8, "epochs": 4},
    "cdae:clipped": {"width": 8, "epochs": 4, "gradient_clip": 0.01, "center": "global"},
    "hyvae": {"hidden": 8, "latent": 4, "deep_layers": (4,), "epochs": 6, "validate_every": 2, "samples": 8}
    | {"sample_width": 4, "chains": 2, "sweeps": 8},
    "hyvae:fast": {"hidden": 8, "latent": 4, "deep_layers": (4,), "epochs": 6, "validate_every": 2},
    "hyvae:ordinal": {"hidden": 8, "latent": 4, "deep_layers": (4,), "epochs": 6, "samples": 0}
    | {"likelihood": "ordinal", "levels": 5},
    "hyvae:paper": {"hidden": 8, "latent": 8, "deep_layers": (8,), "decoder": 8, "epochs": 4, "units": "standard"},
}
# predictions may differ by so much of the ratings' standard deviation
TOLERANCE = 1e-3
# factor, and shift in standard deviations
UNITS = [(1e-3, 0.0), (1.0, 100.0), (1000.0, -50.0), (1e6, 100.0)]


def make(name: str, **more):
    model, _, preset = name.partition(":")
    known = preset if preset in REGISTRY[model].presets else "default"
    return Recommender(model, preset=known, **{**MODELS[name], **more})


def restated(ratings: Ratings, factor: float, offset: float) -> Ratings:
    """Ratings × factor + offset."""

    def of(values):
        return np.asarray(values, np.float64) * factor + offset

    low, high = of(ratings.scale).astype(np.float32).tolist()
    return replace(ratings, values=of(ratings.values).astype(np.float32), scale=(low, high))


@pytest.fixture(scope="module")
def fitted(parts):
    made = {}

    def of(name):
        if name not in made:
            made[name] = make(name).fit(*parts, seed=3)
        return made[name]

    return of


def test_every_model_that_predicts_ratings_is_here():
    assert {name.partition(":")[0] for name in MODELS} == set(REGISTRY)


@pytest.mark.filterwarnings("ignore::hyvae.errors.TrainingWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("factor", "shift"), UNITS)
def test_ratings_in_another_unit_give_the_same_predictions_in_it(fitted, parts, name, factor, shift):
    plain = fitted(name)
    deviation = factor * float(parts[0].values.std())
    offset = shift * deviation
    train, validation = (restated(part, factor, offset) for part in parts)
    other = make(name).fit(train, validation, seed=3)

    def near(found, wanted, share=TOLERANCE):
        np.testing.assert_allclose((found - offset) / deviation, wanted * factor / deviation, atol=share)

    near(other.predict_ratings(validation), plain.predict_ratings(parts[1]))
    near(other.predict([-1, -1], [100, -1]), plain.predict([-1, -1], [100, -1]))
    user = parts[0].users.ids.tolist()[4]
    lists = [{line.item: line.score for line in model.recommend(user, 80)} for model in (plain, other)]
    near(np.array([lists[1][item] for item in lists[0]]), np.array(list(lists[0].values())))
    if name.startswith("random"):  # what moves a draw is its hash
        return
    items, values = parts[0].history(4)
    given = dict(zip(parts[0].items.ids[items].tolist(), values.tolist(), strict=True))
    same = dict(zip(given, train.history(4)[1].tolist(), strict=True))
    near(other.fold_in(same).predict([100, 103]), plain.fold_in(given).predict([100, 103]))
    unseen = validation.items.ids[validation.indices[0]]
    effects = [{reason.item: reason.effect for reason in model.explain(user, unseen)} for model in (plain, other)]
    for item in set(effects[0]) & set(effects[1]):
        assert effects[1][item] / deviation == pytest.approx(effects[0][item] * factor / deviation, abs=TOLERANCE)
    reason = other.explain(user, unseen, 1)[0]
    assert reason.rating == pytest.approx(same[reason.item])


@pytest.mark.filterwarnings("ignore::hyvae.errors.TrainingWarning")
@pytest.mark.parametrize(("factor", "shift"), [(1e-3, 0.0), (1e6, 100.0)])
def test_how_sure_it_is_does_not_depend_on_the_unit_either(fitted, parts, factor, shift):
    deviation = float(parts[0].values.std())
    train, validation = (restated(part, factor, shift * factor * deviation) for part in parts)
    other = make("hyvae").fit(train, validation, seed=3)
    asked = parts[1].user_ids[:30], parts[1].item_ids[:30]
    found, wanted = other.predict_table(*asked), fitted("hyvae").predict_table(*asked)
    np.testing.assert_allclose(found["sd"] / factor, wanted["sd"], rtol=2e-3)
    for end in ("interval_low", "interval_high"):
        np.testing.assert_allclose(
            found[end].to_numpy() / factor - shift * deviation, wanted[end].to_numpy(), atol=5e-3 * deviation
        )


@pytest.mark.parametrize("model", ["hyvae", "mf"])
def test_it_is_saved_updated_and_extended_in_its_unit(parts, model, tmp_path):
    settings = {"hyvae": MODELS["hyvae:fast"], "mf": MODELS["mf"]}[model] | {"epochs": 10}
    train, validation = (restated(part, 1000.0, -5000.0) for part in parts)
    first = Recommender(model, **({"preset": "fast"} if model == "hyvae" else {}), **settings).fit(train, validation)
    first.save(tmp_path / "run")
    loaded = Recommender.load(tmp_path / "run")
    assert loaded.model.scale == pytest.approx(first.model.scale)
    np.testing.assert_array_equal(loaded.predict_ratings(validation), first.predict_ratings(validation))
    updated = loaded.update(train.take(np.arange(len(train)) % 2 == 0), validation, seed=1)
    assert torch.equal(updated.model.unit, first.model.unit)
    assert torch.equal(updated.floor.unit, first.model.unit)
    errors = [np.sqrt(np.mean((m.predict_ratings(validation) - validation.values) ** 2)) for m in (updated, first)]
    assert errors[0] < 1.2 * errors[1]
    with pytest.raises(ConfigError, match="units cannot change"):
        loaded.to_update(units="raw")
    more = Ratings.from_arrays([999] * 3, train.items.ids[:3], [-1000.0, -2000.0, -4000.0], scale=train.scale)
    folded = loaded.fold_in(dict(zip(more.item_ids.tolist(), more.values.tolist(), strict=True)))
    np.testing.assert_allclose(
        loaded.with_ratings(more).predict([999] * 2, [190, 205]), folded.predict([190, 205]), rtol=1e-4
    )


def test_raw_units_and_models_that_rank_see_ratings_as_they_are(parts):
    for model, settings in (
        ("hyvae", {**MODELS["hyvae:fast"], "preset": "fast", "units": "raw"}),
        ("mult_vae", {**MODELS["mult_vae"], "preset": "ranking"}),
    ):
        fitted = Recommender(model, **settings).fit(parts[0])
        assert fitted.model.is_raw
        assert torch.equal(fitted.floor.unit, RAW)


def test_the_unit_is_the_mean_and_what_the_bias_model_leaves(parts):
    floor = fitted_bias_model(parts[0], "cpu")
    location, deviation = floor.unit.tolist()
    raw = fitted_bias_model(parts[0], "cpu", RAW)
    residuals = parts[0].values - Recommender("bias").fit(parts[0]).predict_baseline(parts[0])
    assert location == pytest.approx(float(parts[0].values.mean(dtype=np.float64)))
    assert deviation == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=0.01)  # those are clipped
    for name in ("user_bias", "item_bias"):
        torch.testing.assert_close(getattr(floor, name) * deviation, getattr(raw, name), rtol=1e-4, atol=2e-4)


def test_ratings_that_effects_explain_altogether_still_have_a_unit():
    users, items = np.divmod(np.arange(30), 6)
    exact = Ratings.from_arrays(users, items, 1.0 * users)
    assert 0 < float(fitted_bias_model(exact, "cpu").unit[1]) < 1
    model = make("hyvae:fast").fit(exact)
    np.testing.assert_allclose(model.predict(users, items), exact.values, atol=0.1)


def test_a_model_that_is_no_better_than_the_bias_model_says_so(parts):
    said = r"Mult-DAE is no better than the bias model: RMSE .* train it for more"
    with pytest.warns(TrainingWarning, match=said) as caught:
        Recommender("mult_dae", epochs=1, learning_rate=1.0).fit(*parts)
    assert caught[0].filename == __file__


def test_the_job_of_a_training_in_raw_units_is_as_it_was_before_there_were_others(parts):
    model = Recommender("bias", units="raw")
    job = describe_job("bias", model.config, model.plan, seed=0, train=parts[0])
    assert "setting units" not in job
    assert job_hash(job) != Recommender("bias").job(parts[0])
