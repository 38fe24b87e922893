"""Trainings and answers of several threads at once are those of one after the other."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hyvae import HyVAE, Ratings
from hyvae.evaluation.posterior import diagnose

SETTINGS = {"epochs": 4, "samples": 4, "sweeps": 6, "patience": None}
# not in the order of ids
SOMEONE = {130: 5.0, 103: 1.0, 160: 4.0}


@pytest.fixture(scope="module")
def run(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads") / "run"
    HyVAE(**SETTINGS).fit(*parts, seed=1, progress=False).save(folder)
    return folder


def numbers(lines):
    return [(line.item, line.score, line.sd) for line in lines]


def questions(model, held_out):
    """Each answered anew whenever it is asked."""
    new = Ratings.from_arrays([103, 100], [100, 1000], [2.0, 5.0], scale=(1, 5))
    asked = [
        lambda: numbers(model.recommend(SOMEONE, n=5)),
        lambda: numbers(model.recommend(112, n=5)),
        lambda: model.predict([100, 103, 106], [100, 103, 106]).tolist(),
        lambda: model.predict_table([100, 103], [100, 103]).rows(),
        lambda: numbers(model.fold_in(SOMEONE).recommend(n=3)),
        lambda: [(reason.item, reason.effect) for reason in model.explain(SOMEONE, 109)],
        lambda: numbers(model.with_ratings(new).recommend(103, n=5)),
        lambda: model.recommend_table(n=2).rows(),
    ]
    # of the network alone, which must not silence the draws of what others ask meanwhile
    return [*asked, lambda: diagnose(model, held_out)["rmse"]]


def test_answers_are_the_same(run, parts):
    expected = [ask() for ask in questions(HyVAE.load(run), parts[1])]
    asked = questions(HyVAE.load(run), parts[1])  # of which nothing is computed yet
    order = np.random.default_rng(0).permutation(np.arange(len(asked)).repeat(4)).tolist()
    with ThreadPoolExecutor(5) as threads:
        training = threads.submit(lambda: HyVAE(**SETTINGS).fit(*parts, seed=1, progress=False))
        for place, answer in zip(order, threads.map(lambda place: asked[place](), order), strict=True):
            assert answer == expected[place], place
        beside = training.result()
    for name, tensor in HyVAE.load(run).model.answering_state().items():
        assert torch.equal(beside.model.state_dict()[name], tensor), name


def test_the_network_alone_is_of_the_thread_that_asked_for_it(run):
    model = HyVAE.load(run)
    whole = numbers(model.recommend(SOMEONE))
    with ThreadPoolExecutor(1) as threads, model.model.network_alone():
        assert numbers(model.recommend(SOMEONE)) != whole
        assert threads.submit(lambda: numbers(model.recommend(SOMEONE))).result() == whole
    assert numbers(model.recommend(SOMEONE)) == whole
