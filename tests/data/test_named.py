"""Named data sets: every published fact, and clear words where a copy is absent or wrong."""

import zipfile
from importlib.resources import files

import numpy as np
import pytest

from hyvae.data import DATASETS, load, names, read
from hyvae.errors import DataError


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
    assert names() == ["movielens-small", "ml-1m", "douban", "flixster"]


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


class TestAbsentOrWrong:
    @pytest.mark.parametrize("name", ["ml-1m", "douban", "flixster"])
    def test_unset(self, name, monkeypatch):
        monkeypatch.delenv("HYVAE_DATA", raising=False)
        with pytest.raises(DataError, match=rf"{name}: set HYVAE_DATA.*https://") as caught:
            load(name)
        assert DATASETS[name].url in str(caught.value)

    def test_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        with pytest.raises(DataError, match=r"ml-1m: not found in .*put it there as ml-1m\.zip"):
            load("ml-1m")

    def test_another_data_set_under_this_name(self, tmp_path, monkeypatch):
        (tmp_path / "ml-1m").mkdir()
        (tmp_path / "ml-1m" / "ratings.dat").write_text("1::2::3::4\n")
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        with pytest.raises(DataError, match=r"holds 1 ratings \(published: 1,000,209\)"):
            load("ml-1m")

    def test_unknown_name(self):
        with pytest.raises(DataError, match="no data set is called 'netflix'; there are: movielens-small"):
            load("netflix")
