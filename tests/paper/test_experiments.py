"""The experiments as data: every training can be configured, in full and quick, and tells itself apart."""

from dataclasses import replace

import pytest

from hyvae import Recommender
from hyvae.models import REGISTRY
from hyvae.paper import retelling
from hyvae.paper.experiments import BRANCHES, DATA, QUICK, SEEDS, TABLE_2, Plan, peer_errors, table_2, table_3, tuned

plans = pytest.mark.parametrize("plan", [Plan(), Plan(quick=True)], ids=["full", "quick"])


def wanted(plan):
    return [training for chapter in retelling.PARTS.values() for training in chapter.wanted(plan)]


@plans
def test_every_training_can_be_configured(plan):
    for training in wanted(plan):
        Recommender(training.model, preset=training.preset, **training.settings)


def test_each_row_of_table_two_has_the_seeds_of_its_data():
    trainings = {(row.key, data): seeds for row, data, seeds in table_2(Plan())}
    assert len(trainings) == len(TABLE_2) * len(DATA)
    for (_, data), seeds in trainings.items():
        assert [training.seed for training in seeds] == list(range(SEEDS[data]))


def test_the_whole_of_table_three_is_a_row_of_table_two():
    two = {data: trainings for row, data, trainings in table_2(Plan()) if row.key == "tuned"}
    three = {data: trainings for branches, data, trainings in table_3(Plan(), "tuned") if branches == "both"}
    assert three == two
    assert {branches for branches, _, _ in table_3(Plan(), "tuned")} == set(BRANCHES)


def test_quick_is_one_seed_of_smaller_models():
    quick = wanted(Plan(quick=True))
    assert {training.seed for training in quick} == {0}
    assert set(QUICK) >= {training.model for training in quick}
    assert len(quick) < len(wanted(Plan())) / 3


def test_a_plan_of_some_data_wants_these_alone():
    assert {training.data for training in wanted(Plan(data=("douban",)))} == {"douban"}


@pytest.mark.parametrize("data", DATA)
def test_searched_settings_are_there_for_all_data(data):
    for row in TABLE_2:
        if row.tuned:
            name = row.model if row.preset == "default" else f"{row.model}:{row.preset}"
            assert row.model in REGISTRY
            assert tuned(name, data) is not None


@pytest.mark.parametrize("data", DATA)
def test_the_peer_is_known_on_every_split(data):
    errors = peer_errors(data)
    assert len(errors) == SEEDS[data]
    assert all(0.5 < one["mae"] < one["rmse"] < 1 for one in errors)


def test_trainings_of_other_settings_have_other_names():
    first = wanted(Plan())[0]
    assert repr(first) != repr(replace(first, settings={"epochs": 1}))
