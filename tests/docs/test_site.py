"""The documentation site in a real browser: pages load, search finds, sounds play, nothing comes from elsewhere."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site, built as for publication."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where a server gives the site."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address) -> Iterator[sync_api.Page]:
    """A page of the browser, which must have had nothing to complain of and fetched nothing from elsewhere."""
    complaints: list[str] = []
    elsewhere: list[str] = []
    page = browser.new_page(viewport=DESK, base_url=address)
    page.on("console", lambda message: complaints.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
    page.on("request", lambda request: elsewhere.append(request.url) if not local(request.url, address) else None)
    yield page
    page.close()
    assert complaints == []
    assert elsewhere == []


def local(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def test_every_page_loads_and_fits_a_phone(page, site):
    places = sorted(file.parent.relative_to(site).as_posix() for file in site.rglob("index.html"))
    assert {".", "loss", "gallery", "target-matrices", "api/losses", "changelog"} <= set(places)
    too_wide = []
    for place in places:
        page.set_viewport_size(DESK)
        page.goto(f"{place}/")
        assert page.locator("article h1").first.is_visible(), place
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > size["width"]:
                too_wide.append((place, size["width"], wide))
    assert too_wide == []


def test_search_finds_the_loss(page):
    page.goto("./")
    page.locator(".md-search__input").click()
    page.keyboard.type("SemiSupConLoss")
    found = page.locator(".md-search-result__link")
    found.first.wait_for()
    addresses = [link.get_attribute("href") for link in found.all()]
    assert any("api/losses/" in place for place in addresses)
    page.locator(".md-search-result__link[href*='api/losses/']").first.click()
    page.wait_for_url("**/api/losses/**")
    assert "SemiSupConLoss" in page.locator("article").inner_text()


def test_the_reference_shows_signatures(page):
    page.goto("api/losses/")
    signature = page.locator(".doc-signature", has_text="SemiSupConLoss(").first
    assert "temperature" in signature.inner_text()
    assert "gather" in signature.inner_text()
    assert page.locator("article math").count() > 0  # the equation, as MathML
    assert page.locator("article").get_by_text("Raises").count() > 0


def test_a_sound_plays_and_its_picture_shows(page):
    page.goto("gallery/")
    player = page.locator("audio").nth(1)
    player.evaluate("sound => sound.play()")
    page.wait_for_function("sound => sound.currentTime > 0.2", arg=player.element_handle())
    assert player.evaluate("sound => sound.duration") == pytest.approx(5, abs=0.2)
    picture = page.locator(".sound img").nth(1)
    picture.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=picture.element_handle())


def test_the_target_matrices_hold_the_weights(page):
    page.goto("target-matrices/")
    by_key = page.locator(".matrix", has_text="KeySimilarity()").locator("title").all_text_contents()
    assert "track 1, C and track 2, G: 0.5" in by_key
    assert "track 1, C and track 3, Am: 0.3" in by_key
    by_any = page.locator(".matrix", has_text="MaxTarget(").locator("title").all_text_contents()
    assert "track 5, track 5 and track 10, track 10: 0.5" in by_any  # E minor and A minor are a fifth apart
    assert "track 4, track 4 and track 10, track 10: 0" in by_any  # nothing is known of both


def test_dark_and_light(browser, address):
    backgrounds = set()
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert len(backgrounds) == 2
