"""The page in a browser, against the service: what a stranger does with it, by click, by keyboard, on a phone."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from listening import TOKEN, served

from hyvae import BiasModel, HyVAE, Ratings, Recommender
from hyvae.serving.app import _PAGE_FILES, PAGE
from hyvae.serving.settings import Settings

TASTE = {2571: 5.0, 541: 5.0, 1214: 4.5, 1240: 4.5, 1196: 5.0, 597: 1.0, 1721: 1.5, 539: 1.0}
TITLES = {
    2571: "Matrix, The (1999)",
    541: "Blade Runner (1982)",
    1214: "Alien (1979)",
    1240: "Terminator, The (1984)",
    1196: "Star Wars: Episode V - The Empire Strikes Back (1980)",
    597: "Pretty Woman (1990)",
    1721: "Titanic (1997)",
    539: "Sleepless in Seattle (1993)",
}
REMEMBERED = {"ratings": [[item, TITLES[item], rating] for item, rating in TASTE.items()]}
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the bundled films."""
    train, valid, _ = Ratings.read("movielens-small").split(seed=0)
    model = HyVAE(preset="fast", epochs=15)
    model.fit(train, valid, seed=0, progress=False)
    run = tmp_path_factory.mktemp("films") / "run"
    model.save(run)
    return run


