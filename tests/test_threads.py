"""Trainings and answers of several threads at once are those of one after the other."""

import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
import torch
from scipy import sparse

from hyvae import HyVAE, Ratings
from hyvae.evaluation.posterior import diagnose
from hyvae.reports import figures

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


@pytest.mark.parametrize("what", ["drawing", "reading"])
def test_what_changes_settings_of_the_process_is_done_one_at_a_time(tmp_path, monkeypatch, what):
    inside, most, load_npz = [], [], sparse.load_npz

    def slow(*_):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()

    monkeypatch.setattr(sparse, "load_npz", lambda file: (slow(), load_npz(file))[1])
    sparse.save_npz(tmp_path / "matrix.npz", sparse.coo_array(np.eye(30)))
    call = {"drawing": figures._drawn(slow), "reading": lambda: Ratings.read(tmp_path / "matrix.npz")}[what]
    before = dict(matplotlib.rcParams), list(warnings.filters)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: call(), range(6)))
    assert max(most) == 1
    assert (dict(matplotlib.rcParams), list(warnings.filters)) == before
