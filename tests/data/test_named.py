"""Named data sets: every published fact, and clear words where a copy is absent or wrong."""

import json
import re
import zipfile
from importlib.resources import files

import numpy as np
import pytest
from typer.testing import CliRunner

from hyvae.cli.app import app
from hyvae.data import DATASETS, find_local, load, names, read
from hyvae.errors import DataError


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def retrieve(url, *_, **__):
        pytest.fail(f"a test of this file would download {url}")

    monkeypatch.setattr("hyvae.data.download.pooch.retrieve", retrieve)


@pytest.fixture(scope="module")
def small():
    return load("movielens-small")


@pytest.fixture(scope="module")
def ml_1m(data_folder):
    return load("ml-1m")


def levels(ratings):
    value, count = np.unique(ratings.values, return_counts=True)
    return dict(zip(value.tolist(), count.tolist(), strict=True))


def test_names():
    movielens = ["movielens-small", "ml-latest-small", "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m"]
    assert names() == [*movielens, "douban", "flixster", "yahoo-music-3k"]


class TestMovielensSmall:
    def test_facts(self, small):
        assert (len(small), small.n_users, small.n_items) == (100_836, 610, 9_742)
        assert np.count_nonzero(small.item_counts) == 9_724
        assert sorted(levels(small)) == [step / 2 for step in range(1, 11)]
        assert small.scale == (0.5, 5.0)

    def test_titles_are_the_files(self, small):
        title = dict(zip(small.items.ids.tolist(), small.titles, strict=True))
        assert title[1] == "Toy Story (1995)"
        assert title[73] == "Misérables, Les (1995)"

    def test_first_and_last_rating(self, small):
        assert small.timestamps.min() == 828_124_615
        assert small.timestamps.max() == 1_537_799_250

    def test_the_timestamp_mended_in_the_bundle(self, small):
        row = np.flatnonzero((small.user_ids == 5) & (small.item_ids == 39))
        assert small.timestamps[row].tolist() == [847_434_961]

    def test_comes_with_its_licence(self):
        text = files("hyvae.data").joinpath("bundled", "movielens-small", "LICENSE.txt").read_text("utf-8")
        assert "converted to Parquet" in text.partition("Usage License\n")[0]
        assert "so long as it is distributed under these same license conditions" in text

    def test_is_the_zip_of_grouplens(self, small, data_folder):
        ratings = read(data_folder / "ml-latest-small.zip", timestamp="")
        assert ratings.fingerprint == small.fingerprint
        assert ratings.titles.tolist() == small.titles.tolist()


class TestMl1m:
    def test_facts(self, ml_1m):
        assert (len(ml_1m), ml_1m.n_users, ml_1m.n_items) == (1_000_209, 6_040, 3_883)
        assert np.count_nonzero(ml_1m.item_counts) == 3_706
        assert list(levels(ml_1m).values()) == [56_174, 107_557, 261_197, 348_971, 226_310]
        assert ml_1m.values.mean(dtype=np.float64) == pytest.approx(3.58156, abs=5e-6)
        assert ml_1m.scale == (1.0, 5.0)

    def test_titles_are_latin_1(self, ml_1m):
        title = dict(zip(ml_1m.items.ids.tolist(), ml_1m.titles, strict=True))
        assert title[1] == "Toy Story (1995)"
        assert title[73] == "Misérables, Les (1995)"

    def test_unpacked_folder_gives_the_same(self, ml_1m, data_folder, tmp_path, monkeypatch):
        with zipfile.ZipFile(data_folder / "ml-1m.zip") as archive:
            archive.extractall(tmp_path)
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        unpacked = load("ml-1m")
        assert unpacked.fingerprint == ml_1m.fingerprint
        assert unpacked.timestamps.tolist() == ml_1m.timestamps.tolist()
        assert unpacked.titles.tolist() == ml_1m.titles.tolist()


class TestMonti:
    def test_douban(self, data_folder):
        douban = load("douban")
        assert (len(douban), douban.n_users, douban.n_items) == (136_891, 3_000, 3_000)
        assert np.bincount(douban.parts).tolist() == [123_202, 0, 13_689]
        assert list(levels(douban).values()) == [1_876, 8_338, 47_811, 50_748, 28_118]
        assert douban.scale == (1.0, 5.0)

    def test_flixster(self, data_folder):
        flixster = load("flixster")
        assert (len(flixster), flixster.n_users, flixster.n_items) == (26_173, 3_000, 3_000)
        assert np.bincount(flixster.parts).tolist() == [23_556, 0, 2_617]
        assert np.count_nonzero(flixster.user_counts) == 2_341
        assert np.count_nonzero(flixster.item_counts) == 2_956
        assert sorted(levels(flixster)) == [step / 2 for step in range(1, 11)]

    def test_directly_in_the_folder(self, data_folder, tmp_path, monkeypatch):
        (tmp_path / "flixster.mat").symlink_to(data_folder / "monti" / "flixster.mat")
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        assert len(load("flixster")) == 26_173


