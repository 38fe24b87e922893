"""Forked processes answer on one thread, or say at once why they cannot."""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from hyvae import forks
from hyvae.errors import ForkError

# a process of its own: what has run in this one decides what a fork of it lacks
PARENT = dedent("""
    import json, multiprocessing, sys
    import numpy as np
    from hyvae import HyVAE, HyvaeError, Ratings

    draw = np.random.default_rng(0)
    users, items = np.nonzero(draw.random((60, 80)) < 0.3)
    ratings = Ratings.from_arrays(users, items, draw.integers(1, 6, len(users)).astype(float))
    SETTINGS = dict(epochs=2, samples=4, sweeps=4, patience=None)

    def trained(ratings):
        return HyVAE(**SETTINGS).fit(ratings, seed=1, progress=False)

    def shuffled(n):
        order = draw.permutation(len(users))[:n]
        return Ratings.from_arrays(users[order], items[order], np.ones(n))

    def answers(_):
        new = {70: 5.0, 3: 1.0, 40: 4.0}  # not in the order of ids
        more = Ratings.from_arrays([9, 1], [4, 2], [1.0, 5.0])
        lists = [MODEL.recommend(new, n=3), MODEL.recommend(7), MODEL.with_ratings(more).recommend(9)]
        lists.append(trained(ratings).recommend(7, n=3))
        return {
            "items": [[line.item for line in each] for each in lists],
            "scores": [line.score for each in lists for line in each],
            "predictions": [*MODEL.predict([1, 2], [3, 4]), *MODEL.predict_table([1, 2], [3, 4])["prediction"]],
            "effects": [reason.effect for reason in MODEL.explain(new, 9, n=2)],
            "rows": [len(MODEL.recommend_table(n=2)), len(shuffled(500))],
        }

    def told(call):
        try:
            return str(call())
        except HyvaeError as error:
            return f"{type(error).__name__}: {error}"

    def needs_polars(path):
        return [
            told(lambda: HyVAE.load(path)),
            told(lambda: Ratings.read("movielens-small")),
            told(lambda: Ratings.from_table({"user": [1], "item": [2], "rating": [3.0]})),
            told(lambda: MODEL.save(path)),
        ]

    MODEL = trained(ratings)
    if __name__ == "__main__":
        MODEL.save(sys.argv[1])
        MODEL = HyVAE.load(sys.argv[1])
        expected = answers(None)
        Ratings.read("movielens-small")  # starts Polars' threads
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(answers, [None, None]).get(60)
            refused = pool.map_async(needs_polars, [sys.argv[1]]).get(20)
        print(json.dumps([expected, *found, refused[0]], default=float))
""")


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("threads", [None, "1"], ids=["default threads", "one thread"])
def test_a_forked_pool_answers_as_its_parent(tmp_path, threads):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": threads}
    command = [sys.executable, "-W", "ignore", str(tmp_path / "parent.py"), str(tmp_path / "run")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert ended.returncode == 0, ended.stderr
    expected, *found, refused = json.loads(ended.stdout)
    for answers in found:
        assert answers["items"] == expected["items"]
        for key in ("scores", "predictions", "effects", "rows"):
            assert answers[key] == pytest.approx(expected[key], abs=1e-4)
    for answer, what in zip(refused, ("loading a run", "reading ratings", "taking", "saving a run"), strict=True):
        assert answer.startswith(f"ForkError: {what}")
        assert "get_context('spawn')" in answer


class TestWhatIsLost:
    def test_nothing_without_a_fork(self):
        assert forks.polars_works()
        forks.require_polars("reading")

    @pytest.mark.parametrize(
        ("names", "lost"), [(["python"], False), (["python", "polars-ooc-clea"], False), (["python", "polars-0"], True)]
    )
    def test_polars_where_it_had_threads(self, tmp_path, monkeypatch, names, lost):
        for number, name in enumerate(names):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "comm").write_text(f"{name}\n")
        self.fork(monkeypatch, tmp_path)
        assert forks.polars_works() != lost
        if lost:
            with pytest.raises(ForkError, match=r"^reading needs Polars"):
                forks.require_polars("reading")

    def test_a_fork_of_a_fork_has_lost_it_too(self, tmp_path, monkeypatch):
        monkeypatch.setattr(forks._Lost, "polars", True)
        self.fork(monkeypatch, tmp_path)
        assert not forks.polars_works()

    def test_where_threads_have_no_names_polars_counts_as_lost(self, tmp_path, monkeypatch):
        self.fork(monkeypatch, tmp_path / "none")
        assert not forks.polars_works()

    @staticmethod
    def fork(monkeypatch, tasks):
        monkeypatch.setattr(forks, "_TASKS", tasks)
        monkeypatch.setattr(forks._Lost, "polars", forks._Lost.polars)
        monkeypatch.setattr(forks._Lost, "at_the_fork", False)
        monkeypatch.setitem(sys.modules, "torch", None)  # of this process, which goes on with its threads
        forks._before()
        forks._in_child()
