"""fold-in, forget, and train --from, --all, --report and --split, as a user meets them."""

import json
import os
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command import hyvae

from hyvae.recommender import Recommender
from hyvae.runs import read_run
from hyvae.training import checkpoint_path

SMALL = (
    "--set",
    "epochs=4",
    "--set",
    "hidden=8",
    "--set",
    "latent=3",
    "--set",
    "deep_layers=4",
    "--set",
    "samples=0",
    "--threads",
    1,
)
# occurs nowhere by chance, not even in compressed bytes
SECRET = "zq-Wilhelmine-8841"


def speaks_json(*arguments: object) -> dict:
    return json.loads(hyvae(*arguments, "--json").stdout)


def refusal(*arguments: object) -> str:
    done = hyvae(*arguments, code=1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def frame(n: int, seed: int, users: list[str]) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    pairs = rng.choice(len(users) * 30, n, replace=False)
    return pl.DataFrame(
        {
            "user": [users[pair // 30] for pair in pairs],
            "item": pairs % 30,
            "rating": rng.integers(1, 6, n),
            "timestamp": rng.integers(10**9, 2 * 10**9, n),
        }
    )


KNOWN = [f"u{number:02}" for number in range(39)] + [SECRET]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``old.csv``, and ``new.csv`` with ratings by known and new users of known and new items."""
    folder = tmp_path_factory.mktemp("data")
    frame(500, 0, KNOWN).write_csv(folder / "old.csv")
    new = pl.DataFrame(
        {
            "user": ["aNew", "aNew", "u01", "zNew", "u05"],
            "item": [3, 99, 99, 4, 98],
            "rating": [5, 4, 1, 2, 3],
            "timestamp": [5, 6, 7, 8, 9],
        }
    )
    new.write_csv(folder / "new.csv")
    frame(200, 1, [*KNOWN[:10], "v1", "v2", "v3", "v4", "v5"]).write_csv(folder / "more.csv")
    return folder


@pytest.fixture(scope="module")
def first(files: Path) -> Path:
    hyvae("train", files / "old.csv", "--out", files / "first", "--report", *SMALL)
    return files / "first"


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Path:
    """A copy of the first run that a test may change."""
    target = tmp_path / "run"
    target.mkdir()
    for file in first.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.fixture(scope="module")
def without_history(files: Path) -> Path:
    hyvae("train", files / "old.csv", "--out", files / "bare", "--no-history", *SMALL)
    return files / "bare"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def provenance(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text())


def pairs(ratings) -> dict:
    ids = zip(ratings.user_ids.tolist(), ratings.item_ids.tolist(), strict=True)
    return dict(zip(ids, ratings.values.tolist(), strict=True))


class TestFoldIn:
    def test_it_says_what_it_did(self, run: Path, files: Path, tmp_path: Path):
        done = hyvae("fold-in", run, files / "new.csv", "--out", tmp_path / "other")
        assert "5 ratings folded in (2 new users, 2 new items); run written to " in done.said
        facts = speaks_json("fold-in", run, files / "new.csv")
        assert facts.pop("layout")["user"] == "user"
        assert facts == {
            "run": str(run),
            "ratings": 5,
            "new_users": 2,
            "new_items": 2,
        }

    def test_the_run_is_answered_from_both(self, run: Path, files: Path):
        before = read_run(run)
        hyvae("fold-in", run, files / "new.csv")
        after = read_run(run)
        new = {("aNew", 3): 5, ("aNew", 99): 4, ("u01", 99): 1, ("zNew", 4): 2, ("u05", 98): 3}
        assert pairs(after.history) == pairs(before.history) | new
        assert after.history.timestamps is not None
        assert after.metrics == before.metrics
        assert after.curves == before.curves
        assert after.config.n_users == after.history.n_users == before.history.n_users + 2
        (entry,) = after.provenance["folded_in"]
        assert entry.pop("layout")["rating"] == "rating"
        assert [entry] == [{"source": str(files / "new.csv"), "ratings": 5, "new_users": 2, "new_items": 2}]
        assert after.provenance["job"] == before.provenance["job"]

    def test_new_people_can_ask(self, run: Path, files: Path):
        assert "is not among" in refusal("recommend", run, "--user", "aNew")
        hyvae("fold-in", run, files / "new.csv")
        lines = json.loads(hyvae("recommend", run, "--user", "aNew", "-n", 40, "--json").stdout)
        items = {line["item"] for line in lines}
        assert 98 in items
        assert not {3, 99} & items

    def test_it_answers_as_the_api(self, run: Path, files: Path):
        from hyvae import Ratings

        wanted = Recommender.load(run).with_ratings(Ratings.read(files / "new.csv"))
        hyvae("fold-in", run, files / "new.csv")
        asked = ["aNew", "zNew", "u01", "u20"] * 3, [1] * 4 + [99] * 4 + [4] * 4
        np.testing.assert_array_equal(Recommender.load(run).predict(*asked), wanted.predict(*asked))

    def test_what_is_folded_in_is_no_longer_held_out(self, run: Path, tmp_path: Path):
        before = read_run(run).held_out
        test = before["test"]
        known = pl.DataFrame({"user": test.user_ids[:7], "item": test.item_ids[:7], "rating": [3] * 7})
        known.write_csv(tmp_path / "seen.csv")
        hyvae("fold-in", run, tmp_path / "seen.csv")
        after = read_run(run)
        assert set(pairs(after.held_out["test"])) == set(pairs(test)) - set(known.select("user", "item").rows())
        assert pairs(after.held_out["validation"]) == pairs(before["validation"])
        assert speaks_json("evaluate", run)["ratings"] == len(test) - 7

    def test_a_run_whose_whole_test_part_is_folded_in(self, run: Path, tmp_path: Path):
        test = read_run(run).held_out["test"]
        seen = pl.DataFrame(
            {"user": [*test.user_ids, "x"], "item": [*test.item_ids, 3], "rating": [3] * (len(test) + 1)}
        )
        seen.write_csv(tmp_path / "seen.csv")
        hyvae("fold-in", run, tmp_path / "seen.csv")
        assert list(read_run(run).held_out) == ["validation"]
        assert "name the ratings to evaluate on" in refusal("evaluate", run)

    def test_out_leaves_the_run_as_it_was(self, run: Path, files: Path, tmp_path: Path):
        before = contents(run)
        hyvae("fold-in", run, files / "new.csv", "--out", tmp_path / "other")
        assert contents(run) == before
        assert "aNew" in read_run(tmp_path / "other").history.users.ids

    def test_twice_is_listed_twice(self, run: Path, files: Path):
        for _ in range(2):
            hyvae("fold-in", run, files / "new.csv")
        assert [entry["new_users"] for entry in provenance(run)["folded_in"]] == [2, 0]

    def test_a_report_of_the_old_state_is_gone(self, run: Path, files: Path):
        assert (run / "report.html").exists()
        hyvae("fold-in", run, files / "new.csv")
        assert not (run / "report.html").exists()

    def test_a_run_without_histories_is_refused(self, without_history: Path, files: Path):
        before = contents(without_history)
        assert "keeps no histories" in refusal("fold-in", without_history, files / "new.csv")
        assert contents(without_history) == before

    @pytest.mark.parametrize(
        ("row", "says"),
        [("u01,3,9", "off the scale 1 to 5"), ("u01,abc,3", "item ids are text"), ("u01,3,x", "line 2")],
    )
    def test_bad_ratings_are_refused_and_the_run_stays(self, run: Path, tmp_path: Path, row: str, says: str):
        before = contents(run)
        (tmp_path / "bad.csv").write_text(f"user,item,rating\n{row}\n")
        assert says in refusal("fold-in", run, tmp_path / "bad.csv")
        assert contents(run) == before

    def test_a_foreign_out_folder_is_refused(self, run: Path, files: Path):
        assert "is not a run" in refusal("fold-in", run, files / "new.csv", "--out", files)


def everything_in(folder: Path) -> str:
    """All text that the files hold, compressed columns too."""
    found = []
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        found.append(file.read_bytes().decode("latin-1"))
        if file.suffix == ".parquet":
            table = pl.read_parquet(file)
            found += [str(value) for column in table.iter_columns() for value in column.to_list()]
    return "\n".join(found)


class TestForget:
    def test_nothing_in_the_folder_names_them(self, run: Path):
        assert SECRET in everything_in(run)
        assert any(SECRET in part.user_ids for part in read_run(run).held_out.values())
        hyvae("forget", run, "--user", SECRET)
        assert SECRET not in everything_in(run)
        assert [file.name for file in run.parent.iterdir()] == ["run"], "something is left beside the run"

    def test_nor_does_anything_of_a_run_that_they_were_folded_into(self, first: Path, tmp_path: Path):
        (tmp_path / "theirs.csv").write_text(f"user,item,rating\n{SECRET}-2,3,5\n{SECRET}-2,55,1\n")
        hyvae("fold-in", first, tmp_path / "theirs.csv", "--out", tmp_path / "folded")
        assert f"{SECRET}-2" in everything_in(tmp_path / "folded")
        hyvae("forget", tmp_path / "folded", "--user", f"{SECRET}-2", "--user", SECRET)
        assert SECRET not in everything_in(tmp_path / "folded")

    def test_the_rest_stays(self, run: Path):
        before, model = read_run(run), Recommender.load(run)
        hyvae("forget", run, "--user", SECRET)
        after = read_run(run)
        for old, new in [
            (before.history, after.history),
            *((before.held_out[n], after.held_out[n]) for n in before.held_out),
        ]:
            assert pairs(new) == {pair: value for pair, value in pairs(old).items() if pair[0] != SECRET}
            assert new.timestamps is not None
        assert after.metrics == before.metrics != {}
        assert after.curves == before.curves
        assert after.config.n_users == before.config.n_users - 1
        assert after.provenance == before.provenance | {"forgotten_users": 1}
        assert set(contents(run)) == {*after.config.files, "config.json", "metrics.json"}
        asked = ["u01"] * 30 + ["u38"] * 30, [*range(30)] * 2
        np.testing.assert_allclose(Recommender.load(run).predict(*asked), model.predict(*asked), atol=1e-6)

    def test_it_says_what_remains(self, run: Path):
        taught = sum(pair[0] in (SECRET, "u01") for pair in pairs(read_run(run).history))
        done = hyvae("forget", run, "--user", SECRET, "--user", "u01", "--user", SECRET)
        assert done.said.startswith(f"2 forgotten; run written to {run}. What remains: what was learnt")
        assert f"({taught} in the history)" in done.said
        assert "training again without them" in done.said
        assert "checkpoint" not in done.said
        assert provenance(run)["forgotten_users"] == 2
        content = speaks_json("forget", run, "--user", "u02")
        assert content["forgotten"] == ["u02"]
        assert content["checkpoint"] is None
        assert provenance(run)["forgotten_users"] == 3

    def test_a_checkpoint_that_knew_them_is_pointed_out(self, run: Path):
        checkpoint_path(run).write_bytes(b"")
        done = hyvae("forget", run, "--user", SECRET)
        assert done.said.replace(" ", "").endswith("run.checkpointisofatrainingthatknewthem:removeit.")

    def test_they_are_unknown_then(self, run: Path):
        hyvae("forget", run, "--user", SECRET)
        assert "is not among" in refusal("recommend", run, "--user", SECRET)
        assert "is not among" in refusal("forget", run, "--user", SECRET)
        assert speaks_json("evaluate", run)["ratings"] > 0

    def test_out_leaves_the_old_run(self, run: Path, tmp_path: Path):
        before = contents(run)
        hyvae("forget", run, "--user", SECRET, "--out", tmp_path / "other")
        assert contents(run) == before
        assert SECRET not in everything_in(tmp_path / "other")

    def test_someone_unknown_is_refused_and_the_run_stays(self, run: Path):
        before = contents(run)
        assert "'nobody' is not among" in refusal("forget", run, "--user", SECRET, "--user", "nobody")
        assert contents(run) == before

    def test_everybody_is_refused(self, run: Path):
        everyone = [argument for user in read_run(run).history.users.ids for argument in ("--user", user)]
        assert "nobody would be left" in refusal("forget", run, *everyone)

    def test_of_a_run_without_histories(self, without_history: Path, tmp_path: Path):
        assert SECRET in everything_in(without_history)
        hyvae("forget", without_history, "--user", SECRET, "--out", tmp_path / "run")
        assert SECRET not in everything_in(tmp_path / "run")
        assert not (tmp_path / "run" / "ratings.parquet").exists()

    def test_whose_ratings_were_all_that_a_part_held(self, run: Path):
        # then it has no columns, where the other has timestamps
        users = [argument for user in set(read_run(run).held_out["test"].user_ids) for argument in ("--user", user)]
        hyvae("forget", run, *users)
        assert set(read_run(run).held_out) <= {"validation"}

    def test_integer_ids(self, files: Path, tmp_path: Path):
        table = pl.read_csv(files / "old.csv").with_columns(user=pl.col("user").rank("dense"))
        table.write_csv(tmp_path / "ratings.csv")
        hyvae("train", tmp_path / "ratings.csv", "--out", tmp_path / "run", "--model", "bias")
        hyvae("forget", tmp_path / "run", "--user", 7)
        assert 7 not in read_run(tmp_path / "run").history.users.ids
        assert "'x' is not among" in refusal("forget", tmp_path / "run", "--user", "x")

    def test_the_run_is_whole_at_every_instant(self, run: Path, monkeypatch: pytest.MonkeyPatch):
        from hyvae import runs

        def fail(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        before = contents(run)
        monkeypatch.setattr(runs, "_write_json", fail)
        assert "No space left" in refusal("forget", run, "--user", SECRET)
        assert contents(run) == before
        assert os.listdir(run.parent) == ["run"]


class TestFrom:
    def test_new_data_join_the_old(self, run: Path, files: Path, tmp_path: Path):
        out = tmp_path / "next"
        hyvae("train", files / "more.csv", "--out", out, "--from", run, "--threads", 1)
        before, after = read_run(run), read_run(out)
        held = [pairs(after.history), *(pairs(after.held_out[name]) for name in ("validation", "test"))]
        was = [pairs(before.history), *(pairs(before.held_out[name]) for name in ("validation", "test"))]
        for now, then in zip(held, was, strict=True):
            assert set(then) <= set(now)
        assert len(set().union(*held)) == sum(map(len, held))
        new = pl.read_csv(files / "more.csv").select("user", "item").rows()
        assert set().union(*held) == set().union(*was) | set(new)
        assert after.provenance["started_from"] == before.provenance["job"]
        assert before.provenance["started_from"] is None
        assert len(after.curves) == 1 < len(before.curves)
        assert after.config.settings == before.config.settings
        assert after.metrics["ratings"] == len(held[2])
        assert "v1" in after.history.users.ids
        assert after.history.timestamps is not None

    def test_the_same_data_again(self, run: Path, files: Path, tmp_path: Path):
        hyvae(
            "train", files / "old.csv", "--out", tmp_path / "next", "--from", run, "--set", "epochs=2", "--threads", 1
        )
        before, after = read_run(run), read_run(tmp_path / "next")
        assert after.history.fingerprint == before.history.fingerprint
        assert {n: p.fingerprint for n, p in after.held_out.items()} == {
            n: p.fingerprint for n, p in before.held_out.items()
        }
        assert len(after.curves) == 2

    def test_in_the_place_of_the_run(self, run: Path, files: Path):
        job = provenance(run)["job"]
        hyvae("train", files / "new.csv", "--out", run, "--from", run, "--threads", 1)
        assert provenance(run)["started_from"] == job
        assert "aNew" in read_run(run).history.users.ids
        assert os.listdir(run.parent) == ["run"]

    def test_again_and_again_the_plan_is_the_same(self, run: Path, files: Path, tmp_path: Path):
        plans = []
        for source, number in ((run, 1), (tmp_path / "1", 2), (tmp_path / "2", 3)):
            hyvae("train", files / "new.csv", "--out", tmp_path / str(number), "--from", source, "--threads", 1)
            plans.append(read_run(tmp_path / str(number)).config.plan)
        assert plans[0] == plans[1] == plans[2]
        assert plans[0]["learning_rate"] < read_run(run).config.plan["learning_rate"]

    def test_all_takes_the_held_out_ratings_too(self, run: Path, files: Path, tmp_path: Path):
        hyvae("train", files / "more.csv", "--out", tmp_path / "next", "--from", run, "--all", "--threads", 1)
        before, after = read_run(run), read_run(tmp_path / "next")
        whole = pairs(before.history) | pairs(before.held_out["validation"]) | pairs(before.held_out["test"])
        new = pl.read_csv(files / "more.csv")
        whole |= dict(zip(new.select("user", "item").rows(), new["rating"].to_list(), strict=True))
        assert pairs(after.history) == whole
        assert after.held_out == {}
        assert after.provenance["split"] == "all"
        assert after.history.timestamps is not None

    def test_from_a_run_of_all_with_few_new_ratings(self, files: Path, tmp_path: Path):
        hyvae("train", files / "old.csv", "--out", tmp_path / "all", "--all", *SMALL)
        for number, more in enumerate(((), ("--all",))):
            out = tmp_path / str(number)
            hyvae("train", files / "new.csv", "--out", out, "--from", tmp_path / "all", "--threads", 1, *more)
            after = read_run(out)
            assert len(after.history) == 505
            assert after.held_out == {}
            assert after.history.timestamps is not None

    def test_new_data_without_times(self, run: Path, tmp_path: Path):
        # then one held-out part may have timestamps where another has none
        held_out = read_run(run).held_out["validation"]
        again = pl.DataFrame({"user": held_out.user_ids[:1], "item": held_out.item_ids[:1], "rating": [3]})
        again.write_csv(tmp_path / "timeless.csv")
        hyvae("train", tmp_path / "timeless.csv", "--out", tmp_path / "next", "--from", run, "--threads", 1)
        after = read_run(tmp_path / "next")
        assert after.held_out["validation"].timestamps is None
        assert after.held_out["test"].timestamps is not None

    def test_after_folding_in_and_forgetting(self, run: Path, files: Path, tmp_path: Path):
        hyvae("fold-in", run, files / "new.csv")
        hyvae("forget", run, "--user", SECRET)
        hyvae("train", files / "new.csv", "--out", tmp_path / "next", "--from", run, "--threads", 1)
        assert SECRET not in everything_in(tmp_path / "next")
        assert "aNew" in read_run(tmp_path / "next").history.users.ids

    def test_another_model_or_preset_is_refused(self, run: Path, files: Path, tmp_path: Path):
        command = ("train", files / "more.csv", "--out", tmp_path / "next", "--from", run)
        for other in (("--model", "bias"), ("--preset", "paper")):
            assert "is a run of hyvae (default); leave out" in refusal(*command, *other)
        assert "hidden cannot change" in refusal(*command, "--set", "hidden=9")
        assert not (tmp_path / "next").exists()

    def test_the_same_model_by_name_is_fine(self, run: Path, files: Path, tmp_path: Path):
        hyvae("train", files / "new.csv", "--out", tmp_path / "next", "--from", run, "--model", "hyvae", "--threads", 1)

    def test_a_bias_run(self, files: Path, tmp_path: Path):
        hyvae("train", files / "old.csv", "--out", tmp_path / "bias", "--model", "bias")
        hyvae("train", files / "more.csv", "--out", tmp_path / "next", "--from", tmp_path / "bias")
        assert read_run(tmp_path / "next").config.model == "bias"

    def test_a_dense_run_is_refused(self, files: Path, tmp_path: Path):
        hyvae("train", files / "old.csv", "--out", tmp_path / "paper", "--preset", "paper", *SMALL)
        says = refusal("train", files / "more.csv", "--out", tmp_path / "next", "--from", tmp_path / "paper")
        assert "fusion='dense' is folded" in says

    @pytest.mark.parametrize("more", [(), ("--all",)])
    def test_a_run_without_histories_is_refused(
        self, without_history: Path, files: Path, tmp_path: Path, more: tuple[str, ...]
    ):
        command = ("train", files / "more.csv", "--out", tmp_path / "next", "--from", without_history, *more)
        assert "without histories cannot be trained further" in refusal(*command)

    def test_what_is_no_run_is_refused(self, files: Path, tmp_path: Path):
        assert "is not a run" in refusal("train", files / "more.csv", "--out", tmp_path / "next", "--from", files)

    def test_resume_says_when_it_is_complete(self, run: Path, files: Path, tmp_path: Path):
        command = ("train", files / "more.csv", "--out", tmp_path / "next", "--from", run, "--threads", 1)
        assert " trained " in hyvae(*command, "--resume").said
        before = contents(tmp_path / "next")
        assert "is complete" in hyvae(*command, "--resume").said
        assert contents(tmp_path / "next") == before
        for other in (("--seed", 1), ("--all",), ("--set", "epochs=2")):
            assert " trained " in hyvae(*command, *other, "--resume").said
            hyvae(*command)
        hyvae("train", files / "old.csv", "--out", run, "--seed", 5, *SMALL)
        assert " trained " in hyvae(*command, "--resume").said, "it begins at other weights now"


class TestReport:
    def test_it_lies_in_the_run_which_can_be_replaced(self, files: Path, tmp_path: Path):
        command = ("train", files / "old.csv", "--out", tmp_path / "run", *SMALL)
        done = hyvae(*command, "--report")
        assert done.said.replace(" ", "").endswith("run/report.html")
        page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
        assert page.lstrip().lower().startswith("<!doctype html>")
        hyvae("evaluate", tmp_path / "run")
        hyvae(*command, "--seed", 1)
        assert not (tmp_path / "run" / "report.html").exists()
        assert provenance(tmp_path / "run")["seed"] == 1

    @pytest.mark.parametrize("more", [("--no-history",), ("--all",), ("--split", "user"), ("--model", "bias")])
    def test_of_odd_runs(self, files: Path, tmp_path: Path, more: tuple[str, ...]):
        hyvae(
            "train",
            files / "old.csv",
            "--out",
            tmp_path / "run",
            "--report",
            *SMALL[: 0 if "bias" in more else None],
            *more,
        )
        assert (tmp_path / "run" / "report.html").stat().st_size > 10_000

    def test_of_an_update(self, run: Path, files: Path):
        hyvae("train", files / "new.csv", "--out", run, "--from", run, "--report", "--threads", 1)
        assert (run / "report.html").exists()

    def test_without_matplotlib_it_is_refused_before_training(
        self, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        from hyvae.reports import write

        monkeypatch.setattr(write, "find_spec", lambda name: None)
        says = refusal("train", files / "old.csv", "--out", tmp_path / "run", "--report", *SMALL)
        assert "hyvae[report]" in says
        assert not (tmp_path / "run").exists()


class TestSplits:
    @pytest.mark.parametrize("kind", ["user", "leave-1-out", "user-time", "time"])
    def test_each_trains_and_is_evaluated(self, files: Path, tmp_path: Path, kind: str):
        trained = speaks_json("train", files / "old.csv", "--out", tmp_path / "run", "--split", kind, *SMALL)
        content = read_run(tmp_path / "run")
        same = trained["provenance"].keys() - {"seconds"}
        assert {key: trained["provenance"][key] for key in same} == {key: content.provenance[key] for key in same}
        assert trained["provenance"]["split"] == {"kind": kind, "seed": 0}
        assert trained["metrics"]["ratings"] == len(content.held_out["test"])
        again = speaks_json("evaluate", tmp_path / "run")
        assert again["pooled"] == pytest.approx(trained["metrics"]["pooled"], abs=1e-5)
        assert again["ranking"]["ndcg"] == pytest.approx(trained["metrics"]["ranking"]["ndcg"], abs=1e-5)

    def test_people_held_out_are_answered_from_what_they_gave(self, files: Path, tmp_path: Path):
        trained = speaks_json("train", files / "old.csv", "--out", tmp_path / "run", "--split", "user", *SMALL)
        content = read_run(tmp_path / "run")
        assert trained["metrics"]["fallbacks"] == 0
        assert set(content.held_out["test"].user_ids) <= set(content.history.user_ids)
        assert len(content.history) + sum(map(len, content.held_out.values())) == 500
        assert trained["provenance"]["train"]["ratings"] < len(content.history)
        resumed = ("train", files / "old.csv", "--out", tmp_path / "run", "--split", "user", *SMALL, "--resume")
        assert "is complete" in hyvae(*resumed).said

    def test_an_update_of_one_by_user_keeps_its_targets(self, files: Path, tmp_path: Path):
        hyvae("train", files / "old.csv", "--out", tmp_path / "run", "--split", "user", *SMALL)
        hyvae("train", files / "new.csv", "--out", tmp_path / "next", "--from", tmp_path / "run", "--threads", 1)
        before, after = read_run(tmp_path / "run"), read_run(tmp_path / "next")
        assert pairs(before.held_out["test"]) == pairs(after.held_out["test"])


def test_these_commands_are_quick_to_refuse(tmp_path: Path):
    started = time.monotonic()
    assert "is not a folder" in refusal("forget", tmp_path / "nowhere", "--user", "x")
    assert time.monotonic() - started < 5
