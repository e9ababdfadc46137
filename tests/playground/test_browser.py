"""A real browser on a real server: every page opened, run, moved, played, downloaded and read back."""

import csv
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from agents.playground.function_settings import FunctionSettings
from agents.playground.launch import command
from agents.playground.run_settings import LearnSettings, PlaneSettings, SweepSettings, TrainingSettings
from agents.playground.russian import RUSSIAN
from agents.playground.settings import from_file, to_link

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
SMALL = FunctionSettings(optimizers=("gd", "adam"), controllers=("ppo",), iterations=30)
QUICK = {"task": "wine", "steps": 20}
PAGES = {
    "": ("Optimizers and controllers on test functions", SMALL),
    "training": ("Controllers on training runs", TrainingSettings(**QUICK, controllers=("neutral", "ppo"))),
    "learning_rate": (
        "Final loss by base learning rate",
        SweepSettings(**QUICK, count=3, num_seeds=1, controllers=("neutral", "ppo")),
    ),
    "plane": (
        "A real network's loss around the paths of its weights",
        PlaneSettings(**QUICK, controllers=("neutral", "ppo")),
    ),
    "controller": ("Train a controller", LearnSettings(**QUICK, rollouts=1)),
    "reference": ("Reference", None),
}
"""Every page's heading, and settings under which it is through at once."""

WIDTHS, THEMES = (390, 800, 1440), ("light", "dark")
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
    """One tab for all tests; what a page's own scripts throw is an error, and so is what comes from elsewhere."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.set_default_timeout(PATIENCE)
        tab.errors = []
        # Plotly rejects the promise of an animation that is interrupted, without a reason: Pause does that.
        tab.on("pageerror", lambda error: str(error) == "undefined" or tab.errors.append(str(error)))
        tab.on("request", lambda request: is_local(request.url) or tab.errors.append(request.url))
        yield tab
        browser.close()


def is_local(url):
    return url.startswith(("http://localhost", "ws://localhost", "data:", "blob:", "file:"))


def visit(page, url, path="", settings=None, language="English"):
    query = f"?language={language}" + (f"&settings={to_link(settings)}" if settings else "")
    page.goto(f"{url}/{path}{query}")
    rest(page)


def rest(page):
    """Wait until the page has been drawn and no script runs."""
    page.locator("[data-test-script-state=notRunning] h2").first.wait_for()
    assert page.locator("[data-testid=stException]").count() == 0 and page.errors == []


def through(page):
    """Wait until a page's job has ended and the whole page has been drawn after it."""
    page.locator("[data-testid=stDownloadButton]").last.wait_for()
    rest(page)


def shown_iteration(page):
    return int(page.locator(".slider-label").first.text_content().split()[-1])


OVERFLOW = "(() => {const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth})()"
FITS = """() => [...document.querySelectorAll('.js-plotly-plot')].every(plot => {
    const drawn = plot.querySelector('.main-svg'), box = plot.getBoundingClientRect();
    return drawn && Math.abs(drawn.getBoundingClientRect().width - box.width) < 3
        && box.right <= window.innerWidth + 1;
})"""
COVERED = """() => {
    const inside = '[data-testid=stMain] ';
    const kinds = ['button', 'input', '.updatemenu-item-rect', '.slider-rail-rect', '.slider-label', 'g.legend .bg',
                   '.infolayer .xtitle', '.infolayer .ytitle'];
    const all = [...document.querySelectorAll(kinds.map(kind => inside + kind).join(','))];
    const shown = all.map(e => [e, e.getBoundingClientRect()]).filter(([e, r]) => r.width > 1 && r.height > 1);
    const bad = [];
    shown.forEach(([a, r], i) => shown.slice(i + 1).forEach(([b, s]) => {
        const w = Math.min(r.right, s.right) - Math.max(r.left, s.left);
        const h = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
        if (w > 2 && h > 2 && !a.contains(b) && !b.contains(a))
            bad.push(a.outerHTML.slice(0, 90) + ' | ' + b.outerHTML.slice(0, 90));
    }));
    return bad;
}"""
BRIGHTNESS = """() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor
    .match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3"""


