"""`compare`: real trainings on identical rows, none of them twice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hyvae import Ratings, Recommender
from hyvae.errors import ConfigError, DataError, TrainingError
from hyvae.evaluation import Comparison, Standing, cells, compare, default_cache, evaluate
from hyvae.evaluation.comparison import paired_difference
from hyvae.evaluation.contestants import contestants
from hyvae.models import REGISTRY

SMALL = {"hyvae": {"epochs": 2, "hidden": 8, "latent": 4, "deep_layers": 4, "samples": 0}}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Model and seed of each training from here on."""
    found: list[tuple[str, int]] = []
    fit = Recommender.fit

    def counted(self: Recommender, *parts: Any, **options: Any) -> Recommender:
        found.append((self.name, options["seed"]))
        return fit(self, *parts, **options)

    monkeypatch.setattr(Recommender, "fit", counted)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def result(small_ratings: Ratings, cache: Path) -> Comparison:
    return compare(small_ratings, ["bias", "hyvae"], 3, settings=SMALL, cache=cache)


# -- what comes out -------------------------------------------------------------------------------------


def test_it_is_what_one_finds_by_hand(result: Comparison, small_ratings: Ratings):
    found: dict[str, list[float]] = {"bias": [], "hyvae": []}
    for seed in range(3):
        train, valid, test = small_ratings.split(seed=seed)
        for name, errors in found.items():
            model = Recommender(name, **SMALL.get(name, {})).fit(train, valid, seed=seed, progress=False)
            errors.append(evaluate(model, test)["pooled"]["rmse"])
    lines = {line.model: line for line in result.summary.lines}
    for name, errors in found.items():
        assert lines[name].scores["rmse"] == tuple(errors)
        assert lines[name].means["rmse"].mean == pytest.approx(np.mean(errors))
    best, other = result.summary.lines
    assert best.means["rmse"].mean <= other.means["rmse"].mean
    assert result.summary.reference == best.model
    share = np.mean([len(part.test) / len(part.train) for part in map(small_ratings.split, ["random"] * 3)])
    assert result.test_share == pytest.approx(share)
    assert other.differences["rmse"] == paired_difference(found[other.model], found[best.model], result.test_share)


def test_it_says_what_it_is(result: Comparison, small_ratings: Ratings):
    assert (result.seeds, result.split, result.k, result.same_test, result.found) == (3, "random", 10, False, 0)
    assert result.provenance["data_fingerprint"] == small_ratings.fingerprint
    assert result.provenance["users"] == 58
    assert result.provenance["split"] == {"kind": "random", "seeds": "0 to 2"}
    assert {"threads", "device", "torch", "hyvae"} <= result.provenance["computed_with"].keys()
    assert "bias, hyvae; 3 seeds; best RMSE" in repr(result)


def test_the_table_has_a_row_a_model_and_metric(result: Comparison):
    table = result.table()
    assert table.shape == (14, 9)
    row = table.filter(pl.col("model") == "hyvae", pl.col("metric") == "mae").to_dicts()[0]
    mean = next(line for line in result.summary.lines if line.model == "hyvae").means["mae"]
    assert (row["mean"], row["low"], row["high"]) == mean[:3]


