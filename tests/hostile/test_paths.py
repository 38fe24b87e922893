"""A run lies where its user says: whatever the name holds, it is written there and read again, or refused at once."""

import contextlib
import os
import sys

import pytest
from sqlalchemy import make_url

from hyvae import BiasModel, HyvaeError, Ratings, Recommender
from hyvae.cli import main
from hyvae.cli.serve import beside
from hyvae.errors import ConfigError, RunError
from hyvae.export import export_onnx
from hyvae.reports import write_report

NOT_UTF8 = os.fsdecode(b"run-\xff")


@pytest.fixture(scope="module")
def model():
    ratings = Ratings.from_arrays([1, 1, 2, 2, 3] * 4, [*range(20)], [1.0, 2.0, 3.0, 4.0, 5.0] * 4)
    return BiasModel().fit(ratings)


@pytest.mark.parametrize(
    "name", ["tr[1]", "a*b", "q?", "{x,y}", "a=1", "run 'x'", "día", "-", "~x", "%41", "a\\b", "#1"]
)
def test_any_name_is_a_name(model, tmp_path, name):
    model.save(tmp_path / name / name)
    assert Recommender.load(tmp_path / name / name).recommend(1) == model.recommend(1)


@pytest.mark.parametrize("name", ["q?", "a%20b", "tr[1]", "a#b"])
def test_the_service_keeps_ratings_beside_the_run(tmp_path, name):
    assert make_url(beside(tmp_path / name)).database == f"{tmp_path / name}-events.db"


def test_the_tilde_is_home(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model.save("~/run")
    assert Recommender.load("~/run").recommend(1) == model.recommend(1)
    write_report("~/run", "~/report.html")
    Recommender("mf", epochs=1).fit(model.history, checkpoint="~/run.checkpoint", checkpoint_every=0)
    for command in (
        ["train", "movielens-small", "--model", "bias", "--out", "~/trained"],
        ["recommend", "~/trained", "--all", "--out", "~/lists.csv"],
    ):
        monkeypatch.setattr(sys, "argv", ["hyvae", *command])
        with pytest.raises(SystemExit, match="0"):
            main()
    assert {"run", "report.html", "run.checkpoint", "trained", "lists.csv"} <= set(os.listdir())
    assert "~" not in os.listdir()


@pytest.mark.parametrize(
    ("name", "message"),
    [(NOT_UTF8, "is not UTF-8; rename it, or choose another"), ("a\0b", "has a NUL in it; choose another name")],
)
def test_a_name_that_no_file_can_hold_is_refused_at_once(model, tmp_path, monkeypatch, name, message):
    fitted = []
    monkeypatch.setattr(Recommender, "fit", lambda *_, **__: fitted.append(1))
    for ask in (
        lambda: model.save(tmp_path / name),
        lambda: Recommender.load(tmp_path / name),
        lambda: export_onnx(model, tmp_path / name),
        lambda: write_report(tmp_path / name, tmp_path / "x.html"),
    ):
        with pytest.raises(ConfigError, match=message):
            ask()
    assert not fitted
    assert not os.listdir(tmp_path)


LONG = "n" * 250


@pytest.mark.parametrize("place", ["file/run", LONG, "n" * 300], ids=["below a file", "long", "too long"])
def test_a_place_that_cannot_be_written_is_refused_before_the_training(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Recommender, "fit", None)
    monkeypatch.setattr(sys, "argv", ["hyvae", "train", "movielens-small", "--out", str(tmp_path / place)])
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert said.count("\n") == 1


def test_what_json_cannot_hold_leaves_no_run_behind(model, tmp_path):
    with pytest.raises(RunError, match="not JSON serializable; give text, numbers, lists and dicts alone"):
        model.save(tmp_path / "run", details={"x": object()})
    assert not (tmp_path / "run").exists()


def test_half_a_character_in_the_command_is_kept(model, tmp_path):
    model.save(tmp_path / "run", details={"command": ["hyvae", NOT_UTF8]})
    assert Recommender.load(tmp_path / "run").provenance["command"] == ["hyvae", NOT_UTF8]


def test_a_source_that_is_not_utf8_is_read_or_named(tmp_path):
    file = tmp_path / os.fsdecode(b"ratings-\xff.csv")
    file.write_text("user,item,rating\n1,1,2\n2,2,3\n")
    with contextlib.suppress(HyvaeError):
        assert len(Ratings.read(file)) == 2
