"""The run folder: whole or not at all, verified, and nothing in it executes."""

import json
import os
import shutil
import zipfile

import numpy as np
import polars as pl
import pytest
from safetensors import SafetensorError

from hyvae import BiasModel, HyVAE, Ratings, Recommender, runs
from hyvae.errors import NotFittedError, RunError
from hyvae.runs import read_run

SMALL = {"hidden": 8, "latent": 3, "deep_layers": (4,), "epochs": 3, "samples": 2, "sample_width": 3, "sweeps": 4}
ALWAYS = {"config.json", "weights.safetensors", "vocabulary.parquet", "metrics.json", "provenance.json"}


@pytest.fixture(scope="module")
def model(parts):
    return HyVAE(**SMALL).fit(*parts, seed=3)


@pytest.fixture
def folder(model, parts, tmp_path):
    model.save(tmp_path / "run", held_out={"validation": parts[1]}, metrics={"pooled": {"rmse": 1.5}})
    return tmp_path / "run"


def names(folder):
    return {file.name for file in folder.iterdir()}


def change_config(folder, **changes):
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({**config, "sha256": runs.checksum(config)}))


class TestFiles:
    def test_the_files_of_a_run(self, folder):
        assert names(folder) == ALWAYS | {"ratings.parquet", "split.parquet", "curves.parquet"}

    def test_without_history_split_and_curves(self, parts, tmp_path):
        BiasModel().fit(parts[0]).save(tmp_path / "run", history=False)
        assert names(tmp_path / "run") == ALWAYS

    def test_nothing_is_a_pickle_or_a_zip(self, folder):
        # each file is one of three formats that hold data only
        for file in folder.iterdir():
            content = file.read_bytes()
            assert not zipfile.is_zipfile(file)
            if file.suffix == ".json":
                json.loads(content)
            elif file.suffix == ".parquet":
                assert content[:4] == content[-4:] == b"PAR1"
            else:
                assert file.suffix == ".safetensors"
                json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])

    def test_the_config_is_versioned_and_knows_the_files(self, folder):
        config = json.loads((folder / "config.json").read_text())
        assert config["schema"] == runs.SCHEMA
        assert config["model"] == "hyvae"
        assert config["settings"]["latent"] == 3
        assert set(config["files"]) == names(folder) - {"config.json", "metrics.json"}

    def test_ids_are_stored_as_they_came(self, tmp_path):
        ratings = Ratings.from_arrays(["007", "7"], ["00", "0"], [3.0, 4.0])
        BiasModel().fit(ratings).save(tmp_path / "run")
        assert pl.read_parquet(tmp_path / "run" / "ratings.parquet")["user"].to_list() == ["007", "7"]
        loaded = BiasModel.load(tmp_path / "run")
        assert loaded.history.users.ids.tolist() == ["007", "7"]
        assert loaded.predict_table(["007"], ["0"])["fallback"].to_list() == [""]
        assert loaded.predict_table(["07"], ["0"])["fallback"].to_list() == ["user"]

    def test_integers_stay_integers(self, tmp_path):
        ids = [-(2**62), 2**62]
        BiasModel().fit(Ratings.from_arrays(ids, [1, 2], [3.0, 4.0])).save(tmp_path / "run")
        assert BiasModel.load(tmp_path / "run").history.users.ids.tolist() == ids

    def test_odd_strings_survive(self, tmp_path):
        ids = ["", " ", "a\nb", "é", "日本", "1e5", "None", "null"]
        titles = dict(zip(ids, ["", "née", "x", "y", "z", "None", "null", "w"], strict=True))
        BiasModel().fit(Ratings.from_arrays(ids, ids, range(8), titles=titles)).save(tmp_path / "run")
        loaded = BiasModel.load(tmp_path / "run").history
        assert loaded.users.ids.tolist() == loaded.items.ids.tolist() == sorted(ids)
        assert dict(zip(loaded.items.ids.tolist(), loaded.titles, strict=True)) == titles