def test_for_a_program(result: Comparison):
    content = result.to_dict()
    assert (content["chief"], content["seeds"], content["k"]) == ("rmse", [0, 1, 2], 10)
    first = content["models"][0]
    assert first["model"] == content["reference"]
    assert first["means"]["rmse"].keys() == {"mean", "low", "high"}
    assert first["differences"]["rmse"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert [cell["seed"] for cell in first["cells"]] == [0, 1, 2]
    assert len({cell["job"] for model in content["models"] for cell in model["cells"]}) == 6


# -- the cache ------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_trained(result: Comparison, small_ratings: Ratings, cache: Path, fits: list):
    again = compare(small_ratings, ["bias", "hyvae"], 3, settings=SMALL, cache=cache)
    assert fits == []
    assert again.found == 6
    assert again.cells == result.cells
    assert again.summary == result.summary


def test_only_what_is_new_is_trained(result: Comparison, small_ratings: Ratings, cache: Path, fits: list):
    told: list[Standing] = []
    models = ["hyvae", "hyvae:paper", "bias"]
    settings = SMALL | {"hyvae:paper": {"epochs": 1}}
    compare(small_ratings, models, 4, settings=settings, cache=cache, reference="bias", on_cell=told.append)
    # the settings of hyvae are those of its paper preset too, save the epochs
    assert fits == [("hyvae", 0), ("hyvae", 1), ("hyvae", 2), ("hyvae", 3), ("hyvae", 3), ("bias", 3)]
    assert told[0] == Standing(0, 12, 0, "hyvae, seed 0")
    assert told[2] == Standing(2, 12, 1, "bias, seed 0")
    assert told[-1] == Standing(12, 12, 6)


def test_a_damaged_cell_is_trained_anew(small_ratings: Ratings, tmp_path: Path, fits: list):
    first = compare(small_ratings, ["bias"], 3, cache=tmp_path)
    next(iter(tmp_path.iterdir())).write_text("{")
    again = compare(small_ratings, ["bias"], 3, cache=tmp_path)
    assert (len(fits), again.found) == (4, 2)
    assert again.summary.lines[0].scores["rmse"] == first.summary.lines[0].scores["rmse"]
    assert compare(small_ratings, ["bias"], 3, cache=tmp_path).found == 3


def test_fresh_trains_all(small_ratings: Ratings, tmp_path: Path, fits: list):
    for fresh in (False, True):
        assert compare(small_ratings, ["bias"], 2, cache=tmp_path, fresh=fresh).found == 0
    assert len(fits) == 4


def test_a_stop_keeps_the_finished_cells(small_ratings: Ratings, tmp_path: Path, fits: list):
    def stop(standing: Standing) -> None:
        if standing.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(small_ratings, ["bias", "hyvae"], 2, settings=SMALL, cache=tmp_path, on_cell=stop)
    assert fits == [("bias", 0), ("hyvae", 0), ("bias", 1)]
    assert compare(small_ratings, ["bias", "hyvae"], 2, settings=SMALL, cache=tmp_path).found == 3
    assert fits[3:] == [("hyvae", 1)]


def test_the_usual_place_is_in_the_cache_of_hyvae(
    small_ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HYVAE_CACHE", str(tmp_path))
    compare(small_ratings, ["bias"], 1)
    assert default_cache().parent == tmp_path
    assert len(list(default_cache().iterdir())) == 1


# -- other splits, and models that only rank --------------------------------------------------------------


def test_by_user_answers_use_what_is_given(small_ratings: Ratings, tmp_path: Path):
    result = compare(small_ratings, ["bias"], 2, split="user", cache=tmp_path)
    # 58 users with ratings: 46 train, 6 and 6 held out
    assert result.test_share == pytest.approx(6 / 46)
    parts = small_ratings.split("user", seed=1)
    model = Recommender("bias").fit(parts.train, parts.valid, given=parts.given, seed=1, progress=False)
    assert result.cells["bias"][1].metrics == evaluate(model, parts.test)
    assert result.cells["bias"][1].metrics["fallbacks"] == evaluate(model, parts.test)["fallbacks"] < len(parts.test)


def test_one_test_part_for_all_seeds_is_noticed(small_ratings: Ratings, tmp_path: Path):
    parts = np.zeros(len(small_ratings), np.int8)
    parts[::10] = 2
    ratings = replace(small_ratings, parts=parts)
    result = compare(ratings, ["hyvae"], 2, settings=SMALL, split="given", cache=tmp_path)
    assert (result.same_test, result.test_share) == (True, 0.0)
    assert not compare(ratings, ["hyvae"], 1, settings=SMALL, split="given", cache=tmp_path).same_test


@pytest.fixture
def ranks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bias model as one that predicts no ratings."""

    def measured(recommender: Recommender, test: Ratings, *, k: int = 10) -> dict[str, Any]:
        found = evaluate(recommender, test, k=k)
        return found if recommender.name != "bias" else {"ratings": len(test), "ranking": found["ranking"]}

    monkeypatch.setattr(cells, "evaluate", measured)


@pytest.mark.usefixtures("ranks_only")
def test_a_model_that_only_ranks_is_compared_by_ndcg(small_ratings: Ratings, tmp_path: Path):
    result = compare(small_ratings, ["bias", "hyvae"], 2, settings=SMALL, cache=tmp_path)
    assert result.summary.chief.key == "ndcg"
    lines = {line.model: line for line in result.summary.lines}
    assert lines["bias"].means.keys() == {"ndcg", "recall", "seconds"}
    content = next(model for model in result.to_dict()["models"] if model["model"] == "bias")
    assert content["means"]["rmse"] is None
    assert content["cells"][0]["rmse"] is None


# -- names ----------------------------------------------------------------------------------------------


def test_names_presets_and_settings_find_their_model():
    found = contestants(["bias", " hyvae:default", "hyvae", "hyvae:paper"], {"hyvae": {"epochs": 2}})
    assert [contestant.label for contestant in found] == ["bias", "hyvae", "hyvae:paper"]
    assert [dict(contestant.settings) for contestant in found] == [{}, {"epochs": 2}, {"epochs": 2}]
    own = contestants("hyvae,hyvae:paper", {"hyvae": {"epochs": 2, "l2": 1}, "hyvae:paper": {"epochs": 3}})
    assert [contestant.settings["epochs"] for contestant in own] == [2, 3]
    assert [contestant.settings["l2"] for contestant in own] == [1, 1]
    only = contestants("hyvae,hyvae:paper", {"hyvae:default": {"epochs": 2}})
    assert [dict(contestant.settings) for contestant in only] == [{"epochs": 2}, {}]


def test_all_is_every_model_in_its_default_preset():
    assert [contestant.label for contestant in contestants(["all"])] == list(REGISTRY)
    assert len(contestants(["all", "bias", "hyvae:paper"])) == len(REGISTRY) + 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"models": ["svd"]}, "no model is called 'svd'"),
        ({"models": ["svd:x"]}, "no model is called 'svd'"),
        ({"models": [""]}, "at least one model"),
        ({"models": ["bias", "hyvae:best"]}, "no preset 'best'"),
        ({"models": ["bias"], "settings": {"bias": {"shrink": 1}}}, "did you mean 'shrinkage'"),
        ({"models": ["bias"], "settings": {"hyvae": {"epochs": 1}}}, "not among the compared models: bias"),
        ({"models": ["bias"], "reference": "hyvae"}, "not among the compared models: bias"),
        ({"models": ["bias"], "seeds": 0}, "1 or more seeds, got 0"),
        ({"models": ["bias"], "seeds": True}, "1 or more seeds"),
        ({"models": ["bias"], "split": "odd"}, "unknown kind of split"),
        ({"models": ["bias"], "device": "gpu"}, "device"),
    ],
)
def test_a_mistake_is_found_before_any_training(
    options: dict[str, Any], says: str, small_ratings: Ratings, tmp_path: Path, fits: list
):
    with pytest.raises(ConfigError, match=says):
        compare(small_ratings, cache=tmp_path, **{"seeds": 1, **options})
    assert fits == []


@pytest.mark.parametrize("kind", [ConfigError, DataError, TrainingError])
def test_a_failure_names_its_cell(
    kind: type[Exception], small_ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any, **__: Any) -> None:
        raise kind("the loss is not a number")

    monkeypatch.setattr(Recommender, "fit", fail)
    with pytest.raises(kind, match="bias, seed 0: the loss is not a number"):
        compare(small_ratings, ["bias"], 1, cache=tmp_path)
