"""hyvae paper and hyvae diagnose, as a user types them."""

import json
from pathlib import Path

import pytest
from command import hyvae

from hyvae import HyVAE, Ratings, Recommender

QUICK = {"epochs": 2, "hidden": 8, "latent": 3, "deep_layers": (4,), "samples": 0}


class TestPaper:
    def test_a_table_that_needs_no_training(self, data_folder: Path, tmp_path: Path):
        done = hyvae("paper", "table1", "--data", "flixster,douban", "--out", tmp_path / "out")
        assert str(tmp_path / "out" / "report.html") in done.said.replace(" ", "")
        assert "Douban" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["table4"], "the paper has no 'table4'; there are: table1"),
            (["all", "--data", "netflix"], "the paper has no 'netflix'; there are: ml-1m"),
            (["all", "--data", ","], "--data takes some of ml-1m"),
        ],
    )
    def test_a_mistake_gives_one_line_and_writes_nothing(self, arguments, says, tmp_path: Path):
        done = hyvae("paper", *arguments, "--out", tmp_path / "out", code=1)
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()

    def test_a_place_that_cannot_be_written_is_told_first(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        done = hyvae("paper", "table1", "--out", tmp_path / "file" / "out", code=1)
        assert "cannot be written" in done.stderr


class TestDiagnose:
    def test_of_a_run(self, parts: tuple[Ratings, Ratings], tmp_path: Path):
        train, test = parts
        HyVAE(**QUICK).fit(train, progress=False).save(tmp_path / "run", held_out={"test": test})
        found = json.loads(hyvae("diagnose", tmp_path / "run", "--json").stdout)
        assert len(found["kl_per_unit"]) == found["units"] == 3
        said = hyvae("diagnose", tmp_path / "run").said
        assert "active units" in said
        assert f"{found['rmse']['all']:.4f}" in said

    def test_without_a_test_part_there_are_no_errors(self, small_ratings: Ratings, tmp_path: Path):
        HyVAE(**QUICK).fit(small_ratings, progress=False).save(tmp_path / "run")
        assert "No test part" in hyvae("diagnose", tmp_path / "run").said

    def test_of_what_has_no_posterior(self, small_ratings: Ratings, tmp_path: Path):
        Recommender("bias").fit(small_ratings).save(tmp_path / "run")
        assert "no posterior" in hyvae("diagnose", tmp_path / "run", code=1).stderr

    def test_of_a_run_without_ratings(self, small_ratings: Ratings, tmp_path: Path):
        HyVAE(**QUICK).fit(small_ratings, progress=False).save(tmp_path / "run", history=False)
        assert "keeps no ratings" in hyvae("diagnose", tmp_path / "run", code=1).stderr