def every_page_fits_at_three_widths_in_two_themes_and_two_languages(page, address, tmp_path):
    themes = list(THEMES)
    for language in ("English", "Русский"):
        for path, (heading, settings) in PAGES.items():
            page.set_viewport_size({"width": WIDTHS[0], "height": 900})
            visit(page, address, path, settings, language)
            if settings is not None:
                through(page)
            assert page.locator("[data-testid=stSidebar][aria-expanded=true]").count() == 0  # it would hide the page
            words = heading if language == "English" else RUSSIAN[heading]
            assert page.locator("h2").first.text_content() == words
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                for theme in themes:
                    page.emulate_media(color_scheme=theme)
                    page.wait_for_function(f"({BRIGHTNESS})() {'>' if theme == 'light' else '<'} 128")
                    page.wait_for_function(FITS)
                    where = f"{path or 'functions'}, {language}, {width}, {theme}"
                    assert page.evaluate(OVERFLOW) <= 1, where
                    assert page.evaluate(COVERED) == [], where
                themes.reverse()  # begin with the one that is on: every figure is drawn anew for a theme
            assert page.errors == []
            if language == "English" and settings is not None:
                every_export_is_written(page, settings, tmp_path)
    page.emulate_media(color_scheme="light")


def every_export_is_written(page, settings, tmp_path):
    for ending, check in CHECKS.items():
        with page.expect_download() as waiting:
            page.get_by_role("button", name=ending, exact=True).click()
        file = tmp_path / f"{settings.page}.{ending.lower()}"
        waiting.value.save_as(file)
        check(file.read_bytes(), settings)
    if settings.page == "controller":
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download the controller").click()
        assert waiting.value.suggested_filename == "controller.safetensors"


def is_csv(content, settings):
    first, _, rest_ = content.decode().partition("\n")
    assert json.loads(first.removeprefix("# "))["page"] == settings.page
    assert len(list(csv.DictReader(io.StringIO(rest_)))) > 1


def is_png(content, settings):
    from PIL import Image

    image = Image.open(io.BytesIO(content))
    assert json.loads(image.text["settings"])["page"] == settings.page and np.asarray(image.convert("L")).std() > 5


def is_html(content, settings):
    assert b"Plotly.newPlot" in content and settings.page.encode() in content


CHECKS = {
    "CSV": is_csv,
    "JSON": lambda content, settings: from_file(content).page == settings.page or pytest.fail(settings.page),
    "PNG": is_png,
    "HTML": is_html,
}


def pixels(page):
    """The pixels of the first figure's plane, [H, W, 3]."""
    from PIL import Image

    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")).astype(int)


def unchanged(before, after):
    """The share of pixels that look the same."""
    return float((abs(before - after).max(-1) < 24).mean())


def drawn_length(page):
    """How much of the paths is drawn, in characters of their outlines."""
    first = "document.querySelector('.js-plotly-plot').querySelectorAll('.scatterlayer path.js-line')"
    return page.evaluate(f"[...{first}].reduce((sum, path) => sum + path.getAttribute('d').length, 0)")


def play_keeps_the_landscape_and_draws_the_paths_as_they_were_run(page):
    """Before, during and after."""
    before, whole = pixels(page), drawn_length(page)
    assert before.std(axis=(0, 1)).max() > 20  # there is a landscape
    play, pause = page.locator(".updatemenu-button").all()[:2]
    play.click()
    page.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() < 12")
    page.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() > 3")
    pause.click()
    page.wait_for_timeout(200)
    at = shown_iteration(page)
    page.wait_for_timeout(400)
    assert shown_iteration(page) == at < 30
    assert unchanged(before, pixels(page)) > 0.8 and drawn_length(page) < whole
    play.click()
    page.wait_for_function("document.querySelector('.slider-label')?.textContent.endsWith(' 30')")
    page.wait_for_timeout(200)
    assert unchanged(before, pixels(page)) > 0.97 and drawn_length(page) == whole


def the_animation_plays_in_the_page(page, address, tmp_path):
    page.set_viewport_size({"width": 1440, "height": 900})
    visit(page, address, settings=SMALL)
    page.locator(".js-plotly-plot .updatemenu-button").first.wait_for()
    page.wait_for_function(FITS)
    for what in (page.locator("h2").first, page.locator(".js-plotly-plot .legend").first):
        box = what.bounding_box()
        assert box["y"] + box["height"] < 450  # on the first screen, with the figure
    play_keeps_the_landscape_and_draws_the_paths_as_they_were_run(page)
    assert page.errors == []


