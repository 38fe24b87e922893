"""hyvae compare, as a user meets it: output, files, exit codes, and what Ctrl-C leaves."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from command import hyvae
from rich.console import Console

from hyvae.cli import watching
from hyvae.evaluation import Standing
from hyvae.evaluation.cells import compute_cell
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender

SMALL = [f"--set=hyvae.{setting}" for setting in ("epochs=2", "hidden=8", "latent=4", "deep_layers=4", "samples=0")]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The model of each training from here on."""
    found: list[str] = []
    fit = Recommender.fit

    def counted(self: Recommender, *parts: Any, **options: Any) -> Recommender:
        found.append(self.name)
        return fit(self, *parts, **options)

    monkeypatch.setattr(Recommender, "fit", counted)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 30, 500, replace=False)
    made = tmp_path_factory.mktemp("data")
    columns = {"who": pairs // 30, "what": pairs % 30, "stars": rng.integers(1, 6, 500)}
    pl.DataFrame(columns).write_csv(made / "ratings.csv")
    return made


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(folder)
    columns = ["--user-column", "who", "--item-column", "what", "--rating-column", "stars"]
    return ["compare", "ratings.csv", *columns, "--models", "bias,hyvae", "--seeds", "2", *SMALL, "--threads", "1"]


# -- what it says ---------------------------------------------------------------------------------------


def test_table_files_and_json_agree(command: list[str], tmp_path: Path, fits: list[str]):
    command += ["--cache", str(tmp_path / "cells")]
    shown = hyvae(*command, "--out", tmp_path / "out")
    assert fits == ["bias", "hyvae"] * 2
    assert shown.stderr == ""
    assert "Nadeau and Bengio" in " ".join(shown.stdout.split())
    assert f"comparison written to {tmp_path / 'out'}" in shown.stdout.replace("\n", "")
    names = ["comparison.html", "comparison.json", "comparison.md"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())

    printed = hyvae(*command, "--json")
    assert fits == ["bias", "hyvae"] * 2
    assert printed.stderr == f"note: 4 of 4 cells were found in {tmp_path / 'cells'}; --fresh trains them anew\n"
    again = json.loads(printed.stdout)
    assert again["models"] == content["models"]
    assert again["provenance"]["source"] == "ratings.csv"
    assert again["provenance"]["command"][:3] == ["hyvae", "compare", "ratings.csv"]
    assert again["provenance"]["computed_with"]["threads"] == 1
    assert {model["model"] for model in again["models"]} == {"bias", "hyvae"}
    for model in again["models"]:
        mean = model["means"]["rmse"]
        assert mean["low"] < mean["mean"] < mean["high"]
        assert f"{mean['mean']:.4f}±" in shown.stdout
        assert f"{mean['mean']:.4f}" in (tmp_path / "out" / "comparison.md").read_text()
        assert f"{mean['mean']:.4f}" in (tmp_path / "out" / "comparison.html").read_text()
    best = again["models"][0]["model"]
    assert again["reference"] == best
    assert f" {best}*" in shown.stdout


def test_fresh_trains_again_and_a_reference_is_taken(command: list[str], tmp_path: Path, fits: list[str]):
    command += ["--cache", str(tmp_path)]
    hyvae(*command)
    done = hyvae(*command, "--fresh", "--reference", "hyvae:default", "--json")
    assert done.stderr == ""
    assert len(fits) == 8
    assert json.loads(done.stdout)["reference"] == "hyvae"


def test_no_cell_of_a_table_is_cut_short(command: list[str], tmp_path: Path):
    said = hyvae(*command, "--cache", tmp_path).stdout
    assert "…" not in said
    row = next(line for line in said.splitlines() if line.strip().startswith("hyvae"))
    assert len(row.split()) == 8


def test_the_password_of_a_database_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_ratings: Ratings):
    url = "postgresql://me:hunter2@host/films"
    read = Ratings.from_indices(
        small_ratings.users,
        small_ratings.items,
        small_ratings.user_index,
        small_ratings.indices,
        small_ratings.values,
        source="postgresql://host/films",
    )
    monkeypatch.setattr(Ratings, "read", lambda *_, **__: read)
    done = hyvae("compare", url, "--models", "bias", "--seeds", 1, "--cache", tmp_path / "c", "--out", tmp_path / "o")
    written = "".join(file.read_text() for file in tmp_path.rglob("*.*"))
    assert "postgresql://host/films" in written
    assert "hunter2" not in written + done.stdout + done.stderr