class TestRoundTrip:
    def test_the_history_is_the_training_ratings(self, folder, parts):
        history = read_run(folder).history
        assert history.fingerprint == parts[0].fingerprint
        assert history.scale == parts[0].scale
        assert history.titles.tolist() == parts[0].titles.tolist()

    def test_timestamps_are_kept(self, tmp_path):
        BiasModel().fit(Ratings.from_arrays([1, 2], [1, 2], [3.0, 4.0], timestamps=[50, 70])).save(tmp_path / "run")
        assert read_run(tmp_path / "run").history.timestamps.tolist() == [50, 70]

    def test_no_titles_stay_none(self, tmp_path):
        BiasModel().fit(Ratings.from_arrays([1, 2], [1, 2], [3.0, 4.0])).save(tmp_path / "run")
        assert read_run(tmp_path / "run").history.titles is None

    def test_held_out_parts_are_kept(self, folder, parts):
        held_out = read_run(folder).held_out
        assert list(held_out) == ["validation"]
        assert held_out["validation"].fingerprint == parts[1].fingerprint

    def test_curves_are_a_row_an_epoch(self, folder, model):
        curves = read_run(folder).curves
        assert [row["epoch"] for row in curves] == [1, 2, 3]
        assert curves[-1]["validation_rmse"] == model.training.epochs[-1].validation_rmse
        assert {"loss_rec", "loss_kl", "learning_rate", "seconds", "steps"} <= set(curves[0])

    def test_metrics_and_provenance_are_kept(self, folder, parts):
        run = read_run(folder)
        assert run.metrics == {"pooled": {"rmse": 1.5}}
        assert run.provenance["train"]["fingerprint"] == parts[0].fingerprint
        assert run.provenance["best_epoch"] is not None

    def test_metrics_may_be_added_later(self, folder):
        (folder / "metrics.json").write_text('{"pooled": {"rmse": 1.4}}')
        assert read_run(folder).metrics == {"pooled": {"rmse": 1.4}}

    def test_a_loaded_run_that_is_saved_again_keeps_its_best_epoch(self, folder, tmp_path):
        Recommender.load(folder).save(tmp_path / "again")
        assert read_run(tmp_path / "again").provenance["best_epoch"] == read_run(folder).provenance["best_epoch"]

    def test_a_loaded_run_that_is_saved_again_keeps_its_curves(self, folder, tmp_path):
        Recommender.load(folder).save(tmp_path / "again")
        assert read_run(tmp_path / "again").curves == read_run(folder).curves

    def test_a_run_may_be_moved(self, folder, tmp_path):
        shutil.move(folder, tmp_path / "elsewhere")
        assert len(Recommender.load(tmp_path / "elsewhere").recommend(100, 3)) == 3

    @pytest.mark.parametrize("name", ["model", "bias"])
    def test_a_class_loads_what_was_saved_whatever_its_own_model(self, folder, name):
        assert (HyVAE if name == "model" else BiasModel).load(folder).name == "hyvae"


class TestWithoutHistory:
    @pytest.fixture(params=["hyvae", "bias"])
    def bare(self, request, model, parts, tmp_path):
        fitted = model if request.param == "hyvae" else BiasModel().fit(*parts)
        fitted.save(tmp_path / "run", history=False)
        return fitted, Recommender.load(tmp_path / "run")

    def test_no_rating_is_in_the_folder(self, bare, tmp_path):
        assert not (tmp_path / "run" / "ratings.parquet").exists()
        assert len(bare[1].history) == 0

    def test_new_users_get_what_they_got(self, bare):
        full, loaded = bare
        ratings = {100: 5.0, 106: 2.0, 130: 4.0}
        items = full.history.items.ids.tolist()
        np.testing.assert_array_equal(loaded.fold_in(ratings).predict(items), full.fold_in(ratings).predict(items))
        assert loaded.recommend(ratings, 7) == full.recommend(ratings, 7)

    def test_nobody_in_particular_gets_what_they_got(self, bare):
        assert bare[1].recommend({}, 7) == bare[0].recommend({}, 7)

    def test_a_known_user_falls_back(self, bare):
        table = bare[1].predict_table([100, 100], [100, -1])
        assert table["fallback"].to_list() == ["user", "both"]

    def test_new_items_leave_the_old_ones_known(self, bare):
        full, loaded = bare
        ratings = {100: 5.0, 106: 2.0, 130: 4.0}
        extended = loaded.with_items({7: {100: 5.0}})
        assert len(extended.recommend(ratings, 1000)) == len(full.recommend(ratings, 1000)) + 1

    def test_intervals_stay(self, bare):
        assert bare[1].predict_table([100], [100])["interval_low"].to_list() != [None]


class TestRefused:
    """In one line each."""

    def refused(self, path, match):
        with pytest.raises(RunError, match=match) as error:
            Recommender.load(path)
        assert "\n" not in str(error.value)

    def test_nothing_there(self, tmp_path):
        self.refused(tmp_path / "nothing", "is not a folder")

    def test_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        self.refused(tmp_path / "file", "is not a folder")

    def test_an_empty_folder(self, tmp_path):
        self.refused(tmp_path, r"not a run of hyvae: it has no config\.json")

    def test_a_foreign_folder(self, tmp_path):
        (tmp_path / "config.json").write_text('{"name": "something else"}')
        self.refused(tmp_path, "not a run of hyvae")

    @pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
    def test_a_config_that_cannot_be_read(self, tmp_path, content):
        (tmp_path / "config.json").write_bytes(content.encode(errors="surrogateescape"))
        self.refused(tmp_path, r"config\.json")

    def test_a_newer_schema(self, folder):
        change_config(folder, schema=runs.SCHEMA + 1)
        self.refused(folder, f"schema {runs.SCHEMA + 1}, this hyvae reads up to {runs.SCHEMA}; install a newer hyvae")

    def test_a_missing_file(self, folder):
        (folder / "weights.safetensors").unlink()
        self.refused(folder, r"damaged: weights\.safetensors is missing")

    @pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.parquet", "ratings.parquet", "curves.parquet"])
    def test_a_changed_byte(self, folder, name):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        self.refused(folder, f"damaged: {name} differs")

    def test_a_changed_config(self, folder):
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"hide": 0.1', '"hide": 0.2'))
        assert text != (folder / "config.json").read_text()
        self.refused(folder, r"damaged: config\.json differs from what was written")

    def test_a_truncated_file(self, folder):
        content = (folder / "ratings.parquet").read_bytes()
        (folder / "ratings.parquet").write_bytes(content[:-10])
        self.refused(folder, r"damaged: ratings\.parquet differs")

    @pytest.mark.parametrize("name", ["metrics.json", "provenance.json"])
    def test_json_that_is_none(self, folder, name):
        (folder / name).write_text("{")
        self.refused(folder, name)

    @pytest.mark.parametrize(
        "changes",
        [
            {"ids": None},
            {"scale": [1]},
            {"scale": None},
            {"files": ["weights.safetensors"]},
            {"schema": "one"},
            {"model": None},
            {"settings": None},
            {"n_users": None},
            {"n_users": 3},
        ],
        ids=str,
    )
    def test_a_config_of_the_wrong_kind(self, folder, changes):
        change_config(folder, **changes)
        self.refused(folder, "damaged|not a run")

    @pytest.mark.parametrize("key", ["ids", "scale", "model", "preset", "settings", "plan", "n_users"])
    def test_a_config_without_a_key(self, folder, key):
        config = json.loads((folder / "config.json").read_text())
        del config[key]
        (folder / "config.json").write_text(json.dumps({**config, "sha256": runs.checksum(config)}))
        self.refused(folder, "damaged|not a run")


