"""A real browser on a real server: every page opened, run, moved, played, downloaded and read back."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from agents.playground.launch import command
from agents.playground.settings import FunctionSettings, SweepSettings, TrainingSettings, from_file, to_link

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PACKAGES = [name for name in ("playwright", "streamlit", "plotly") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
    pytest.mark.skipif(bool(PACKAGES), reason=f"not installed: {', '.join(PACKAGES)}"),
]
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
ROOT = Path(__file__).parents[2]
SMALL = FunctionSettings(optimizers=("gd", "adam"), iterations=30)
PATIENCE = 60_000  # milliseconds; a loaded machine draws a page in ten seconds


@pytest.fixture(scope="module")
def address():
    """The address of a server that runs while the tests do."""

    class Options:
        address, no_browser = "localhost", True

    with socket.socket() as free:
        free.bind(("localhost", 0))
        Options.port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command(Options), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://localhost:{Options.port}"
    try:
        for _ in range(1500):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(120)


@pytest.fixture(scope="module")
def page(address):
    """One tab for all tests; what a page's own scripts throw is an error."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1440, "height": 1000})
        tab.set_default_timeout(PATIENCE)
        tab.errors = []
        # Plotly rejects the promise of an animation that is interrupted, without a reason: Pause does that.
        tab.on("pageerror", lambda error: str(error) == "undefined" or tab.errors.append(str(error)))
        yield tab
        browser.close()


def visit(page, url, path="", settings=None):
    page.goto(f"{url}/{path}" + (f"?settings={to_link(settings)}" if settings else ""))
    rest(page)


def rest(page):
    """Wait until the page has been drawn and no script runs."""
    page.locator("[data-test-script-state=notRunning] h2").first.wait_for()
    assert page.locator("[data-testid=stException]").count() == 0 and page.errors == []


def shown_iteration(page):
    return int(page.locator(".slider-label").first.text_content().split()[-1])


def the_animation_plays_and_pauses_in_the_page(page, address, tmp_path):
    visit(page, address, settings=SMALL)
    page.locator(".js-plotly-plot .updatemenu-button").first.wait_for()
    assert shown_iteration(page) == 30
    play, pause = page.locator(".updatemenu-button").all()[:2]
    play.click()
    page.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() < 30")
    page.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() > 3")
    pause.click()
    page.wait_for_timeout(200)
    at = shown_iteration(page)
    page.wait_for_timeout(400)
    assert shown_iteration(page) == at and page.errors == []


def a_slider_moves_and_run_applies_it(page, address, tmp_path):
    handle = page.get_by_role("slider").first
    handle.focus()
    handle.press("ArrowRight")
    page.get_by_text("The settings have changed").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("The settings have changed").wait_for(state="detached")
    rest(page)
    page.wait_for_function("document.querySelector('.slider-label')?.textContent.endsWith(' 40')")


def an_export_is_downloaded_and_restores_the_settings_in_another_tab(page, address, tmp_path):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="JSON", exact=True).click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    written = json.loads(file.read_bytes())
    assert from_file(file.read_bytes()) == FunctionSettings(optimizers=("gd", "adam"), iterations=40)
    assert len(written["rows"]) == 2 * 41 and {row["label"] for row in written["summary"]} == {"GD", "Adam"}
    visit(page, address, "reference")
    page.get_by_text("Optimizers", exact=True).first.wait_for()
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("himmelblau", exact=True).first.wait_for()
    rest(page)
    page.wait_for_function("document.querySelector('.slider-label')?.textContent.endsWith(' 40')")


def a_page_that_was_downloaded_plays_without_a_server_or_a_network(page, address, tmp_path):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="HTML", exact=True).click()
    file = tmp_path / "page.html"
    waiting.value.save_as(file)
    alone = page.context.browser.new_context(offline=True).new_page()
    alone.goto(file.as_uri())
    alone.locator(".updatemenu-button").first.click()
    alone.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() < 40")
    assert json.loads(alone.locator("#settings").text_content())["iterations"] == 40
    alone.close()


def the_surface_is_shown_and_plays_too(page, address, tmp_path):
    visit(page, address, settings=FunctionSettings(**{**vars(SMALL), "view": "surface"}))
    page.locator(".js-plotly-plot .gl-container").first.wait_for(state="attached")
    page.locator(".updatemenu-button").first.click()
    page.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() < 30")


def a_training_is_stopped_while_the_page_stays_responsive(page, address, tmp_path):
    visit(page, address, "training", TrainingSettings(task="digits_mlp", steps=2000))
    page.get_by_text("running:").wait_for()
    begin = time.monotonic()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("stopped at").wait_for()
    assert time.monotonic() - begin < 30.0
    page.get_by_text("Knobs of").wait_for()
    rest(page)


def a_sweep_draws_its_curve(page, address, tmp_path):
    settings = SweepSettings(task="wine", steps=20, count=3, num_seeds=1, controllers=("neutral",))
    visit(page, address, "learning_rate", settings)
    page.get_by_text("done", exact=True).wait_for()
    page.get_by_text("base learning rate", exact=True).wait_for()
    rest(page)


def the_reference_finds_what_is_asked_for(page, address, tmp_path):
    visit(page, address, "reference")
    field = page.get_by_label("Find")
    field.fill("mars")
    field.press("Enter")
    # While the page is drawn anew, the old entry stands hidden beside the new one.
    page.get_by_text("Yuan et al. 2024").locator("visible=true").first.wait_for()
    rest(page)


STEPS = (
    the_animation_plays_and_pauses_in_the_page,
    a_slider_moves_and_run_applies_it,
    an_export_is_downloaded_and_restores_the_settings_in_another_tab,
    a_page_that_was_downloaded_plays_without_a_server_or_a_network,
    the_surface_is_shown_and_plays_too,
    a_training_is_stopped_while_the_page_stays_responsive,
    a_sweep_draws_its_curve,
    the_reference_finds_what_is_asked_for,
)


def test_every_page_works_in_a_real_browser(page, address, tmp_path):
    """One session, in this order: workers that share the tests would each start a server and a browser."""
    for step in STEPS:
        step(page, address, tmp_path)