@pytest.fixture(scope="module")
def ranking_run(string_ratings: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that ranks, and predicts no ratings."""
    run = tmp_path_factory.mktemp("ranks") / "run"
    model = Recommender(model="mult_dae", preset="ranking", epochs=2)
    model.fit(string_ratings, seed=0, progress=False)
    model.save(run)
    return run


@pytest.fixture(scope="module")
def service(films: Path) -> Iterator[httpx.Client]:
    with served(Settings(run=films, token=TOKEN, rate=0)) as client:
        client.get("/v1/map")  # computed once, and not within a test's patience
        yield client


class Visit:
    """Someone on the page, and what the browser complained of."""

    def __init__(self, browser: Any, address: str, remembered: dict[str, Any] | None = None, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        if remembered is not None:
            kept = json.dumps(json.dumps(remembered))
            # once: what the page does with it afterwards must last
            self.context.add_init_script(
                f"if (!sessionStorage.seeded) localStorage.setItem('hyvae-page', {kept}); sessionStorage.seeded = 1;"
            )
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._watch)
        self.address = address
        self.page.goto(address)

    def _watch(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:")):
            self.elsewhere.append(request.url)

    def listed(self) -> list[str]:
        """What is recommended, once all was answered."""
        self.page.wait_for_selector("#list[aria-busy=false]")
        return [name for name in self.page.locator("#list .name").all_inner_texts() if name]

    def changed(self, before: list[str]) -> list[str]:
        """The list once it is another one."""
        shown = "[...document.querySelectorAll('#list .name')].map((name) => name.innerText).filter(Boolean)"
        self.page.wait_for_function(f"(before) => {shown}.join() !== before", arg=",".join(before))
        return self.listed()

    def settled(self) -> None:
        """All that was asked for is answered and shown."""
        self.page.wait_for_selector("#list[aria-busy=false]")
        self.page.wait_for_selector("#map-wait", state="hidden")
        self.page.wait_for_selector("#found li")


@pytest.fixture
def visit(browser: Any, service: httpx.Client) -> Iterator[Any]:
    """Opens the page; afterwards nothing must have been complained of, and nothing asked elsewhere."""
    visits: list[Visit] = []

    def begin(remembered: dict[str, Any] | None = None, **options: Any) -> Visit:
        visits.append(Visit(browser, f"{service.base_url}/", remembered, **options))
        return visits[-1]

    yield begin
    for each in visits:
        each.context.close()
    assert [each.complaints for each in visits] == [[]] * len(visits)
    assert [each.elsewhere for each in visits] == [[]] * len(visits)


# -- what is sent ---------------------------------------------------------------------------------------------


def test_every_file_of_the_page_is_served_and_nothing_else(service: httpx.Client):
    assert {name or "index.html" for name in _PAGE_FILES} == {file.name for file in PAGE.iterdir()}
    for name, kind in _PAGE_FILES.items():
        answer = service.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
    assert service.get("/none.js").status_code == 404


def test_no_script_and_no_style_is_inline():
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


# -- rating, and what comes of it -----------------------------------------------------------------------------


def test_a_stranger_is_offered_films_and_a_list_at_once(visit: Any):
    page = visit().page
    page.wait_for_selector("#list[aria-busy=false]")
    assert page.locator("#found li").count() == 8
    assert len([name for name in page.locator("#list .name").all_inner_texts() if name]) == 10
    assert "What everyone likes" in page.inner_text("#basis")
    first = page.locator("#found .name").all_inner_texts()
    page.get_by_role("button", name="Show others").click()
    assert not set(first) & set(page.locator("#found .name").all_inner_texts())


def test_a_click_rates_and_the_list_answers(visit: Any):
    here = visit()
    before = here.listed()
    here.page.fill("#query", "blade runner")
    stars = here.page.get_by_role("radiogroup", name="Your rating of Blade Runner (1982)")
    box = stars.bounding_box()
    # the left half of the fifth star
    here.page.mouse.click(box["x"] + 4 * 48 + 12, box["y"] + box["height"] / 2)
    assert stars.get_by_role("radio", name="4.5 stars").is_checked()
    after = here.changed(before)
    assert "Blade Runner" not in after
    assert here.page.locator("#given .name").all_inner_texts() == ["Blade Runner"]
    assert "From your 1 rating," in here.page.inner_text("#basis")


def test_the_keyboard_alone_finds_rates_changes_and_takes_back(visit: Any):
    here = visit()
    before = here.listed()
    page = here.page
    page.focus("#query")
    page.keyboard.type("matrix")
    group = page.get_by_role("radiogroup", name="Your rating of The Matrix (1999)")
    # waits for what was typed to be found
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.name?.startsWith('rating')")
    page.keyboard.press("4")
    assert group.get_by_role("radio", name="4 stars", exact=True).is_checked()
    page.keyboard.press("ArrowRight")
    assert group.get_by_role("radio", name="4.5 stars").is_checked()
    rated = here.changed(before)
    assert page.inner_text("#given .rating").split() == ["4.5", "stars", "4.5", "★"]
    # the keyboard is still where it was, and not held there
    assert page.evaluate("document.activeElement.value") == "4.5"
    page.keyboard.press("Tab")
    assert (
        page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove your rating of The Matrix (1999)"
    )
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Delete")
    assert here.changed(rated) == before
    assert page.locator("#given li").count() == 0


def test_the_tab_key_comes_everywhere_and_out_again(visit: Any):
    here = visit(REMEMBERED)
    here.settled()
    seen = set()
    for _ in range(90):
        here.page.keyboard.press("Tab")
        seen.add(here.page.evaluate("document.activeElement.closest('[id]')?.id ?? ''"))
    assert {"query", "found", "others", "diversity", "certainty", "list", "clear", "given", "map", "own"} <= seen


def test_a_rating_can_be_changed_and_removed_in_the_list_of_ones_own(visit: Any):
    here = visit(REMEMBERED)
    before = here.listed()
    page = here.page
    page.locator("#given .title", has_text="Titanic").click()
    group = page.locator("#own").get_by_role("radiogroup")
    assert group.get_by_role("radio", name="1.5 stars").is_checked()
    group.get_by_role("radio", name="5 stars", exact=True).check(force=True)
    assert "5 ★" in page.locator("#given li", has_text="Titanic").inner_text()
    page.get_by_role("button", name="Remove your rating of Titanic (1997)").first.click()
    page.wait_for_function("() => document.querySelectorAll('#given li').length === 7")
    assert len(here.changed(before)) == 10


def test_what_was_rated_is_remembered_until_it_is_cleared(visit: Any):
    here = visit()
    here.listed()
    here.page.locator("#found").get_by_role("radio", name="5 stars", exact=True).first.check(force=True)
    here.page.wait_for_selector("#given li")
    here.page.reload()
    here.page.wait_for_selector("#given li")
    here.page.get_by_role("button", name="Clear all").click()
    assert here.page.locator("#given li").count() == 0
    assert here.page.evaluate("localStorage.length") == 0
    assert here.page.locator("#found input:checked").count() == 0


def test_ratings_of_another_catalogue_are_left_out_and_said_so(visit: Any):
    strange = [
        [2571, "Another thing altogether", 4.0],
        [10**9, "Never heard of (1901)", 2.0],
        [1, "Toy Story (1995)", 9.0],
    ]
    here = visit({"ratings": [*REMEMBERED["ratings"][1:], *strange]})
    assert len(here.listed()) == 10
    assert here.page.locator("#given li").count() == 7
    assert "left out" in here.page.inner_text("#notice")
    # the browser itself tells of the refused request
    here.complaints[:] = [text for text in here.complaints if "404" not in text]


def test_answers_that_come_too_late_are_dropped(visit: Any):
    here = visit()
    before = here.listed()
    held: list[Any] = []
    # the first question is answered only after the second
    here.page.route("**/v1/recommend", lambda route: held.append(route) if not held else route.continue_())
    rows = here.page.locator("#found li")
    rows.nth(0).get_by_role("radio", name="5 stars", exact=True).check(force=True)
    here.page.wait_for_timeout(300)
    assert len(held) == 1
    rows.nth(1).get_by_role("radio", name="5 stars", exact=True).check(force=True)
    after = here.changed(before)
    held[0].continue_()
    here.page.wait_for_timeout(300)
    assert here.listed() == after


# -- how sure, why, and how varied ----------------------------------------------------------------------------


def test_the_opened_film_shows_chances_reasons_with_signs_and_branches(visit: Any):
    here = visit(REMEMBERED)
    names = here.listed()
    here.page.locator("#list .row").nth(2).click()
    here.page.wait_for_function(
        "(name) => document.getElementById('film-heading').innerText.includes(name)", arg=names[2]
    )
    here.page.wait_for_selector("#reasons tr")
    assert here.page.locator("#list .row").nth(2).get_attribute("aria-current") == "true"
    signs = [text[0] for text in here.page.locator("#reasons td:last-child").all_inner_texts()]
    assert set(signs) == {"+", "−"}
    chances = here.page.locator("#chart table td").all_text_contents()
    assert len(chances) == 10
    assert re.search(r"90 %: \d\.\d to \d\.\d", here.page.inner_text("#interval"))
    shares = [float(text.strip("<% ")) for text in chances]
    assert 95 <= sum(shares) <= 105
    parts = dict(row.split("\t")[::2] for row in here.page.locator("#parts tr").all_inner_texts())
    assert {"Variational branch", "Deterministic branch", "Together"} <= set(parts)
    added = sum(float(value.replace("−", "-")) for name, value in parts.items() if name != "Together")
    assert added == pytest.approx(float(parts["Together"]), abs=0.03)


def test_what_is_asked_about_is_predicted_without_its_own_rating(visit: Any, service: httpx.Client):
    here = visit(REMEMBERED)
    here.listed()
    here.page.locator("#given .title", has_text="The Matrix").click()
    here.page.wait_for_selector("#film[aria-busy=false]")
    here.page.wait_for_function("() => document.getElementById('film-heading').innerText.includes('Matrix')")
    others = [{"item": item, "rating": rating} for item, rating in TASTE.items() if item != 2571]
    wanted = service.post("/v1/predict", json={"ratings": others, "items": [2571]}).json()["predictions"][0]
    assert here.page.inner_text("#value").startswith(f"{wanted['prediction']:.1f}")
    assert "without yours" in here.page.inner_text("#film-known")


def test_too_few_ratings_to_explain_are_said_so_and_not_asked_about(visit: Any):
    here = visit()
    here.listed()
    assert "Rate two films" in here.page.inner_text("#reasons")
    here.page.locator("#found").get_by_role("radio", name="5 stars", exact=True).first.check(force=True)
    here.page.wait_for_function("() => document.getElementById('reasons').innerText.includes('Rate one more film')")


def test_the_dials_change_the_list(visit: Any):
    here = visit(REMEMBERED)
    best = here.listed()
    dial = here.page.get_by_role("slider", name="Variety")
    dial.focus()
    dial.press("End")
    varied = here.changed(best)
    assert varied[0] == best[0]
    assert dial.get_attribute("aria-valuetext") == "100 %"
    dial.press("Home")
    assert here.changed(varied) == best
    here.page.get_by_role("slider", name="Certainty").press("End")
    # the surest of all that would be recommended
    assert 1 <= len(here.changed(best)) < 10


# -- the map --------------------------------------------------------------------------------------------------


def test_the_map_tells_titles_to_pointer_and_keyboard_and_opens_them(visit: Any):
    here = visit(REMEMBERED)
    here.settled()
    page = here.page
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#tip:not([hidden])")
    hovered = page.inner_text("#tip")
    assert re.search(r"\(\d{4}\)", hovered)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "(tip) => tip.startsWith(document.getElementById('film-heading').innerText.slice(0, 8))", arg=hovered
    )
    page.mouse.move(0, 0)
    page.focus("#map")
    page.keyboard.press("Home")
    start = page.text_content("#map-says")
    assert "for you" in start
    page.keyboard.press("ArrowLeft")
    walked = page.text_content("#map-says")
    assert walked != start
    page.keyboard.press("Enter")
    page.wait_for_function(
        "(walked) => walked.startsWith(document.getElementById('film-heading').innerText.slice(0, 8))", arg=walked
    )
    page.keyboard.press("Escape")
    assert page.is_hidden("#tip")


# -- narrow, dark, and for everyone ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_all_of_it_and_nothing_scrolls_sideways(visit: Any, scheme: str):
    here = visit(REMEMBERED, viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    here.settled()
    page = here.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.inner_text("#peek").startswith("For you")
    page.locator("#list .row").nth(1).tap()
    sheet = page.locator("#sheet")
    sheet.wait_for()
    page.wait_for_selector("#reasons tr")
    assert sheet.locator("#own [role=radiogroup]").is_visible()
    page.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    # back where it was opened
    assert page.evaluate("document.activeElement.className") == "row"
    small = """() => [...document.querySelectorAll('button, input, a, select')].filter((one) => one.checkVisibility())
      .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
      .filter(([, box]) => box.bottom > 0 && box.width > 1 && Math.min(box.width, box.height) < 24)
      .map(([text]) => text)"""
    # but for a link within a sentence
    assert [text for text in page.evaluate(small) if "openapi" not in text] == []


def test_dark_is_dark_and_light_is_light(visit: Any):
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme).page
        paper = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
        light = sum(int(part) for part in re.findall(r"\d+", paper)[:3])
        assert light < 150 if scheme == "dark" else light > 700


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_no_grave_fault(visit: Any, scheme: str, viewport: dict[str, int]):
    if find_spec("axe_playwright_python") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("axe-playwright-python is not installed")
    from axe_playwright_python.sync_playwright import Axe

    here = visit(REMEMBERED, viewport=viewport, color_scheme=scheme)
    here.settled()
    # wide windows show the opened film beside all else, narrow ones over it
    found = _grave(Axe().run(here.page)) if viewport == PHONE else []
    here.page.locator("#list .row").nth(1).click()
    here.page.wait_for_selector("#reasons tr")
    found += _grave(Axe().run(here.page))
    assert found == []


def _grave(results: Any) -> list[str]:
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in results.response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


def test_nothing_moves_while_the_list_is_answered_anew(visit: Any):
    here = visit(REMEMBERED)
    here.settled()
    page = here.page
    page.wait_for_selector("#reasons tr")
    boxes = """[...document.querySelectorAll('main > *, #list li, #film > *')]
      .map((one) => [one.offsetTop, one.offsetHeight])"""
    before, listed = page.evaluate(boxes), here.listed()
    page.locator("#found li").nth(1).get_by_role("radio", name="1 star", exact=True).check(force=True)
    here.changed(listed)
    moved = [(a, b) for a, b in zip(before, page.evaluate(boxes), strict=True) if a != b]
    # but for the list of ratings, which is a row longer, and what a title of two lines makes room for in its own card
    assert all(abs(a[0] - b[0]) <= 30 and abs(a[1] - b[1]) <= 40 for a, b in moved)


# -- what can go wrong ----------------------------------------------------------------------------------------


def test_a_stopped_service_is_told_and_the_page_recovers(visit: Any):
    here = visit()
    before = here.listed()
    here.page.route("**/v1/recommend", lambda route: route.abort())
    here.page.locator("#found").get_by_role("radio", name="1 star", exact=True).first.check(force=True)
    here.page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer" in here.page.inner_text("#notice")
    here.page.unroute("**/v1/recommend")
    here.changed(before)
    assert here.page.is_hidden("#notice")
    assert here.complaints
    here.complaints.clear()


def test_a_problem_is_told_in_its_own_words(visit: Any):
    here = visit()
    here.listed()
    problem = {"type": "/problems/invalid-request", "title": "Invalid request", "status": 422, "detail": "n: too long"}
    problem["errors"] = [{"field": "n", "detail": "too long"}]
    answer = {"status": 422, "content_type": "application/problem+json", "body": json.dumps(problem)}
    here.page.route("**/v1/recommend", lambda route: route.fulfill(**answer))
    here.page.get_by_role("slider", name="Variety").press("End")
    here.page.wait_for_selector("#notice:not([hidden])")
    assert here.page.inner_text("#notice") == "Invalid request: n: too long"
    here.complaints.clear()


def test_a_token_is_asked_for_where_reading_takes_one(browser: Any, films: Path):
    with served(Settings(run=films, token=TOKEN, read_token="a token to read with", rate=0)) as client:
        here = Visit(browser, f"{client.base_url}/")
        page = here.page
        # computed for seconds, and nothing to see of it here
        page.route("**/v1/map", lambda route: route.fulfill(json={"items": []}))
        for token in ("a wrong one", "a token to read with"):
            page.get_by_role("textbox", name="Token").fill(token)
            page.get_by_role("button", name="Continue").click()
            if token == "a wrong one":
                page.wait_for_function("() => document.getElementById('token-hint').innerText.includes('not taken')")
                page.wait_for_selector("#token-dialog[open]")
        assert len(here.listed()) == 10
        page.reload()
        assert len(here.listed()) == 10
        assert page.evaluate("localStorage.length") == 0
        assert not page.is_visible("#token-dialog")
        here.context.close()


# -- models that know less ------------------------------------------------------------------------------------


def test_a_model_without_uncertainty_shows_predictions_alone(browser: Any, string_run: Path):
    with served(Settings(run=string_run, token=TOKEN, rate=0)) as client:
        here = Visit(browser, f"{client.base_url}/")
        page = here.page
        assert len(here.listed()) == 10
        assert page.is_hidden("#certainty-dial")
        assert page.is_hidden("#chances")
        for row in range(3):
            page.locator("#found li").nth(row).get_by_role("radio", name="5 stars", exact=True).check(force=True)
        page.wait_for_selector("#reasons tr")
        # whole stars where nobody gave halves
        assert page.locator("#found li").first.get_by_role("radio").count() == 5
        assert page.is_visible("#branches")
        assert here.complaints == []
        here.context.close()


@pytest.mark.parametrize(
    ("step", "control"), [(1.0, "select"), (0.0, "input[type=number]")], ids=["whole points from 0", "any number"]
)
def test_scales_that_stars_do_not_fit_have_another_control(
    browser: Any, make_ratings: Any, tmp_path: Path, step: float, control: str
):
    ratings = make_ratings()
    values = (ratings.values - 1) * 2 if step else ratings.values + np.arange(len(ratings)) / len(ratings) / 2
    own = replace(ratings, values=values.astype(np.float32), scale=(0.0, 8.0))
    model = BiasModel()
    model.fit(own, seed=0, progress=False)
    model.save(tmp_path / "run")
    with served(Settings(run=tmp_path / "run", token=TOKEN, rate=0)) as client:
        here = Visit(browser, f"{client.base_url}/")
        page = here.page
        before = here.listed()
        for row in range(3):
            field = page.locator("#found li").nth(row).locator(control)
            if control == "select":
                field.select_option("8")
            else:
                field.fill("7.25")
                field.press("Tab")
        page.wait_for_function("() => document.querySelectorAll('#given li').length === 3")
        here.changed(before)
        assert page.is_hidden("#branches")
        assert page.is_hidden(".keys")
        assert here.complaints == []
        here.context.close()


def test_a_model_that_ranks_shows_scores_and_what_is_alike(browser: Any, ranking_run: Path):
    with served(Settings(run=ranking_run, token=TOKEN, rate=0)) as client:
        here = Visit(browser, f"{client.base_url}/")
        page = here.page
        before = here.listed()
        for row in range(3):
            page.locator("#found li").nth(row).get_by_role("radio", name="5 stars", exact=True).check(force=True)
        here.changed(before)
        assert "★" not in page.inner_text("#list")
        page.wait_for_selector("#alike-list li")
        assert page.is_hidden("#because")
        assert page.is_hidden("#branches")
        assert here.complaints == []
        here.context.close()
