"""The experiments as data: every training can be configured, in full and quick."""

import pytest

from hyvae import Recommender
from hyvae.paper import retelling
from hyvae.paper.experiments import BRANCHES, DATA, QUICK, SEEDS, TABLE_2, Plan, named, peer_errors, table_2, table_3

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
    quick, full = wanted(Plan(quick=True)), wanted(Plan())
    assert {training.seed for training in quick} == {0}
    assert {named(training.model, training.preset) for training in quick} == set(QUICK)
    epochs = {}
    for how, trainings in (("quick", quick), ("full", full)):
        for training in trainings:
            plan = Recommender(training.model, preset=training.preset, **training.settings).plan
            epochs.setdefault(how, {}).setdefault(training.model, []).append(plan.epochs)
    for model in set(epochs["quick"]) - {"random", "bias", "hyvae"}:
        assert max(epochs["quick"][model]) < max(epochs["full"][model])


def test_a_plan_of_some_data_wants_these_alone():
    assert {training.data for training in wanted(Plan(data=("douban",)))} == {"douban"}


@pytest.mark.parametrize("data", DATA)
def test_the_peer_is_known_on_every_split(data):
    errors = peer_errors(data, range(SEEDS[data]))
    assert [one["seed"] for one in errors] == list(range(SEEDS[data]))
    assert all(0.5 < one["mae"] < one["rmse"] < 1 for one in errors)


def test_a_peer_that_lacks_a_split_is_not_known():
    assert peer_errors("ml-1m", [0, 99]) is None
    assert peer_errors("netflix", [0]) is None
