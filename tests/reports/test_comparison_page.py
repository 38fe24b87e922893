"""A comparison as Markdown and as a page: what it says, what it leaves out, and that nothing gets out of its quotes."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hyvae.errors import DataError
from hyvae.evaluation import Comparison, compare
from hyvae.evaluation.cells import Cell
from hyvae.evaluation.comparison import summarise
from hyvae.evaluation.contestants import contestants
from hyvae.ratings import Ratings
from hyvae.reports import write_comparison
from hyvae.reports.comparison import explanation, html, markdown, short_table

VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Reads a page and refuses one whose elements do not nest."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.bold: list[str] = []
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if "strong" in self.open:
            self.bold.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def cell(rmse: float | None, ndcg: float, seconds: float = 1.0) -> Cell:
    metrics: dict[str, object] = {"ranking": {"k": 10, "users": 9, "ndcg": ndcg, "recall": ndcg}}
    if rmse is not None:
        metrics |= {kind: {"rmse": rmse, "mae": 0.8 * rmse} for kind in ("pooled", "user_mean")}
    made = {"threads": 2, "versions": {"torch": "2.9"}}
    return Cell(
        metrics=metrics, training_seconds=seconds, evaluation_seconds=0.1, best_epoch=1, job="j", circumstances=made
    )


def comparison(cells: dict[str, list[Cell]], **changes: object) -> Comparison:
    """What `compare` would give for these cells."""
    scores = {label: [one.scores for one in of] for label, of in cells.items()}
    provenance = {
        "source": "films.csv",
        "command": ["hyvae", "compare", "my films.csv"],
        "data_fingerprint": "f" * 64,
        "ratings": 12_345,
        "users": 67,
        "items": 89,
        "split": {"kind": "random", "seeds": "0 to 2"},
        "training_seed": "that of the split",
        "computed_with": {"threads": [1, 2], "torch": "2.9"},
    }
    usual = Comparison(
        summary=summarise(scores, 0.125),
        cells={label: tuple(of) for label, of in cells.items()},
        contestants={
            one.label: one for one in contestants(cells, {"hyvae": {"epochs": 2}} if "hyvae" in cells else {})
        },
        split="random",
        k=10,
        same_test=False,
        test_share=0.125,
        found=0,
        provenance=provenance,
    )
    return replace(usual, **changes)


@pytest.fixture
def three() -> Comparison:
    return comparison(
        {
            "bias": [cell(0.91, 0.30, 0.5), cell(0.92, 0.31, 0.5), cell(0.90, 0.33, 0.5)],
            "hyvae": [cell(0.85, 0.35), cell(0.87, 0.36), cell(0.83, 0.37)],
            "hyvae:paper": [cell(0.88, 0.40), cell(0.90, 0.41), cell(0.86, 0.42)],
        }
    )


@pytest.fixture
def ranking() -> Comparison:
    return comparison({"bias": [cell(0.9, 0.3), cell(0.9, 0.2)], "hyvae": [cell(None, 0.4), cell(None, 0.5)]})


def test_the_short_table(three: Comparison):
    heads, rows = short_table(three)
    assert heads == ["model", "RMSE", "MAE", "user-mean RMSE", "NDCG@10", "seconds", "Δ RMSE", "p"]
    assert [row[0] for row in rows] == [("hyvae", True), ("hyvae:paper", False), ("bias", False)]
    best, paper, bias = ([shown.text.replace("\N{NO-BREAK SPACE}", " ") for shown in row] for row in rows)
    # sd 0.02 of 3 splits: 4.302653 · √(1/3 + 1/8) · 0.02
    assert best == ["hyvae", "0.8500 ± 0.0583", "0.6800", "0.8500", "0.3600", "1.00", "reference", "–"]
    # the difference is 0.03 in each split
    assert paper[-2:] == ["+0.0300 ± 0.0000", "<0.001"]
    # t = 0.06 / (√(1/3 + 1/8) · 0.01), p = 1 − t / √(2 + t²)
    assert bias[-2:] == ["+0.0600 ± 0.0291", "0.012"]
    assert [shown.best for shown in rows[0]] == [True, True, True, True, False, False, False, False]
    assert [shown.best for shown in rows[1]] == [False, False, False, False, True, False, False, False]
    assert [shown.best for shown in rows[2]] == [False, False, False, False, False, True, False, False]


def test_a_missing_metric_is_a_dash(ranking: Comparison):
    heads, rows = short_table(ranking)
    assert heads[-2] == "Δ NDCG@10"
    assert [shown.text for shown in rows[0]][:4] == ["hyvae", "–", "–", "–"]
    # of a column with one entry nothing is the best
    assert [shown.text for shown in rows[1]][1] == "0.9000"
    assert not rows[1][1].best
    assert rows[0][4].best
    assert "| hyvae | – | – | – | – |" in markdown(ranking).replace("**", "")
    assert "NDCG@10 of each model less that of hyvae" in Page(html(ranking)).text
    assert "to the left of it is worse" in Page(html(ranking)).text


def test_the_sentence_says_what_intervals_are(three: Comparison):
    said = explanation(three)
    for words in ("3 random splits", "95 % confidence", "Nadeau and Bengio", "identical rows", "difference to hyvae"):
        assert words in said
    same = explanation(replace(three, same_test=True))
    assert "one and the same test part" in same
    assert "Nadeau" not in same
    one = comparison({"bias": [cell(0.9, 0.3)], "hyvae": [cell(0.8, 0.3)]})
    assert explanation(one).startswith("One split, so there are no intervals")
    assert short_table(one)[1][1][-2:] == [("+0.1000", False), ("–", False)]
    assert "±" not in markdown(one)
    assert "95 %" not in html(one)


def test_the_markdown_has_everything(three: Comparison):
    said = markdown(three).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("# 3 models on `films.csv`\n")
    assert "| **hyvae** | **0.8500 ± 0.0583** | **0.6800** |" in said
    assert explanation(three) in said
    assert "## All differences to hyvae" in said
    for fact in ("- ratings: `12,345`", "- command: `hyvae compare 'my films.csv'`", "- threads: `1, 2`"):
        assert fact in said
    assert "- settings of hyvae: `epochs=2`" in said
    tables = [block for block in said.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)


def test_the_page_has_everything_and_loads_nothing(three: Comparison):
    content = html(three)
    page = Page(content)
    for words in ("3 models on films.csv", explanation(three), "All metrics", "Differences to hyvae", "Provenance"):
        assert words in page.text
    assert "0.8500 ± 0.0583" in page.text
    assert "hyvae" in page.bold
    assert "hyvae compare 'my films.csv'" in page.text
    assert page.tags.count("circle") == 2
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", content)
    assert "$" not in content


def test_one_model_is_a_comparison_with_no_best(three: Comparison):
    alone = comparison({"bias": [cell(0.9, 0.3), cell(0.8, 0.3)]})
    assert not any(shown.best for shown in short_table(alone)[1][0])
    assert "circle" not in Page(html(alone)).tags
    assert "All differences" not in markdown(alone)
    assert "1 model on" in markdown(alone)


def test_names_cannot_get_out_of_their_quotes(three: Comparison):
    source = "<script>alert(1)</script> `x` | *y*\n# z"
    odd = replace(three, provenance=three.provenance | {"source": source})
    assert "script" not in Page(html(odd)).tags
    assert markdown(odd).startswith("# 3 models on `` <script>alert(1)</script> `x` | *y* # z ``\n")


def test_the_three_files_are_written_whole(three: Comparison, tmp_path: Path):
    files = write_comparison(three, tmp_path / "a" / "b")
    assert [file.name for file in files] == ["comparison.json", "comparison.md", "comparison.html"]
    assert sorted(tmp_path.glob("a/b/*")) == sorted(files)
    assert json.loads(files[0].read_text()) == three.to_dict()
    before = [file.read_bytes() for file in files]
    write_comparison(three, tmp_path / "a" / "b")
    assert [file.read_bytes() for file in files] == before


def test_a_place_that_cannot_be_written_is_named(three: Comparison, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"comparison\.json cannot be written"):
        write_comparison(three, tmp_path / "file")


def test_of_real_models(make_ratings: Callable[..., Ratings], tmp_path: Path):
    result = compare(make_ratings(n_users=30), ["bias"], 2, cache=tmp_path / "cells")
    # in Python there may be no name of the data
    assert Page(html(result)).text.count("1 model on ratings") == 2
    assert "# 1 model on `ratings`" in markdown(result)