# -- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "svd"], "no model is called 'svd'"),
        (["--models", "bias,hyvae:best"], "hyvae has no preset 'best'"),
        (["--models", ","], "at least one model"),
        (["--models", "bias", "--seeds", "0"], "1 or more seeds, got 0"),
        (["--models", "bias", "--seeds", "-3"], "1 or more seeds, got -3"),
        (["--models", "bias", "--reference", "hyvae"], "the reference 'hyvae' is not among"),
        (["--models", "bias", "--set", "epochs=2"], "--set takes MODEL.key=value, got 'epochs=2'"),
        (["--models", "bias", "--set", "bias.shrinkage"], "--set takes MODEL.key=value"),
        (["--models", "bias", "--set", "bias.shrinkage=-1"], "shrinkage"),
        (["--models", "bias", "--set", "bias.shrinking=1"], "did you mean 'shrinkage'"),
        (["--models", "bias", "--set", "hyvae.epochs=2"], "not among the compared models: bias"),
        (["--models", "bias", "--split", "odd"], "unknown kind of split 'odd'"),
        (["--models", "bias", "--split", "given"], "without a split of their own"),
        (["--models", "bias", "--device", "cuda:9"], "device"),
        (["--models", "bias", "--out", "{here}/file"], "is not a folder"),
        (["--models", "bias", "--cache", "{here}/file"], "cannot be written"),
    ],
)
def test_a_mistake_gives_one_line_and_trains_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Recommender, "fit", None)
    (tmp_path / "file").write_text("")
    done = hyvae("compare", "movielens-small", *(a.format(here=tmp_path) for a in arguments), code=1)
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_its_help_has_an_example():
    assert "hyvae compare movielens-small --models bias,hyvae" in hyvae("compare", "--help").stdout


# -- Ctrl-C and SIGTERM ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_comparison_goes_on(
    number: int, code: int, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: list[str]
):
    # what this process ignores, as in the background of some shells, its children would ignore
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # the second cell takes seconds; the signal comes a moment after the first is there
    slow = ["--set=hyvae.epochs=600", "--set=hyvae.batch_users=4", "--set=hyvae.patience=none"]
    command += [*slow, "--cache", str(tmp_path)]
    try:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("hyvae")), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("*.json")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    # the file is there a moment before the cell counts as done
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out.startswith("read user = ")
    assert out.count("\n") == 1
    assert err == "stopped with 1 of 4 cells done; the same command goes on from them\n"
    assert len(list(tmp_path.iterdir())) == 1

    # here and quickly, as what is asked is which cells are trained
    monkeypatch.setattr("hyvae.evaluation.study.compute_cell", _quick_cell)
    done = hyvae(*command, "--json")
    assert fits == ["hyvae", "bias", "hyvae"]
    assert done.stderr == f"note: 1 of 4 cells were found in {tmp_path}; --fresh trains them anew\n"
    assert json.loads(done.stdout)["models"][0]["cells"][1]["seed"] == 1


def _quick_cell(recommender: Recommender, *rest: Any) -> Any:
    recommender.plan = recommender.plan.model_copy(update={"epochs": 1})
    return compute_cell(recommender, *rest)


@pytest.mark.parametrize(("seconds", "appears"), [(600.0, False), (0.0, True)])
def test_a_bar_appears_where_it_takes_long(seconds: float, appears: bool, monkeypatch: pytest.MonkeyPatch):
    assert watching.BAR_AFTER_SECONDS == 2
    monkeypatch.setattr(watching, "BAR_AFTER_SECONDS", seconds)
    terminal = io.StringIO()
    monkeypatch.setattr(watching, "stderr", Console(file=terminal, force_terminal=True, width=100))
    with watching.Watch() as watch:
        watch(Standing(1, 4, 0, "hyvae, seed 0"))
        watch.timer.join(timeout=0.5)
        watch.progress.refresh()
    assert ("cell 2 of 4: hyvae, seed 0" in terminal.getvalue()) is appears


def test_where_nobody_watches_there_is_no_bar(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "BAR_AFTER_SECONDS", 0.0)
    assert hyvae(*command, "--cache", tmp_path).stderr == ""
