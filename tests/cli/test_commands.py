"""The command line as a user meets it: output, exit codes, one line on a mistake."""

import gzip
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command import hyvae

from hyvae.cli.app import app
from hyvae.cli.lists import print_recommendations
from hyvae.recommender import Recommendation, Recommender

EPOCHS = ("--set", "epochs=4", "--set", "hidden=8", "--set", "latent=4", "--set", "deep_layers=4", "--set", "samples=0")


def test_the_installed_command_is_a_real_process_with_an_exit_code(tmp_path: Path):
    command = Path(sys.executable).with_name("hyvae")
    run = partial(subprocess.run, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert run([command, "data", "list"]).returncode == 0
    refused = run([command, "evaluate", "nowhere"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "error: nowhere is not a folder; give the run folder that 'hyvae train … --out' wrote\n"


@pytest.fixture(scope="module")
def ratings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 30, 500, replace=False)
    file = tmp_path_factory.mktemp("data") / "ratings.csv"
    pl.DataFrame(
        {
            "who": [f"00{u}" for u in pairs // 30],
            "what": pairs % 30,
            "stars": rng.integers(1, 6, len(pairs)),
        }
    ).write_csv(file)
    return file


@pytest.fixture(scope="module")
def run_folder(ratings_file: Path) -> Path:
    out = ratings_file.parent / "run"
    columns = ("--user-column", "who", "--item-column", "what", "--rating-column", "stars")
    done = hyvae("train", ratings_file, "--out", out, *columns, *EPOCHS, "--scale", "1,5", "--threads", 1, "--json")
    content = json.loads(done.stdout)
    assert content["run"] == str(out)
    assert content["metrics"]["pooled"]["rmse"] > 0
    return out


def test_lists_hold_no_rating_of_the_source(run_folder: Path, ratings_file: Path, tmp_path: Path):
    hyvae("recommend", run_folder, "--all", "-n", 30, "--out", tmp_path / "lists.parquet")
    lists, source = pl.read_parquet(tmp_path / "lists.parquet"), pl.read_csv(ratings_file)
    rated = {(f"00{who}", what) for who, what, _ in source.rows()}
    assert len(lists) > 0
    assert not {(user, item) for user, _, item, _ in lists.rows()} & rated


def test_evaluate_repeats_what_training_measured(run_folder: Path, ratings_file: Path):
    trained = json.loads((run_folder / "metrics.json").read_text())
    assert json.loads(hyvae("evaluate", run_folder, "--json").stdout)["pooled"] == pytest.approx(trained["pooled"])
    columns = ("--user-column", "who", "--item-column", "what", "--rating-column", "stars")
    again = json.loads(hyvae("evaluate", run_folder, ratings_file, *columns, "--json").stdout)
    assert again["ratings"] == trained["ratings"]
    assert again["pooled"] == pytest.approx(trained["pooled"])
    said = hyvae("evaluate", run_folder).stdout
    assert "bias model" in said
    assert "log-likelihood" in said


def test_predict_writes_a_line_a_pair_in_order_and_names_fallbacks(run_folder: Path, tmp_path: Path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("user,item\n001,3\nnobody,3\n001,999\n001,3\n")
    hyvae("predict", run_folder, pairs, "--out", tmp_path / "out.csv")
    out = pl.read_csv(tmp_path / "out.csv", schema_overrides={"user": pl.String})
    assert out["user"].to_list() == ["001", "nobody", "001", "001"]
    assert out["fallback"].to_list() == ["", "user", "item", ""]
    assert out["prediction"].is_between(1, 5).all()
    assert (out["interval_low"] <= out["prediction"]).all()
    assert (out["interval_high"] >= out["prediction"]).all()
    assert out["prediction"][0] == out["prediction"][3]


def test_predict_reads_what_train_reads(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bare.txt").write_text("001|3\n002|4\n")
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b'{"u": "001", "i": 3}\n{"u": "002", "i": 4}\n'))
    named = ("--user-column", "u", "--item-column", "i")
    with (tmp_path / "bare.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        for name, options in (("bare.txt", ("--separator", "|")), ("p.jsonl.gz", named), ("-", ())):
            pairs = name if name == "-" else tmp_path / name
            hyvae("predict", run_folder, pairs, *options, "--out", tmp_path / "out.csv")
            out = pl.read_csv(tmp_path / "out.csv", schema_overrides={"user": pl.String})
            assert out.select("user", "item").rows() == [("001", 3), ("002", 4)]


def test_predict_with_another_coverage_gives_other_intervals(run_folder: Path, tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("user,item\n001,3\n")
    width = []
    for coverage in ("0.5", "0.95"):
        hyvae("predict", run_folder, tmp_path / "pairs.csv", "--out", tmp_path / "out.csv", "--coverage", coverage)
        out = pl.read_csv(tmp_path / "out.csv")
        assert out["sd"][0] > 0
        width.append(out["interval_high"][0] - out["interval_low"][0])
    assert width[0] < width[1]
    (tmp_path / "out.csv").unlink()
    refused = hyvae(
        "predict", run_folder, tmp_path / "pairs.csv", "--out", tmp_path / "out.csv", "--coverage", 90, code=1
    )
    assert "above 0 and below 1" in refused.stderr
    assert not (tmp_path / "out.csv").exists()


def test_explain_to_a_user_and_to_someone_new(run_folder: Path):
    reasons = json.loads(hyvae("explain", run_folder, "3", "--user", "001", "-n", 2, "--json").stdout)
    assert len(reasons) == 2
    assert set(reasons[0]) == {"item", "rating", "effect", "title"}
    assert abs(reasons[0]["effect"]) >= abs(reasons[1]["effect"])
    new = hyvae("explain", run_folder, "3", "--ratings", '{"4": 5, "5": 1}').stdout
    assert "What moved the prediction of 3" in new
    assert "exactly one of" in hyvae("explain", run_folder, "3", code=1).stderr
    assert "two ratings" in hyvae("explain", run_folder, "3", "--ratings", '{"4": 5}', code=1).stderr


def test_recommend_to_a_user_to_someone_new_and_to_everyone(run_folder: Path, tmp_path: Path):
    one = json.loads(hyvae("recommend", run_folder, "--user", "001", "-n", 3, "--json").stdout)
    assert len(one) == 3
    assert [row["score"] for row in one] == sorted((row["score"] for row in one), reverse=True)
    new = json.loads(hyvae("recommend", run_folder, "--ratings", '{"3": 5, "4": 1}', "-n", 5, "--json").stdout)
    assert len(new) == 5
    assert not {3, 4} & {row["item"] for row in new}
    hyvae("recommend", run_folder, "--all", "-n", 3, "--out", tmp_path / "lists.parquet")
    everyone = pl.read_parquet(tmp_path / "lists.parquet")
    assert everyone.filter(pl.col("user") == "001")["item"].to_list() == [row["item"] for row in one]


def test_all_trains_without_a_split(ratings_file: Path, tmp_path: Path):
    columns = ("--user-column", "who", "--item-column", "what", "--rating-column", "stars")
    hyvae("train", ratings_file, "--out", tmp_path / "run", "--all", *columns, *EPOCHS)
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["train"]["ratings"] == 500
    assert "trained without a split" in hyvae("evaluate", tmp_path / "run", code=1).stderr


def test_a_foreign_out_folder_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(Recommender, "fit", None)
    for command in (["train", "movielens-small"], ["demo"]):
        assert "is not a run of hyvae" in hyvae(*command, "--out", tmp_path, code=1).stderr


def test_every_command_shows_help_with_an_example():
    names = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    assert {"train", "recommend", "similar", "fold-in"} <= set(names)
    for command in (*([name] for name in names), ["data", "list"], ["data", "describe"]):
        said = hyvae(*command, "--help").stdout
        assert f"hyvae {' '.join(command)}" in said.split("Example")[1]
        assert "---" not in said.replace("─", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nosuch.csv", "--out", "run"], "nosuch.csv: no such file"),
        (["train", "movielens-small", "--out", "run", "--model", "svd"], "no model is called 'svd'"),
        (["train", "movielens-small", "--out", "run", "--preset", "best"], "no preset 'best'"),
        (["train", "movielens-small", "--out", "run", "--set", "learning_rat=1"], "did you mean 'learning_rate'"),
        (["train", "movielens-small", "--out", "run", "--set", "epochs=many"], "epochs"),
        (["train", "movielens-small", "--out", "run", "--set", "epochs"], "--set takes key=value"),
        (["train", "movielens-small", "--out", "run", "--split", "odd"], "odd"),
        (["train", "movielens-small", "--out", "run", "--scale", "1"], "--scale takes two numbers"),
        (["train", "movielens-small", "--out", "run", "--device", "cuda:9"], "device"),
        (["evaluate", "."], "is not a run of hyvae"),
        (["recommend", ".", "--user", "1", "--all"], "exactly one of"),
        (["recommend", ".", "--all"], "go together"),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    done = hyvae(*arguments, code=1)
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ratings", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "takes a JSON object"),
        ('{"3": "five"}', "not a number"),
        ('{"3": 11}', "off the declared scale"),
        ('{"777": 3}', "item '777' is not known"),
        ('{"3": NaN}', "finite"),
    ],
)
def test_bad_ratings_of_someone_new(ratings: str, says: str, run_folder: Path):
    done = hyvae("recommend", run_folder, "--ratings", ratings, code=1)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_debug_shows_where_the_error_comes_from(tmp_path: Path):
    said = hyvae("evaluate", tmp_path, "--debug", code=1).stderr
    assert said.startswith("Traceback (most recent call last):")
    assert "in read_run" in said
    assert said.splitlines()[-1] == f"error: {tmp_path} is not a run of hyvae: it has no config.json"


def test_doctor_and_data_speak_json():
    assert json.loads(hyvae("doctor", "--json").stdout)["hyvae"]
    assert "movielens-small" in {row["name"] for row in json.loads(hyvae("data", "list", "--json").stdout)}
    facts = json.loads(hyvae("data", "describe", "movielens-small", "--json").stdout)
    assert (facts["ratings"], facts["items"], facts["listed_items"]) == (100_836, 9_724, 9_742)


def test_brackets_in_a_title_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]):
    print_recommendations([Recommendation(1, 4.0, "[red] Sorghum [/] (1988)")])
    assert "[red] Sorghum [/] (1988)" in capsys.readouterr().out
