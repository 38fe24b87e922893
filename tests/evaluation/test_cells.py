"""Cells: what their keys tell apart, and that a damaged file counts as none."""

import json
from pathlib import Path
from typing import Any

import pytest

from hyvae import Ratings, Recommender, files
from hyvae.errors import DataError
from hyvae.evaluation import evaluate
from hyvae.evaluation.cells import Cell, CellCache, cell_key, compute_cell
from hyvae.files import written_whole

SMALL = {"epochs": 2, "hidden": 8, "latent": 4, "deep_layers": 4, "samples": 2, "sample_width": 3, "sweeps": 4}
KEY = "0" * 64
CELL = Cell(
    metrics={"pooled": {"rmse": 0.9, "mae": 0.7}, "ranking": {"k": 10, "users": 0}},
    training_seconds=1.5,
    evaluation_seconds=0.25,
    best_epoch=3,
    job="abc",
    circumstances={"threads": 2, "versions": {"torch": "2"}},
)


def test_a_cell_is_what_evaluate_says(small_ratings: Ratings):
    parts = small_ratings.split(seed=0)
    cell = compute_cell(Recommender("hyvae", **SMALL), parts, 0, 5)
    again = Recommender("hyvae", **SMALL).fit(parts.train, parts.valid, seed=0, progress=False)
    assert cell.metrics == evaluate(again, parts.test, k=5)
    assert cell.best_epoch == again.training.best_epoch in (1, 2)
    assert cell.training_seconds > 0 < cell.evaluation_seconds
    assert cell.job == again.provenance["job"]
    assert cell.circumstances["versions"]["hyvae"]
    scores = cell.scores
    assert scores["user_rmse"] == cell.metrics["user_mean"]["rmse"]
    assert scores["ndcg"] == cell.metrics["ranking"]["ndcg"]
    assert scores["seconds"] == cell.training_seconds


def test_what_a_model_lacks_has_no_score():
    assert CELL.scores == {"seconds": 1.5, "rmse": 0.9, "mae": 0.7}


def test_the_key_tells_apart_what_changes_the_metrics(small_ratings: Ratings):
    def key(seed: int = 0, split_seed: int = 0, k: int = 10, split: str = "random", **settings: Any) -> str:
        recommender = Recommender("hyvae", **SMALL | settings)
        return cell_key(recommender, small_ratings.split(split, seed=split_seed), seed, k)

    keys = [key(), key(seed=1), key(split_seed=1), key(k=5), key(epochs=3), key(hidden=9), key(split="user")]
    assert len(set(keys)) == len(keys)
    assert key() == key()


def test_a_version_of_its_own(small_ratings: Ratings, monkeypatch: pytest.MonkeyPatch):
    parts, recommender = small_ratings.split(seed=0), Recommender("bias")
    before = cell_key(recommender, parts, 0, 10)
    monkeypatch.setattr("hyvae.evaluation.cells.version", lambda package: "9.9.9")
    assert cell_key(recommender, parts, 0, 10) != before


def test_a_cell_is_read_as_it_was_written(tmp_path: Path):
    cache = CellCache(tmp_path / "a" / "b")
    assert cache.read(KEY) is None
    cache.write(KEY, CELL)
    assert cache.read(KEY) == CELL
    assert [file.name for file in cache.folder.iterdir()] == [f"{KEY}.json"]


def _other_field(content: dict[str, Any]) -> None:
    content["cell"]["metrics"]["pooled"]["rmse"] = 0.8


def _other_key(content: dict[str, Any]) -> None:
    content["key"] = "1" * 64


def _no_cell(content: dict[str, Any]) -> None:
    del content["cell"]


@pytest.mark.parametrize("damage", [_other_field, _other_key, _no_cell])
def test_a_changed_file_counts_as_none(damage: Any, tmp_path: Path):
    cache, file = CellCache(tmp_path), tmp_path / f"{KEY}.json"
    cache.write(KEY, CELL)
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    assert cache.read(KEY) is None


def test_no_part_of_a_file_counts(tmp_path: Path):
    cache, file = CellCache(tmp_path), tmp_path / f"{KEY}.json"
    cache.write(KEY, CELL)
    whole = file.read_bytes()
    for end in range(0, len(whole) - 2, 7):
        file.write_bytes(whole[:end])
        assert cache.read(KEY) is None
    for garbage in (b"\xff\xfe", b"[]", b"null", b'{"key": 1}'):
        file.write_bytes(garbage)
        assert cache.read(KEY) is None


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file cannot be written"):
        CellCache(tmp_path / "file")
    cache = CellCache(tmp_path / "cells")
    (tmp_path / "cells").rmdir()
    with pytest.raises(DataError, match="cannot be written"):
        cache.write(KEY, CELL)


@pytest.mark.skipif(files.fcntl is None, reason="no locks on this system")
def test_a_cell_that_another_comparison_is_writing_is_left_to_it(tmp_path: Path):
    cache = CellCache(tmp_path)
    with written_whole(tmp_path / f"{KEY}.json") as part:
        part.write_text("theirs")
        cache.write(KEY, CELL)
    assert (tmp_path / f"{KEY}.json").read_text() == "theirs"