class TestMl100kLayout:
    """`u.data` and `u.item`, made here: tab separated without a header, and a latin-1 catalogue."""

    RATINGS = "2\t30\t5\t9\n1\t10\t3\t7\n1\t20\t4\t8\n"
    MOVIES = (
        "10|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)|0|0|1\n"
        "20|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com|0|0|0\n30|unknown||||1|0|0\n40|Unseen||||0|0|0\n\n"
    ).encode("latin-1")

    def check(self, ratings):
        assert ratings.user_ids.tolist() == [1, 1, 2]
        assert ratings.item_ids.tolist() == [10, 20, 30]
        assert ratings.values.tolist() == [3, 4, 5]
        assert ratings.timestamps.tolist() == [7, 8, 9]
        assert ratings.titles.tolist() == ["Toy Story (1995)", "Misérables, Les (1995)", "unknown", "Unseen"]

    def test_zip(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
            archive.writestr("ml-100k/u.data", self.RATINGS)
            archive.writestr("ml-100k/u.item", self.MOVIES)
            archive.writestr("ml-100k/u1.base", "1\t10\t3\t7\n")
        self.check(read(tmp_path / "ml-100k.zip"))

    def test_folder(self, tmp_path):
        (tmp_path / "u.data").write_text(self.RATINGS)
        (tmp_path / "u.item").write_bytes(self.MOVIES)
        self.check(read(tmp_path))

    def test_without_the_catalogue(self, tmp_path):
        (tmp_path / "u.data").write_text(self.RATINGS)
        ratings = read(tmp_path)
        assert (len(ratings), ratings.n_items, ratings.titles) == (3, 3, None)

    def test_a_catalogue_that_is_none(self, tmp_path):
        (tmp_path / "u.data").write_text(self.RATINGS)
        (tmp_path / "u.item").write_text("10|Toy Story\nno bars\n")
        with pytest.raises(DataError, match=r"its u\.item, line 2: no movie id"):
            read(tmp_path)


class TestWrong:
    def test_another_data_set_under_this_name(self, tmp_path, monkeypatch):
        (tmp_path / "ml-1m").mkdir()
        (tmp_path / "ml-1m" / "ratings.dat").write_text("1::2::3::4\n")
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        with pytest.raises(DataError, match=r"holds 1 ratings \(published: 1,000,209\).*get it again from https://"):
            load("ml-1m")

    def test_unknown_name(self):
        with pytest.raises(DataError, match="no data set is called 'netflix'; there are: movielens-small"):
            load("netflix")


class TestRegistry:
    def test_every_download_is_one_file_of_a_known_kind(self):
        for dataset in DATASETS.values():
            assert dataset.url.startswith("https://")
            if dataset.files:
                assert dataset.files[0].endswith((".zip", ".mat"))
                assert "/" not in dataset.files[0]
            assert dataset.licence
            assert dataset.citation

    def test_checksums_are_those_that_grouplens_publishes(self):
        signed = {name for name, dataset in DATASETS.items() if dataset.checksum}
        assert signed == {"ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m"}
        assert all(re.fullmatch("md5:[0-9a-f]{32}", DATASETS[name].checksum) for name in signed)

    def test_the_name_of_grouplens_for_the_bundle(self, small):
        assert load("ml-latest-small").fingerprint == small.fingerprint

    @pytest.mark.parametrize("name", ["movielens-small", "ml-latest-small"])
    def test_the_bundle_is_found_in_the_package(self, name):
        assert find_local(name) == "comes with hyvae"

    def test_what_the_zip_of_10m_unpacks_to(self, tmp_path, monkeypatch):
        (tmp_path / "ml-10M100K").mkdir()
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        assert find_local("ml-10m") == str(tmp_path / "ml-10M100K")

    def test_looking_makes_no_cache(self, tmp_path, monkeypatch):
        monkeypatch.delenv("HYVAE_DATA", raising=False)
        monkeypatch.setenv("HYVAE_CACHE", str(tmp_path / "cache"))
        assert find_local("douban") == "would be downloaded from raw.githubusercontent.com"
        assert not (tmp_path / "cache").exists()

    def test_listed_by_the_command(self):
        result = CliRunner().invoke(app, ["data", "list", "--json"])
        listed = {row["name"]: row for row in json.loads(result.stdout)}
        assert list(listed) == names()
        assert listed["ml-100k"]["checksum"] == "md5:0e33842e24a9c977be4e0107933c0723"
        assert listed["movielens-small"]["where_from"] == "comes with hyvae"