def a_page_that_was_downloaded_plays_without_a_server_or_a_network(page, address, tmp_path):
    alone = page.context.browser.new_context(offline=True).new_page()
    alone.set_default_timeout(PATIENCE)
    alone.goto((tmp_path / "functions.html").as_uri())
    alone.locator(".updatemenu-button").first.wait_for()
    play_keeps_the_landscape_and_draws_the_paths_as_they_were_run(alone)
    assert json.loads(alone.locator("#settings").text_content())["iterations"] == 30
    alone.close()


def a_slider_moves_and_run_applies_it(page, address, tmp_path):
    handle = page.locator("[data-testid=stSidebar]").get_by_role("slider").first
    handle.focus()
    handle.press("ArrowRight")
    page.get_by_text("The settings have changed").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("The settings have changed").wait_for(state="detached")
    rest(page)
    page.wait_for_function("document.querySelector('.slider-label')?.textContent.endsWith(' 40')")


def a_chosen_method_stands_out_and_an_own_formula_is_raced_on(page, address, tmp_path):
    page.get_by_role("button", name="Adam + ppo", exact=True).click()
    page.locator(".js-plotly-plot .scatterlayer .trace[style*='opacity: 0.18']").first.wait_for(state="attached")
    own = FunctionSettings(**{**vars(SMALL), "function": "own", "formula": "x^2 + 3 y^2 + |x y|"})
    visit(page, address, settings=own)
    page.get_by_text("x^2 + 3 y^2 + |x y|").first.wait_for()
    field = page.get_by_role("textbox", name="Formula of x and y")
    field.fill("x^2 + oops(y)")
    field.press("Enter")
    page.get_by_text("character 7").wait_for()
    rest(page)


def a_file_restores_the_settings_on_another_page(page, address, tmp_path):
    visit(page, address, "reference")
    page.get_by_text("Optimizers", exact=True).first.wait_for()
    page.locator("input[type=file]").set_input_files(tmp_path / "functions.json")
    page.get_by_text("himmelblau", exact=True).first.wait_for()
    rest(page)
    page.wait_for_function("document.querySelector('.slider-label')?.textContent.endsWith(' 30')")


def the_surface_is_shown_and_plays_too(page, address, tmp_path):
    visit(page, address, settings=FunctionSettings(**{**vars(SMALL), "view": "surface"}))
    page.locator(".js-plotly-plot .gl-container").first.wait_for(state="attached")
    page.locator(".updatemenu-button").first.click()
    page.wait_for_function("+document.querySelector('.slider-label')?.textContent.split(' ').pop() < 30")


def a_training_is_shown_live_stopped_and_kept_to_compare(page, address, tmp_path):
    visit(page, address, "training", TrainingSettings(task="digits_mlp", steps=2000))
    page.get_by_text("running:").wait_for()
    page.locator(".js-plotly-plot").first.wait_for()  # while it runs
    stop = page.get_by_role("button", name="Stop", exact=True)
    stop.click()
    page.get_by_text("stopped at").wait_for()
    stop.wait_for(state="detached")
    page.get_by_text("Knobs of").wait_for()
    page.get_by_role("button", name="Keep these runs to compare").click()
    page.get_by_role("button", name="Forget the kept runs").click()
    page.get_by_role("button", name="Forget the kept runs").wait_for(state="detached")
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
    every_page_fits_at_three_widths_in_two_themes_and_two_languages,
    the_animation_plays_in_the_page,
    a_page_that_was_downloaded_plays_without_a_server_or_a_network,
    a_slider_moves_and_run_applies_it,
    a_chosen_method_stands_out_and_an_own_formula_is_raced_on,
    a_file_restores_the_settings_on_another_page,
    the_surface_is_shown_and_plays_too,
    a_training_is_shown_live_stopped_and_kept_to_compare,
    the_reference_finds_what_is_asked_for,
)


def test_every_page_works_in_a_real_browser(page, address, tmp_path):
    """One session, in this order: workers that share the tests would each start a server and a browser."""
    for step in STEPS:
        begin = time.monotonic()
        step(page, address, tmp_path)
        print(f"{step.__name__}: {time.monotonic() - begin:.1f} s")
