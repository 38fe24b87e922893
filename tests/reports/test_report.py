"""A report says what its run says, says what is missing, and lets nothing of the run out of its quotes."""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest
import torch

from hyvae import Recommender
from hyvae.cli.report import report as report_command
from hyvae.errors import ConfigError, RunError
from hyvae.evaluation import evaluate
from hyvae.evaluation.posterior import kl_per_unit
from hyvae.models.hyvae import HyVAE
from hyvae.ratings import Ratings
from hyvae.reports import figures, require_matplotlib, write_report
from hyvae.reports.html import number, text
from hyvae.runs import Run, check_target, read_run, write_run

QUICK = {"epochs": 3, "validate_every": 1, "hidden": 8, "latent": 4, "deep_layers": 4, "samples": 0}
RANKING = {"epochs": 4, "hidden": 8, "latent": 4, "batch_users": 20}
SECTIONS = ["Results", "The data", "Training", "Errors on the test ratings", "Recommendations", "Provenance"]
VOID = {"meta", "link", "br", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """Reads a page and refuses one whose elements do not nest."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"<{tag}> names an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


def make_run(ratings: Ratings, folder: Path, *, model: str = "hyvae", split: bool = True, history: bool = True) -> Path:
    recommender = Recommender(model, **{"hyvae": QUICK, "mult_vae": {"preset": "ranking", **RANKING}}.get(model, {}))
    if split:
        train, valid, test = ratings.split(seed=0)
        recommender.fit(train, valid, seed=0, progress=False)
        metrics, held_out = evaluate(recommender, test), {"validation": valid, "test": test}
    else:
        recommender.fit(ratings, seed=0, progress=False)
        metrics, held_out = {}, {}
    details = {"source": "films.csv", "command": ["hyvae", "train", "my films.csv"]}
    recommender.save(folder, held_out=held_out, metrics=metrics, history=history, details=details)
    return folder


def report(run: Path, sections: Sequence[str] = SECTIONS) -> Page:
    out = run.with_name(f"{run.name}.html")
    write_report(run, out)
    page = Page(out)
    for heading in sections:
        assert heading in page.text
    return page


def change(run: Path, **changes: object) -> Path:
    """The same run with other content."""
    content = read_run(run)
    shutil.rmtree(run)
    write_run(Run(**{**vars(content), **changes}), run)
    return run


@pytest.fixture(scope="module")
def folder(small_ratings: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(small_ratings, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "run")


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return report(folder)


# -- the page ---------------------------------------------------------------------------------------------------


def test_the_headlines_are_the_metrics_of_the_run(page: Page, folder: Path):
    metrics = read_run(folder).metrics
    for kind in ("pooled", "user_mean"):
        for measure in ("rmse", "mae"):
            value, bias = metrics[kind][measure], metrics["bias"][kind][measure]
            word = "better" if value < bias else "worse"
            said = f"{abs(value - bias):.4f} {word} than" if abs(value - bias) >= 5e-5 else "the same as"
            assert f"{value:.4f} {said} the bias model’s {bias:.4f}" in page.text
    assert f"NDCG@10 {metrics['ranking']['ndcg']:.4f}" in page.text


def test_how_sure_the_model_is_is_held_against_the_test_ratings(page: Page, folder: Path):
    found = read_run(folder).metrics["uncertainty"]
    ninety = next(row for row in found["coverage"] if row["stated"] == 0.9)
    assert f"Prediction interval ±{ninety['width'] / 2:.2f} on average; 90% were to be inside" in page.text
    assert f"{ninety['observed']:.1%} of the test ratings are" in page.text
    assert "figure-reliability" in page.source
    assert f"CRPS {found['crps']:.4f}" in page.text


@pytest.mark.parametrize(
    "odd", [7, {"coverage": 3, "reliability": [1]}, {"coverage": [{"stated": 0.9}], "reliability": [[1]]}]
)
def test_odd_measures_of_uncertainty_are_left_out(run: Path, odd: object):
    content = read_run(run)
    metrics = {**content.metrics, "uncertainty": odd}
    page = report(change(run, metrics=metrics, held_out={}))
    assert "figure-reliability" not in page.source
    assert "Prediction interval –" in page.text


def test_the_data_training_and_provenance_are_those_of_the_run(page: Page, folder: Path, small_ratings: Ratings):
    content = read_run(folder)
    assert "Hy-VAE on films.csv" in page.text
    assert f"ratings {len(small_ratings):,} in training {len(content.history):,}" in page.text
    assert f"the weights of epoch {content.provenance['best_epoch']} are kept" in page.text
    assert content.provenance["train"]["fingerprint"] in page.text
    assert "hyvae train 'my films.csv'" in page.text
    assert page.text.count("Film ") >= 3 * 8


def test_it_loads_nothing_and_runs_nothing(page: Page):
    assert not {"script", "img", "iframe", "object", "embed", "link"} & {tag for tag, _ in page.tags}
    assert page.values("src") == []
    assert all(target.startswith("#") for target in page.values("href"))
    assert not re.search(r"https?:|@import|url\((?!#)|\bon\w+=", page.source)
    assert "default-src 'none'" in page.source


def test_it_is_accessible_and_its_ids_are_unique(page: Page):
    assert page.source.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.count("h1") == page.count("title") == 1
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == page.count("figcaption") >= 6
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    ids = page.values("id")
    assert max(Counter(ids).values()) == 1
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page.source)) <= set(ids)
    assert set(page.values("aria-labelledby")) <= set(ids)


def test_every_colour_is_one_of_the_page_s(page: Page):
    assert "#0102" not in page.source
    drawings = "".join(re.findall(r"<svg.*?</svg>", page.source))
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)
    assert set(re.findall(r"var\((--[\w-]+)\)", page.source)) <= set(re.findall(r"(--[\w-]+):", page.source))


def test_the_same_run_gives_the_same_small_page_and_leaves_matplotlib_alone(run: Path):
    settings = dict(matplotlib.rcParams)
    first = report(run).source
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30}):
        assert report(run).source == first
    assert dict(matplotlib.rcParams) == settings
    assert len(first.encode()) < 300_000
    assert sorted(file.name for file in run.parent.iterdir()) == ["run", "run.html"]


# -- of a model that only ranks -----------------------------------------------------------------------------------


class TestRanking:
    """No error, no predicted rating, and nothing that would need one."""

    SECTIONS = tuple(heading for heading in SECTIONS if not heading.startswith("Errors"))

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, small_ratings: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return make_run(small_ratings, tmp_path_factory.mktemp("runs") / "ranks", model="mult_vae")

    @pytest.fixture(scope="class")
    @classmethod
    def page(cls, folder: Path) -> Page:
        return report(folder, cls.SECTIONS)

    def test_the_headlines_are_measures_of_lists(self, page: Page, folder: Path):
        ranking = read_run(folder).metrics["ranking"]
        for title, key in (("NDCG@10", "ndcg"), ("Recall@10", "recall"), ("MRR", "mrr"), ("Coverage", "coverage")):
            assert f"{title} {ranking[key]:.4f} " in page.text
        assert "what they rated 3.8 or more" in page.text

    def test_the_course_is_that_of_ndcg(self, page: Page, folder: Path):
        run = read_run(folder)
        measured = [row["validation_ndcg"] for row in run.curves]
        assert "Validation NDCG@10" in page.text
        assert f"epoch {run.provenance['best_epoch']} are kept, highest {max(measured):.4f}." in page.text
        assert "Loss: which items were taken" in page.text
        assert "units hold more than 0.01 nats" in page.text

    def test_nothing_is_said_of_ratings_predicted(self, page: Page):
        for words in ("RMSE", "MAE", "bias model", "interval", "Errors", "Error by", "not measured", "predicted "):
            assert words not in page.text
        assert "figure-agreement" not in page.source
        assert page.text.count("recommended score") == 3

    def test_it_is_as_sound_as_any(self, page: Page):
        test_it_is_accessible_and_its_ids_are_unique(page)
        test_every_colour_is_one_of_the_page_s(page)

    def test_without_anything_held_out(self, small_ratings: Ratings, tmp_path: Path):
        page = report(make_run(small_ratings, tmp_path / "all", model="mult_vae", split=False), self.SECTIONS)
        assert "The run keeps no test ratings" in page.text
        assert "Validation NDCG@10 Nothing was validated" in page.text
        assert "Recall@10 – not measured" in page.text

    def test_without_history(self, small_ratings: Ratings, tmp_path: Path):
        folder = make_run(small_ratings, tmp_path / "secret", model="mult_vae", history=False)
        page = report(folder, self.SECTIONS)
        assert f"NDCG@10 {read_run(folder).metrics['ranking']['ndcg']:.4f}" in page.text
        assert "Film " not in page.text

    def test_of_interactions_without_ratings(self, small_ratings: Ratings, tmp_path: Path):
        ones = replace(small_ratings, values=np.ones_like(small_ratings.values), scale=(1.0, 1.0))
        page = report(make_run(ones, tmp_path / "took", model="mult_vae"), self.SECTIONS)
        assert "what they rated 1 or more" in page.text
        assert "scale 1 to 1" in page.text


# -- what a run may lack ----------------------------------------------------------------------------------------


def test_a_run_on_all_ratings_has_no_errors_to_show(small_ratings: Ratings, tmp_path: Path):
    page = report(make_run(small_ratings, tmp_path / "all", split=False))
    assert "The run keeps no test ratings" in page.text
    assert "Nothing was validated" in page.text
    assert "RMSE, pooled – not measured" in page.text
    assert "Prediction interval –" in page.text
    assert "units hold more than 0.01 nats" in page.text


def test_a_run_without_history_shows_what_was_measured(small_ratings: Ratings, tmp_path: Path):
    folder = make_run(small_ratings, tmp_path / "secret", history=False)
    page = report(folder)
    assert f"{read_run(folder).metrics['pooled']['rmse']:.4f}" in page.text
    assert "The run keeps no ratings of anyone." in page.text
    assert "Error by user activity" in page.text
    assert "Film " not in page.text


def test_a_bias_model_has_no_curves_and_nothing_to_beat(small_ratings: Ratings, tmp_path: Path):
    page = report(make_run(small_ratings, tmp_path / "floor", model="bias"))
    assert "this is the bias model" in page.text
    assert "The run has no curves" in page.text
    assert "The model has no latent distribution." in page.text
    assert "better" not in page.text.replace("lower is better", "")


def test_one_epoch_and_curves_of_an_older_run(run: Path):
    rows = read_run(run).curves[:1]
    bare = [{key: value for key, value in row.items() if not key.startswith("valid_")} for row in rows]
    page = report(change(run, curves=bare, provenance={}))
    assert "does not say which epoch was kept" in page.text
    assert "Hy-VAE on ratings" in page.text


def test_runs_written_before_there_were_reports(tmp_path: Path):
    old = shutil.copytree(Path(__file__).parents[1] / "fixtures" / "run-schema1", tmp_path / "old")
    assert report(old).count("svg") >= 3


@pytest.mark.parametrize("metrics", [{"pooled": 3, "by_user_activity": [7, {"rmse": "<b>"}]}, {"bias": {"pooled": []}}])
def test_metrics_that_nothing_vouches_for_cannot_break_the_page(
    small_ratings: Ratings, tmp_path: Path, metrics: dict[str, object]
):
    folder = make_run(small_ratings, tmp_path / "odd", history=False)
    assert "not measured" in report(change(folder, metrics=metrics)).text


def test_string_ids_without_titles(string_ratings: Ratings, tmp_path: Path):
    page = report(make_run(replace(string_ratings, titles=None), tmp_path / "strings"))
    assert page.text.count("User 0") == 3


def test_what_a_run_says_stays_text(small_ratings: Ratings, tmp_path: Path):
    nasty = "<script>alert(1)</script> \"'&amp; 🎬 $body {x} \x1b[0m \u202e" + "x" * 300
    titles = np.array([f"{nasty} {k}" for k in range(small_ratings.n_items)], dtype=object)
    folder = make_run(replace(small_ratings, titles=titles), tmp_path / "nasty")
    provenance = {**read_run(folder).provenance, "source": nasty, nasty: nasty}
    page = report(change(folder, provenance=provenance))
    assert page.count("script") == 0
    assert "\x1b" not in page.source
    assert page.text.count(nasty.replace("\x1b", "\N{REPLACEMENT CHARACTER}")) > 20


def test_ratings_on_a_continuous_scale_are_binned(make_ratings: Callable[..., Ratings], tmp_path: Path):
    whole = make_ratings(seed=3)
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, len(whole)).astype(np.float32)
    ratings = replace(whole, values=(whole.values + noise) * 10 - 20, scale=(-20.0, 40.0))
    assert report(make_run(ratings, tmp_path / "wide")).count("svg") >= 6


def test_a_run_of_two_levels_and_nobody_with_enough_ratings(make_ratings: Callable[..., Ratings], tmp_path: Path):
    few = make_ratings(n_users=30, share=0.04, seed=2)
    page = report(make_run(replace(few, values=np.where(few.values < 4, 3.0, 4.0).astype("f4")), tmp_path / "few"))
    assert "Nobody in the run has" in page.text or "Film " in page.text


# -- the places where it is written -----------------------------------------------------------------------------


def test_refused_places(run: Path, tmp_path: Path):
    with pytest.raises(RunError, match="is inside the run"):
        write_report(run, run / "page.html")
    with pytest.raises(RunError, match=r"must end in \.html"):
        write_report(run, tmp_path / "notes.txt")
    with pytest.raises(RunError, match="is not a folder"):
        write_report(tmp_path / "nowhere", tmp_path / "page.html")
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(RunError, match="cannot be written"):
        write_report(run, tmp_path / "taken.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "taken.html"]


def test_the_command_writes_into_the_run_which_can_still_be_replaced(run: Path, capsys: pytest.CaptureFixture[str]):
    report_command(run)
    assert (run / "report.html").is_file()
    assert "report written to" in capsys.readouterr().out
    check_target(run)


def test_without_matplotlib_the_mend_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'hyvae\[report\]'"):
        write_report(run, tmp_path / "page.html")


# -- its parts --------------------------------------------------------------------------------------------------


def test_kl_per_unit_is_the_mean_over_training_users(
    folder: Path, small_ratings: Ratings, monkeypatch: pytest.MonkeyPatch
):
    recommender = Recommender.load(folder)
    monkeypatch.setattr("hyvae.evaluation.posterior.user_blocks", lambda n: np.array_split(np.arange(n), 3))

    def posterior(self: HyVAE, block):
        mean = block.counts[:, None] * torch.tensor([0.0, 1.0, 0.0])
        return mean, torch.log(torch.tensor([1.0, 1.0, 4.0])).expand_as(mean)

    monkeypatch.setattr(HyVAE, "posterior", posterior)
    counts = recommender.history.user_counts
    expected = [0.0, np.mean(counts[counts > 0].astype(float) ** 2) / 2, (4 - 1 - np.log(4)) / 2]
    np.testing.assert_allclose(kl_per_unit(recommender), expected, rtol=1e-5)


def test_kl_per_unit_of_what_has_no_posterior(small_ratings: Ratings, folder: Path):
    assert kl_per_unit(Recommender("bias").fit(small_ratings)) is None
    assert kl_per_unit(Recommender("hyvae", branches="deep", **QUICK).fit(small_ratings, progress=False)) is None
    content = read_run(folder)
    empty = content.history.take(np.empty(0, np.int64))
    assert kl_per_unit(Recommender.from_run(replace(content, history=empty))) is None


def test_levels_are_values_or_bins():
    centres, inside = figures.levels(np.array([3.0, 1.0, 3.0], np.float32), (1.0, 5.0))
    assert (centres.tolist(), inside.tolist()) == ([1.0, 3.0], [1, 0, 1])
    values = np.linspace(0, 10, 101, dtype=np.float32)
    centres, inside = figures.levels(values[values < 5], (0.0, 10.0))
    np.testing.assert_allclose(centres, np.arange(10) / 2 + 0.25)
    assert np.bincount(inside).tolist() == [5] * 10
    assert figures.levels(values, (0.0, 10.0))[1][-1] == 19


def test_long_courses_and_wide_codes_stay_light():
    course = [(float(epoch), 1 / epoch) for epoch in range(1, 20_001)]
    assert len(figures.curves("loss", course, course, 0.1, 20_000)) < 20_000
    assert len(figures.latent_units(np.linspace(1, 0, 2000), 0.01)) < 60_000


def test_numbers_and_words():
    assert [number(value) for value in (1234, -0.5, None, "1", float("nan"), True)] == ["1,234", "−0.5000", *"––––"]
    assert text('<a href="x">\'&\x00\n') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;\N{REPLACEMENT CHARACTER}\n"


def test_the_curves_of_the_run_are_columns_that_the_page_knows(folder: Path):
    columns = pl.read_parquet(folder / "curves.parquet").columns
    assert {"loss_rec", "valid_rec", "loss_kl", "valid_kl"} <= set(columns)
