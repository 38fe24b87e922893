"""`retell` on the real Flixster, with models so small that all of it takes seconds: files, marks, cache, mistakes."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from hyvae import Ratings, Recommender
from hyvae.errors import ConfigError, DataError
from hyvae.paper import PARTS, experiments, figures, retell
from hyvae.paper import cells as paper_cells
from hyvae.paper.cells import given, some_users
from hyvae.paper.tables import uniform_rmse

TINY = {
    "random": {},
    "bias": {},
    "macrid_vae": {"latent": 4, "epochs": 1},
    "mult_dae": {"latent": 4, "epochs": 1},
    "cdae": {"width": 4, "epochs": 1},
    "mult_vae": {"hidden": (4,), "latent": 4, "epochs": 1},
    "autorec": {"width": 4, "epochs": 1},
    "rec_vae": {"hidden": 4, "latent": 4, "layers": 1, "epochs": 1},
    "deep_ae": {"latent": 4, "epochs": 3},
    "hyvae:paper": {"hidden": 4, "latent": 4, "deep_layers": (4,), "decoder": 4, "epochs": 3},
    "hyvae": {"hidden": 4, "epochs": 2, "samples": 2, "sample_width": 4, "chains": 1, "sweeps": 4},
    "hyvae:fast": {"hidden": 4, "epochs": 2},
}


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "QUICK", TINY)
        patch.setattr(experiments, "QUICK_WIDTH", 4)
        patch.setattr(paper_cells, "QUICK_USERS", 60)
        # a second for each training, and nothing in the paper's tables needs it
        patch.setattr(Recommender, "_calibrated", lambda self, validation: None)
        yield


@pytest.fixture(scope="module")
def told(tiny, data_folder, tmp_path_factory) -> tuple[Path, Path]:
    """Everything of Flixster, retold; the folder and the cache."""
    folder = tmp_path_factory.mktemp("paper")
    retell("all", folder / "out", quick=True, data=["flixster"], cache=folder / "cache", command=["hyvae", "paper"])
    return folder / "out", folder / "cache"


def rows_of(out: Path, name: str) -> list[list[str]]:
    first, *rest = csv.reader((out / f"{name}.csv").open(encoding="utf-8"))
    assert first[0].startswith("# A quick look, not results")
    return rest


def test_every_part_is_there(told):
    out, _ = told
    content = json.loads((out / "report.json").read_text())
    assert list(content["parts"]) == [*PARTS, "settings", "times"]
    assert content["quick"]
    fingerprint = Ratings.read("flixster").fingerprint
    for page in ("report.html", "report.md"):
        text = (out / page).read_text(encoding="utf-8")
        assert "quick look, not results" in text
        assert fingerprint in text
        for title in ("Table I", "Table II", "Table III", "Fig. 3", "Fig. 4", "Fig. 5", "The claims", "Provenance"):
            assert title in text
    for name in ("fig3", "fig4", "fig5", "collapse"):
        assert (out / f"{name}.svg").read_text().count(figures.WATERMARK) == 1
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_loads_nothing_and_runs_nothing(told):
    text = (told[0] / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'<script|src=|href="(?!#)|url\((?!#)', text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_table_one_counts_the_data(told):
    rows = {row[0]: row[1:] for row in rows_of(told[0], "table1")}
    assert rows["Flixster: users"] == ["2,999", "2,341", "3,000"]
    assert rows["Flixster: items"] == ["2,998", "2,956", "3,000"]
    assert rows["Flixster: interactions"][:2] == ["26,173", "26,173"]


def test_table_two_marks_what_cannot_be(told):
    rows = {row[0]: row[1:] for row in rows_of(told[0], "table2-flixster")[1:]}
    assert rows["RAND"][:2] == ["2.119", "2.965‡"]
    assert rows["RecVAE"][:2] == ["0.945†", "0.908†"]
    assert rows["CDAE"][:2] == ["0.927", "0.932"]
    assert rows["HyVAE(), ours"][:2] == ["–", "–"]
    mae, rmse = (float(value) for value in rows["bias model"][2:4])
    difference = float(rows["bias model"][6].replace("−", "-"))
    assert mae < rmse
    assert difference == pytest.approx(rmse - float(rows["Hy-VAE, tuned"][3]), abs=1.5e-4)
    # the peer is known of the whole data alone
    assert not any(name.startswith("myFM") for name in rows)


def test_the_promotions_are_computed_from_the_papers_rows(told):
    rows = [[cell.removesuffix("\N{NO-BREAK SPACE}%") for cell in row] for row in rows_of(told[0], "promotions")]
    assert rows[1:-1] == [
        ["DeepAE", "+4.2", "+4.1", "+4.4"],
        ["VAE", "+10.3", "+9.2", "+10.4"],
    ]


def test_the_percentages_of_the_text_follow_from_the_printed_table(told):
    rows = {row[0]: row[1:] for row in rows_of(told[0], "improvements")}
    assert rows["Mult-VAE"][:2] == ["10.6\N{NO-BREAK SPACE}%", "6.1\N{NO-BREAK SPACE}%"]


def test_marks_and_intervals_are_explained_wherever_they_are(told):
    for file in told[0].glob("*.csv"):
        rows = rows_of(told[0], file.stem)
        cells = " ".join(" ".join(row) for row in rows if not row[0].startswith("#"))
        notes = " ".join(row[0] for row in rows if row[0].startswith("#"))
        for mark in ("†", "‡", "*", "±"):
            assert mark not in cells or mark in notes, (file.stem, mark)


def test_a_section_says_each_note_once(told):
    for section in (told[0] / "report.md").read_text().split("\n## "):
        notes = [line for line in section.splitlines() if line.startswith(("±", "80/10/10", "HyVAE()", "MAE and RMSE"))]
        assert len(notes) == len(set(notes))


def test_a_training_that_two_chapters_want_is_one(told, tiny, tmp_path):
    _, cache = told
    content = json.loads((told[0] / "report.json").read_text())
    assert (
        content["provenance"]["trainings"] == f"{len(list(cache.glob('*.json')))}, of which 0 were found in the cache"
    )


def test_the_same_again_is_found_in_the_cache_and_says_the_same(told, tiny, tmp_path):
    out, cache = told
    seen = []
    retell("all", tmp_path, quick=True, data=["flixster"], cache=cache, command=["hyvae", "paper"], told=seen.append)
    assert seen[-1].found == seen[-1].total > 30
    for file in sorted(path.name for path in out.iterdir()):
        if not file.startswith("report"):
            assert (tmp_path / file).read_bytes() == (out / file).read_bytes(), file


def test_what_was_stopped_goes_on(told, tiny, tmp_path):
    """Cells that are there are not computed again; those that are not, are."""
    _, cache = told
    cells = sorted(cache.glob("*.json"))
    cells[0].unlink()
    cells[1].write_text("damaged")
    seen = []
    retell("all", tmp_path, quick=True, data=["flixster"], cache=cache, told=seen.append)
    assert seen[-1].total - seen[-1].found == 2


def test_mistakes_are_told_before_anything_is_done(tmp_path):
    with pytest.raises(ConfigError, match="no 'table4'; there are: table1"):
        retell("table4", tmp_path / "out")
    with pytest.raises(ConfigError, match="no 'netflix'; there are: ml-1m"):
        retell("table1", tmp_path / "out", data=["netflix"])
    with pytest.raises(ConfigError, match="at least one data set"):
        retell("table1", tmp_path / "out", data=[])
    assert not (tmp_path / "out").exists()


def test_a_uniform_draw_has_the_error_that_draws_have(small_ratings):
    levels = np.unique(small_ratings.values)
    drawn = np.random.default_rng(0).choice(levels, (400, len(small_ratings)))
    expected = np.sqrt(np.mean((drawn - small_ratings.values) ** 2))
    assert uniform_rmse(small_ratings) == pytest.approx(expected, rel=0.01)


def test_some_users_are_whole_users(small_ratings):
    some = some_users(small_ratings, 10)
    chosen = np.flatnonzero(some.user_counts)
    assert len(chosen) == 10
    np.testing.assert_array_equal(some.user_counts[chosen], small_ratings.user_counts[chosen])
    assert some_users(small_ratings, 10**6) is small_ratings


def test_ratings_without_a_split_of_their_own(small_ratings):
    with pytest.raises(DataError, match="without a split of their own"):
        given(small_ratings)


class TestReadings:
    """What the figures point at."""

    def test_plateau(self):
        assert figures.plateau([(1, 10.0), (2, 1.0), (3, 0.05), (4, 0.0)]) == 3

    def test_lowest(self):
        assert figures.lowest([(1, 3.0), (2, 1.0), (3, 2.0)]) == (2, 1.0)
