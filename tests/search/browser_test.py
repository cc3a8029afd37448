"""The page works in Debian's Chromium; skipped if that is not installed."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from search.made import Made

from vtmask.search import server
from vtmask.search.index import Index

CHROMIUM = shutil.which("chromium")
TEXT = "spin the blue box"
PATIENCE = 30  # seconds
NARROW = {"width": 360, "height": 740}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="drives a browser; apt-get install chromium has one"
)
sync_api = pytest.importorskip("playwright.sync_api", reason="drives a browser with playwright")


@pytest.fixture
def serve() -> Iterator[Callable[[Index], str]]:
    """Serves an index; yields its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(index: Index) -> str:
        config = uvicorn.Config(server.create_app(index), port=0, lifespan="off", log_level="error")
        uvicorn_server = uvicorn.Server(config)
        thread = threading.Thread(target=uvicorn_server.run)
        thread.start()
        running.append((uvicorn_server, thread))
        while not uvicorn_server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{uvicorn_server.servers[0].sockets[0].getsockname()[1]}/"

    yield start
    for uvicorn_server, thread in running:
        uvicorn_server.should_exit = uvicorn_server.force_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.getuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda r: wrong.append(r.url) if "127.0.0.1" not in r.url else None)
    yield page
    page.close()
    assert wrong == []


def until(page: Any, expression: str) -> None:
    """Waits. `wait_for_function` would evaluate text, which the page's security policy forbids."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def shown(page: Any) -> float:
    """Returns the second of the video that is on screen."""
    until(page, "document.querySelector('video').readyState >= 2")
    return page.evaluate(
        "(video => video.currentTime + Number(video.dataset.offset))"
        "(document.querySelector('video'))"
    )


def search(page: Any, address: str, text: str = TEXT) -> None:
    page.goto(address)
    page.get_by_label("Text 1").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_url("**q=*")


def card(page: Any, name: str, later: bool = True) -> Any:
    """Returns a video's first card; if `later`, the first whose moment starts after 0 s."""
    start = ":not([data-start='0.0'])" if later else ""
    return page.locator(f".moment[data-name='{name}']{start}").first


def open_card(page: Any, card: Any) -> tuple[float, float]:
    card.click()
    return float(card.get_attribute("data-start")), float(card.get_attribute("data-end"))


def test_a_text_leads_to_its_moment(page: Any, serve: Any, index: Index) -> None:
    search(page, serve(index))
    moments = index.search(TEXT, 24)
    assert page.locator(".moment").count() == len(moments)
    assert page.locator(".moment").first.get_attribute("data-name") == moments[0].name
    start, _ = open_card(page, card(page, "cake"))
    page.evaluate("document.querySelector('video').pause()")
    assert abs(shown(page) - start) < 1
    page.wait_for_selector("#player polyline", state="attached")
    # A click in the middle of the curve leads to the middle of the video.
    page.locator(".curve svg").click()
    until(page, "!document.querySelector('video').seeking")
    page.evaluate("document.querySelector('video').pause()")
    assert abs(shown(page) - 6) < 1
    page.keyboard.press("Escape")
    assert not page.locator("#player").is_visible()


def test_videos_that_browsers_do_not_play_are_converted(
    page: Any, serve: Any, index: Index
) -> None:
    search(page, serve(index))
    start, _ = open_card(page, card(page, "old"))
    page.wait_for_selector(".notice:not([hidden])")
    assert "converted" in page.locator(".notice").inner_text()
    until(page, "document.querySelector('video').videoWidth > 0")
    page.evaluate("document.querySelector('video').pause()")
    assert abs(shown(page) - start) < 1
    page.locator(".curve svg").click()
    until(page, "Number(document.querySelector('video').dataset.offset) > 9")
    assert abs(shown(page) - 10) < 1


def test_a_deleted_video_is_reported(page: Any, serve: Any, made_copy: Made) -> None:
    address = serve(Index(made_copy.index))
    (made_copy.videos / "cake.mp4").unlink()
    search(page, address)
    open_card(page, card(page, "cake"))
    page.wait_for_selector(".notice:not([hidden])")
    assert "no longer exists" in page.locator(".notice").inner_text()
    page.wait_for_selector("#player polyline", state="attached")


def test_a_narrow_window_needs_no_sideways_scrolling(page: Any, serve: Any, index: Index) -> None:
    page.set_viewport_size(NARROW)
    search(page, serve(index))
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    open_card(page, card(page, "cake"))
    box = page.locator("#player").bounding_box()
    assert box["x"] >= 0
    assert box["width"] <= NARROW["width"]
    shown(page)


def test_the_page_works_by_keyboard(page: Any, serve: Any, index: Index) -> None:
    search(page, serve(index))
    page.keyboard.press("Tab")
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    second = page.locator(".moment").nth(1)
    until(page, "document.activeElement === document.querySelectorAll('.moment')[1]")
    page.keyboard.press("Enter")
    title = page.locator("#watched", has_text=second.get_attribute("data-name"))
    title.wait_for()
    page.keyboard.press("n")
    third = page.locator(".moment").nth(2).get_attribute("data-name")
    page.locator("#watched", has_text=third).wait_for()
    page.keyboard.press("Escape")
    until(page, "document.activeElement.matches('.moment')")
    page.keyboard.press("/")
    until(page, "document.activeElement.name === 'q'")


def test_several_texts_and_more_like_this(page: Any, serve: Any, index: Index) -> None:
    page.goto(serve(index))
    page.get_by_label("Text 1").fill(TEXT)
    page.get_by_role("button", name="Add a text").click()
    page.get_by_label("Text 2").fill("lift a star")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=*")
    assert page.locator("section h2").all_inner_texts() == [TEXT, "lift a star"]
    open_card(page, card(page, "cake"))
    until(page, "document.querySelectorAll('#player polyline').length === 2")
    page.get_by_role("link", name="More like this moment").click()
    page.wait_for_url("**like=*")
    assert page.locator(".moment").count() > 0


def test_a_search_without_results_says_so(page: Any, serve: Any, index: Index) -> None:
    page.goto(f"{serve(index)}?q=box&path=nowhere")
    assert page.get_by_text("No moments found").is_visible()


def test_a_clip_is_saved(page: Any, serve: Any, index: Index, tmp_path: Path) -> None:
    search(page, serve(index))
    open_card(page, card(page, "cake"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as a clip").click()
    assert download.value.suggested_filename.startswith("cake ")
    assert Path(download.value.path()).stat().st_size > 1000