class TestWriting:
    def test_a_run_replaces_a_run(self, folder, parts):
        BiasModel().fit(parts[0]).save(folder)
        assert Recommender.load(folder).name == "bias"
        assert names(folder) == ALWAYS | {"ratings.parquet"}
        assert [file.name for file in folder.parent.iterdir()] == ["run"]

    def test_an_empty_folder_may_be_written_to(self, model, tmp_path):
        model.save(tmp_path)
        assert Recommender.load(tmp_path).name == "hyvae"

    def test_parents_are_made(self, model, tmp_path):
        model.save(tmp_path / "a" / "b" / "run")
        assert Recommender.load(tmp_path / "a" / "b" / "run").name == "hyvae"

    def test_a_foreign_folder_is_left_alone(self, model, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(RunError, match="exists and is not a run"):
            model.save(tmp_path)
        assert names(tmp_path) == {"thesis.tex"}

    def test_a_project_with_a_config_of_its_own_is_left_alone(self, model, tmp_path):
        (tmp_path / "config.json").write_text('{"name": "my site"}')
        (tmp_path / "index.html").write_text("years of work")
        with pytest.raises(RunError, match="exists and is not a run"):
            model.save(tmp_path)
        assert names(tmp_path) == {"config.json", "index.html"}

    def test_notes_beside_a_run_are_left_alone(self, model, tmp_path):
        model.save(tmp_path / "run")
        (tmp_path / "run" / "notes.txt").write_text("years of work")
        with pytest.raises(RunError, match=r"holds more than a run of hyvae \(notes.txt\)"):
            model.save(tmp_path / "run")
        assert (tmp_path / "run" / "notes.txt").read_text() == "years of work"

    def test_a_file_is_left_alone(self, model, tmp_path):
        (tmp_path / "run").write_text("a file")
        with pytest.raises(RunError, match="exists and is not a run"):
            model.save(tmp_path / "run")
        assert (tmp_path / "run").read_text() == "a file"

    def old_run_stays(self, folder, model, match):
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        with pytest.raises(RunError, match=match):
            model.save(folder)
        assert [file.name for file in folder.parent.iterdir()] == ["run"], "a staging folder is left"
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
    def test_the_old_run_stays_when_writing_fails(self, folder, model, monkeypatch, error):
        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(runs, "write_tensors", fail)
        self.old_run_stays(folder, model, "cannot be written: (No space left on device|I/O error)")

    def test_the_old_run_stays_when_a_later_file_fails(self, folder, model, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(runs, "_write_json", fail)
        self.old_run_stays(folder, model, "No space left")

    def test_the_old_run_stays_when_the_last_rename_fails(self, folder, model, monkeypatch):
        rename, calls = os.rename, []

        def fail_once_at_the_new_run(source, target):
            calls.append(target)
            if target == folder and len(calls) <= 2:
                raise OSError(5, "Input/output error")
            rename(source, target)

        monkeypatch.setattr(os, "rename", fail_once_at_the_new_run)
        self.old_run_stays(folder, model, "Input/output error")

    def test_nothing_is_left_of_a_first_run_that_fails(self, model, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(runs, "write_tensors", fail)
        with pytest.raises(RunError, match="No space left"):
            model.save(tmp_path / "run")
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_cannot_be_made_is_refused(self, model, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(RunError, match="cannot be written"):
            model.save(tmp_path / "file" / "run")

    def test_an_unfitted_model_writes_nothing(self, tmp_path):
        with pytest.raises(NotFittedError):
            HyVAE().save(tmp_path / "run")
        assert not list(tmp_path.iterdir())
