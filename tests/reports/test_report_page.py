"""The report as a browser shows it: at two widths, in both colour schemes, from a file, with nothing from elsewhere."""

import re
from pathlib import Path
from typing import Any

import pytest

from hyvae import HyVAE
from hyvae.evaluation import evaluate
from hyvae.ratings import Ratings
from hyvae.reports import write_report

SECTIONS = ["results", "data", "training", "errors", "examples", "provenance"]
VIEWS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]

MEASURE = """() => {
  document.querySelectorAll('details').forEach((closed) => { closed.open = true; });
  const box = (element) => { const b = element.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
  const style = (selector) => getComputedStyle(document.querySelector(selector));
  return {
    page: [document.documentElement.scrollWidth, innerWidth],
    headings: [...document.querySelectorAll('h2')].map((h) => [h.id, box(h)]),
    figures: [...document.querySelectorAll('figure')].map((f) => box(f)),
    drawings: [...document.querySelectorAll('figure svg')].map((s) => box(s)),
    letters: [...document.querySelectorAll('figure svg text')].map((t) => [
      t.textContent, parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a, box(t), box(t.closest('svg')),
      getComputedStyle(t).fill]),
    words: [...document.querySelectorAll('h1,h2,h3,p,span,figcaption,summary,th,td')].map((e) => [
      e.tagName, getComputedStyle(e).color,
      getComputedStyle(e.closest('.card,.headline') || document.body).backgroundColor]),
    bars: getComputedStyle(document.querySelector('#figure-ratings path[style*=model]')).fill,
    body: [style('body').color, style('body').backgroundColor],
  };
}"""


@pytest.fixture(scope="module")
def page_file(small_ratings: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    train, valid, test = small_ratings.split(seed=0)
    model = HyVAE(epochs=6, validate_every=2, hidden=8, latent=4, deep_layers=4, samples=0)
    model.fit(train, valid, seed=0, progress=False)
    details = {"source": "a_" + "very_" * 40 + "long_name.csv", "a_key_" * 20: "that no window holds"}
    held_out = {"validation": valid, "test": test}
    model.save(folder / "run", held_out=held_out, metrics=evaluate(model, test), details=details)
    write_report(folder / "run", folder / "run.html")
    return folder / "run.html"


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def seen(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> dict[str, Any]:
    """What the browser makes of the page in one view."""
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    console: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto(page_file.as_uri())
    found = page.evaluate(MEASURE)
    page.close()
    return {**found, "width": width, "scheme": scheme, "requests": requests, "console": console, "file": page_file}


def test_it_asks_for_nothing_and_reports_no_error(seen: dict[str, Any]):
    assert seen["requests"] == [seen["file"].as_uri()]
    assert seen["console"] == []


def test_nothing_is_wider_than_the_window(seen: dict[str, Any]):
    inside, window = seen["page"]
    assert inside <= window


def test_sections_and_figures_are_there_and_apart(seen: dict[str, Any]):
    assert [name for name, _ in seen["headings"]] == SECTIONS
    shown = [*(box for _, box in seen["headings"]), *seen["figures"], *seen["drawings"]]
    assert all(right - left > 20 and bottom - top > 10 for left, top, right, bottom in shown)
    assert len(seen["figures"]) == len(seen["drawings"]) >= 6
    assert not any(_overlap(a, b) for k, a in enumerate(seen["figures"]) for b in seen["figures"][:k])
    columns = {left for left, *_ in seen["figures"]}
    assert len(columns) == (3 if seen["width"] == 1280 else 1)


def test_the_text_of_figures_is_readable_and_whole(seen: dict[str, Any]):
    assert len(seen["letters"]) > 50
    for words, size, (left, top, right, bottom), drawing, _ in seen["letters"]:
        assert 9 <= size <= 16, words
        # half a pixel of rounding
        inside = drawing[0] - 0.5, drawing[1] - 0.5, drawing[2] + 0.5, drawing[3] + 0.5
        assert inside[0] <= left <= right <= inside[2], words
        assert inside[1] <= top <= bottom <= inside[3], words


def test_labels_of_a_figure_do_not_run_into_each_other(seen: dict[str, Any]):
    by_drawing: dict[tuple[float, ...], list[tuple[str, list[float]]]] = {}
    for words, _, box, drawing, _ in seen["letters"]:
        by_drawing.setdefault(tuple(drawing), []).append((words, box))
    for labels in by_drawing.values():
        clashes = [(a, b) for k, (a, box) in enumerate(labels) for b, other in labels[:k] if _overlap(box, other, 3.0)]
        assert not clashes


def test_all_text_has_contrast_in_both_themes(seen: dict[str, Any]):
    pairs = {(ink, paper) for _, ink, paper in seen["words"]}
    card = next(paper for tag, _, paper in seen["words"] if tag == "TD")
    pairs |= {(fill, card) for *_, fill in seen["letters"]}
    for ink, paper in pairs:
        assert _contrast(ink, paper) >= 4.5, (ink, paper)
    assert _contrast(seen["bars"], card) >= 3


def test_dark_is_dark_and_light_is_light(seen: dict[str, Any]):
    ink, paper = (_luminance(colour) for colour in seen["body"])
    assert (paper < 0.05 < 0.5 < ink) if seen["scheme"] == "dark" else (ink < 0.05 < 0.5 < paper)


def test_print_is_light_whatever_the_screen(browser: Any, page_file: Path):
    page = browser.new_page(color_scheme="dark")
    page.emulate_media(media="print")
    page.goto(page_file.as_uri())
    assert _luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.05
    assert _luminance(page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")) > 0.9
    page.close()


def _overlap(a: list[float], b: list[float], slack: float = 0.0) -> bool:
    """Whether two boxes have more than `slack` pixels of each other in both directions."""
    return min(a[2], b[2]) - max(a[0], b[0]) > slack and min(a[3], b[3]) - max(a[1], b[1]) > slack


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of ``rgb(…)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(ink: str, paper: str) -> float:
    bright, dim = sorted((_luminance(ink), _luminance(paper)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)
