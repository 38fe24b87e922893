"""The quick quality bar: the bundled films, a part of the training, clearly better than no taste at all."""

from hyvae import HyVAE, Ratings
from hyvae.evaluation import evaluate


def test_fast_preset_beats_the_bias_model_on_the_bundled_films():
    split = Ratings.read("movielens-small").split(seed=0)
    metrics = evaluate(
        HyVAE(preset="fast", epochs=60).fit(split.train, split.valid, seed=0, progress=False), split.test
    )
    # 60 of 140 epochs reach about 0.83, the bias model is at 0.866; training noise is about 0.002
    assert metrics["pooled"]["rmse"] < metrics["bias"]["pooled"]["rmse"] - 0.02
    assert metrics["user_mean"]["rmse"] < metrics["bias"]["user_mean"]["rmse"] - 0.02
