"""The page of a comparison in a real browser: it renders, sorts, plays, and shows neighbors."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from compared import BASELINES, MODELS, TITLES

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

EVERYONE = (*MODELS, *BASELINES)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, comparison):
    """Opens the page; afterwards the browser must have had nothing to complain of, and fetched nothing."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def opened(**options) -> sync_api.Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((comparison.folder / "report.html").as_uri())
        return page

    yield opened
    for context in contexts:
        assert not context.pages[0].evaluate("window.hacked")
        context.close()
    assert complaints == []
    assert all(url.startswith("data:") or url.endswith("report.html") for url in requests)


def choose(page: sync_api.Page, place: int, kind: str = "circle:not(.silent)") -> int:
    """Click on a point; gives its number."""
    page.locator(".explorer .map svg").scroll_into_view_if_needed()
    box = page.locator(kind).nth(place).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return page.evaluate("[...document.querySelectorAll('circle')].findIndex((c) => c.matches('.chosen'))")


def until(page: sync_api.Page, expression: str) -> None:
    """Wait until an expression holds; Playwright's own waiting needs what the policy of the page forbids."""
    deadline = time.monotonic() + 15
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def neighbors(page: sync_api.Page) -> dict[str, list[str]]:
    """Titles of the neighbors of the chosen point, by model."""
    lists = page.locator(".explorer .models section")
    return {
        lists.nth(place).get_attribute("data-model"): lists.nth(place).locator(".name").all_text_contents()
        for place in range(lists.count())
    }


def test_it_renders_any_names(visit):
    page = visit()
    assert page.locator("h1").text_content() == "Model comparison"
    first = page.locator("table").first
    assert first.locator("tbody th").all_text_contents() == list(EVERYONE)
    assert page.locator("figure svg").count() == 5  # scores, robustness of two tasks, drops, confusion matrix
    assert page.locator("circle").count() == 20
    assert page.locator("circle:not(.silent)").count() == 12
    assert all(box["width"] > 100 for box in (figure.bounding_box() for figure in page.locator("figure svg").all()))
    assert page.locator("select[name=model] option").all_text_contents() == list(EVERYONE)
    titles = page.evaluate("JSON.parse(document.querySelector('.explorer script').textContent).titles")
    assert set(TITLES) <= set(titles)
    assert any(title.startswith("42 <svg onload=") for title in titles)


def test_tables_sort_both_ways_by_number_and_by_name(visit):
    page = visit()
    table = page.locator("table").first
    values = table.locator("tbody tr td:nth-child(2)")

    def numbers() -> list[float]:
        return [float(text.split()[0]) for text in values.all_text_contents()]

    unsorted = numbers()
    header = table.locator("thead th").nth(1)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert numbers() == sorted(unsorted)
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert numbers() == sorted(unsorted, reverse=True)
    table.locator("thead th button").first.click()
    assert header.get_attribute("aria-sort") is None
    assert table.locator("tbody th").all_text_contents() == sorted(EVERYONE, key=str.casefold) != list(EVERYONE)


def test_a_point_plays(visit):
    page = visit()
    choose(page, 3)
    until(page, "document.querySelector('audio').currentTime > 0.05")
    assert not page.evaluate("document.querySelector('audio').paused")
    assert page.locator(".status").text_content().startswith("Playing “")
    until(page, "document.querySelector('audio').ended")


def test_a_point_without_audio_says_so(visit):
    page = visit()
    # Playing points lie above the others, so find one that is not covered.
    number = page.evaluate(
        """() => {
            const map = document.querySelector(".explorer svg");
            map.scrollIntoView();
            const dots = [...document.querySelectorAll("circle")].map((c) => [c, c.getBoundingClientRect()]);
            const far = ([c, a]) => dots.every(([d, b]) => c === d || Math.hypot(a.x - b.x, a.y - b.y) > 4);
            return [...document.querySelectorAll("circle.silent")].findIndex((c) => far(dots.find(([d]) => d === c)));
        }"""
    )
    choose(page, number, "circle.silent")
    assert "is not included" in page.locator(".status").text_content()
    assert page.evaluate("document.querySelector('audio').paused")
    assert page.locator(".explorer .models ol").count() == len(EVERYONE)


def test_neighbors_change_with_the_model(visit):
    page = visit()
    choose(page, 5)
    lists = neighbors(page)
    assert list(lists) == list(EVERYONE)
    assert all(len(titles) == 5 for titles in lists.values())
    marked = {}
    for name in EVERYONE:
        page.locator("select[name=model]").select_option(name)
        assert page.locator("circle.neighbor").count() == 5
        assert page.locator("line").count() == 5
        assert page.locator(".on-the-map h3").text_content().startswith(name)
        marked[name] = page.evaluate(
            "[...document.querySelectorAll('circle')].flatMap((c, n) => (c.matches('.neighbor') ? [n] : []))"
        )
    assert len(set(map(tuple, marked.values()))) > 1
    assert neighbors(page) == lists


def test_a_neighbor_plays_and_pauses(visit):
    page = visit()
    choose(page, 0)
    button = page.locator(".explorer ol button").filter(has_text="▶").first
    point = button.get_attribute("data-point")
    button.click()
    until(page, f"document.querySelector('audio').dataset.point === '{point}'")
    until(page, "document.querySelector('audio').currentTime > 0.05")
    again = f".explorer ol button[data-point='{point}']"
    until(page, f"""document.querySelector("{again}").ariaLabel.startsWith("pause ")""")
    page.locator(again).first.click()
    until(page, "document.querySelector('audio').paused")
    until(page, f"""document.querySelector("{again}").ariaLabel.startsWith("play ")""")


def test_layout_and_color_can_be_chosen(visit):
    page = visit()
    first = page.locator("circle").first
    before, shade = first.get_attribute("cx"), first.get_attribute("style")
    page.locator("select[name=layout]").select_option("PCA")
    assert first.get_attribute("cx") != before
    assert "% of the variance" in page.locator(".note").text_content()
    assert page.locator(".legend button").all_text_contents() == ["A minor", "C major", "G major"]
    page.locator(".legend button").first.click()
    assert 0 < page.locator("circle.faint").count() < 20
    page.locator("select[name=column]").select_option("tags: <i>loud</i>")
    assert page.locator("circle.faint").count() == 0
    assert page.locator(".legend button").all_text_contents() == ["no", "yes"]
    assert {circle.get_attribute("style") for circle in page.locator("circle").all()} != {shade}


def test_it_can_be_used_without_a_pointer(visit):
    page = visit()
    page.locator(".explorer .map svg").focus()
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
        assert page.locator("circle.under").count() == 1
        assert page.locator(".tip").is_visible()
    page.keyboard.press("Enter")
    assert page.locator("circle.chosen").count() == 1
    assert page.locator(".explorer .models ol button").count() == 5 * len(EVERYONE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(visit, scheme):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=scheme)
    choose(page, 2)
    for circle in page.locator("circle").all():
        box = circle.bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator(".explorer .map svg").bounding_box()
    assert 300 < box["width"] <= 390
    ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert abs(brightness(ink) - brightness(paper)) > 150
    assert (brightness(paper) < 128) == (scheme == "dark")


def brightness(color: str) -> float:
    """Mean of red, green and blue of a computed color."""
    return sum(map(float, color.removeprefix("rgb(").removesuffix(")").split(","))) / 3
