"""The pages' logic, through Streamlit's own tester: no browser, no server."""

import re
import time
from pathlib import Path

import pytest

from agents.playground import validation
from agents.playground.function_settings import FunctionSettings
from agents.playground.optimizers import OPTIMIZERS
from agents.playground.presets import PRESETS
from agents.playground.run_settings import LearnSettings, PlaneSettings, SweepSettings, TrainingSettings
from agents.playground.russian import RUSSIAN
from agents.playground.settings import from_link, to_link

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402 - it comes with the extra

FOLDER = Path(validation.__file__).parent
SETTINGS = FunctionSettings(optimizers=("gd", "adam"), iterations=20)


def one_page(name):
    """A script that draws one page, with its settings from the query as in the app."""
    import importlib

    from agents.playground.app import read_language, read_link

    read_language()
    read_link()
    importlib.import_module(f"agents.playground.views.{name}").show()


def open_page(name, settings=None, **query):
    page = AppTest.from_function(one_page, args=(name,), default_timeout=60)
    if settings is not None:
        page.query_params["settings"] = to_link(settings)
    for key, value in query.items():
        page.query_params[key] = value
    return run(page)


def run(page):
    page.run()
    assert not page.exception, page.exception[0].message
    return page


def widget(page, kind, field):
    """The widget of a field, whatever restoration it is named after."""
    found = [w for w in getattr(page, kind) if w.key and re.fullmatch(rf"\w+\.{re.escape(field)}\.\d+", w.key)]
    assert len(found) == 1, f"{len(found)} widgets {field}"
    return found[0]


def press(page, key):
    next(button for button in page.button if button.key == key).click()
    return run(page)


def link(page):
    """The settings in the link that the page shows."""
    return from_link(re.search(r"settings=([\w-]+)", page.code[-1].value).group(1))


@pytest.fixture(scope="module")
def functions():
    return open_page("functions", SETTINGS)


def table(page):
    return page.table[0].value


def test_a_link_restores_the_settings_and_shows_their_race(functions):
    assert widget(functions, "multiselect", "optimizers").value == ["gd", "adam"]
    assert sorted(table(functions)["method"].str.removeprefix("★ ")) == ["Adam", "GD"]
    assert list(table(functions)["final loss"].astype(float)) == sorted(table(functions)["final loss"].astype(float))
    assert "iterations until loss ≤ 0.001" in table(functions).columns
    assert link(functions) == SETTINGS and not functions.error


def test_changed_settings_wait_for_run_and_then_apply(functions):
    before = table(functions)
    widget(functions, "number_input", "option.adam.lr").set_value(0.5)
    widget(functions, "slider", "iterations").set_value(40)
    run(functions)
    assert table(functions).equals(before) and "press Run" in functions.info[0].value
    press(functions, "functions:go")
    assert not table(functions).equals(before) and not functions.info
    assert link(functions).options == {"adam": {"lr": 0.5}} and link(functions).iterations == 40


def test_an_empty_selection_and_a_refused_option_get_a_sentence(functions):
    widget(functions, "multiselect", "optimizers").set_value([])
    press(functions, "functions:go")
    assert "choose at least one optimizer" in functions.error[0].value
    widget(functions, "multiselect", "optimizers").set_value(["sgd"])
    run(functions)
    widget(functions, "number_input", "option.sgd.momentum").set_value(0.0)
    widget(functions, "checkbox", "option.sgd.nesterov").check()
    press(functions, "functions:go")
    assert "Nesterov" in functions.error[0].value


def test_an_optimizer_that_diverges_at_once_is_said_to(functions):
    widget(functions, "multiselect", "optimizers").set_value(["gd"])
    run(functions)
    widget(functions, "number_input", "option.gd.lr").set_value(1000.0)
    press(functions, "functions:go")
    assert "diverged" in functions.warning[0].value and "diverged at iteration" in table(functions).iloc[0, -1]


def test_a_preset_applies_all_of_its_settings(functions):
    for name in ("L2 against none", "Long valley"):  # the second must leave nothing of the first
        next(w for w in functions.selectbox if w.key == "preset").set_value(name)
        run(functions)
        assert link(functions) == PRESETS[name].settings
        assert set(table(functions)["method"].str.removeprefix("★ ")) == {
            m.label for m in PRESETS[name].settings.methods()
        }


def test_another_function_has_its_own_domain(functions):
    widget(functions, "selectbox", "function").set_value("schwefel")
    run(functions)
    assert not functions.error and link(functions).function == "schwefel" and abs(link(functions).start[0]) > 5


def test_an_own_formula_is_raced_on_and_a_wrong_one_gets_a_sentence():
    page = open_page("functions", FunctionSettings(function="own", formula="x^2 + 2 y^2", optimizers=("gd", "adam")))
    assert not page.error and len(table(page)) == 2 and link(page).formula == "x^2 + 2 y^2"
    widget(page, "text_input", "formula").set_value("x^2 + foo(y)")
    assert "character 7" in run(page).error[0].value


def test_the_same_link_gives_the_same_table_in_another_session():
    assert table(open_page("functions", SETTINGS)).equals(table(open_page("functions", SETTINGS)))


def test_the_page_speaks_russian():
    page = open_page("functions", SETTINGS, language="Русский")
    assert page.header[0].value == RUSSIAN["Optimizers and controllers on test functions"]
    assert "метод" in table(page).columns


@pytest.mark.parametrize("text", ["nonsense", to_link(FunctionSettings())[:-3]])
def test_a_damaged_link_gets_a_sentence(text):
    from agents.playground import app

    def script(text):
        import streamlit as st

        from agents.playground import app

        st.query_params["settings"] = text
        app.read_link()
        st.write(st.session_state["link:error"])

    assert app.read_link
    page = run(AppTest.from_function(script, args=(text,)))
    assert "damaged" in page.markdown[0].value


def wait(page, key):
    for _ in range(4000):
        job = page.session_state[key]
        if not job.active:
            return run(page)
        job.events()
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def test_a_training_runs_paired_in_the_background_and_can_be_exported():
    settings = TrainingSettings(task="wine", steps=20, controllers=("neutral", "cosine"), shown="cosine")
    page = wait(open_page("training", settings), "training:job")
    assert sorted(table(page)["run"]) == ["AdamW", "AdamW + cosine"]
    assert link(page) == settings
    press(page, "training:keep")
    widget(page, "number_input", "lr").set_value(0.01)
    page = wait(press(page, "training:go"), "training:job")
    assert sorted(table(page)["run"]) == ["AdamW", "AdamW + cosine", "AdamW + cosine, lr 0.001", "AdamW, lr 0.001"]
    press(page, "training:forget")
    assert len(table(page)) == 2


def test_a_page_of_training_opens_with_a_run_and_stop_is_there_while_it_lasts():
    page = open_page("training", language="English")
    assert page.session_state["training:job"].settings == TrainingSettings()
    assert any(button.key == "training:stop" for button in page.button)
    page = press(page, "training:stop")
    assert not any(button.key == "training:stop" for button in page.button)


def test_a_net_is_shown_with_the_loss_around_its_path():
    page = wait(open_page("plane", PlaneSettings(task="wine", steps=20, controllers=("neutral", "ppo"))), "plane:job")
    assert not page.error and any("principal components" in caption.value for caption in page.caption)
    assert link(page).page == "plane"


def test_a_controller_learns_on_its_page():
    pytest.importorskip("stable_baselines3")
    page = wait(open_page("controller", LearnSettings(task="wine", steps=20, rollouts=1)), "controller:job")
    assert not page.error and sorted(table(page)["method"]) == ["AdamW", "AdamW + cosine", "AdamW + ppo"]
    assert link(page).page == "controller"


def test_stop_ends_a_training_and_the_page_goes_on():
    page = open_page("training", TrainingSettings(task="digits_mlp", steps=2000))
    page = press(page, "training:stop")
    assert page.session_state["training:job"].state == "stopped"
    assert widget(page, "slider", "steps").value == 2000


def test_a_training_without_controllers_gets_a_sentence():
    page = open_page("training", TrainingSettings(controllers=()))
    assert "choose at least one controller" in page.error[0].value


def test_a_sweep_shows_final_loss_by_rate():
    settings = SweepSettings(task="wine", steps=10, count=3, num_seeds=1, controllers=("neutral",))
    page = wait(open_page("learning_rate", settings), "learning_rate:job")
    assert list(table(page)["method"]) == ["AdamW"] and link(page) == settings


def test_the_reference_lists_everything_that_is_registered():
    from agents.playground.reference import SECTIONS
    from agents.registry import names
    from optenv.control.features import FEATURES
    from optenv.control.knobs import KNOBS
    from optenv.rewards import REWARDS
    from optenv.tasks.functions import FUNCTIONS

    listed = {name: [entry.name for entry in entries()] for name, entries in SECTIONS.items()}
    assert listed == {
        "Optimizers": list(OPTIMIZERS),
        "Controllers": names(),
        "Knobs": list(KNOBS),
        "Features": list(FEATURES),
        "Rewards": list(REWARDS),
        "Functions": [function.name for function in FUNCTIONS],
    }
    for entries in SECTIONS.values():
        for entry in entries():
            assert entry.what and entry.formula and entry.when and entry.source, entry.name
    page = open_page("reference")
    assert len(page.expander) == len(OPTIMIZERS)
    page.text_input[0].set_value("lion")
    assert any("lion" in label.label for label in run(page).expander)


def test_every_word_of_the_pages_has_a_russian_one():
    from agents.playground.app import PAGES
    from optenv.tasks.functions import FUNCTIONS

    files = [
        *FOLDER.glob("views/*.py"),
        *(FOLDER / f"{name}.py" for name in ("app", "landscape", "trainings", "lessons")),
    ]
    text = re.sub(r'"\s*\n\s*"', "", "\n".join(file.read_text() for file in files))
    used = set(re.findall(r'(?:say|translate|words)\(\s*["\']([^"\']+)["\']\s*\)', text))
    used |= {title for _, title in PAGES.values()}
    used |= {words for row in OPTIMIZERS.values() for words in (row.why, row.when)} | {row.why for row in FUNCTIONS}
    used |= set(re.findall(r'form\.\w+\(\s*["\']([^"\']+)["\'],', text))
    used |= {option.why for row in OPTIMIZERS.values() for option in row.options if option.why}
    used |= {words for preset in PRESETS.values() for words in (preset.name, preset.why)}
    logic = "\n".join(file.read_text() for file in FOLDER.glob("*.py"))
    used |= set(re.findall(r'(?:raise InvalidSetting\(|template =)\s*"([^"]+)"', logic))
    assert len(used) > 100 and sorted(used - set(RUSSIAN)) == []


def test_translations_keep_the_places_for_values():
    places = re.compile(r"{[^}]*}")
    assert all(sorted(places.findall(a)) == sorted(places.findall(b)) for a, b in RUSSIAN.items() if "{" in a)


def test_the_server_is_for_this_machine_alone_and_sends_no_statistics():
    from agents.cli import main
    from agents.playground.launch import command

    class Options:
        port, address, no_browser = 8501, "localhost", True

    flags = command(Options())
    assert "--server.address=localhost" in flags and "--browser.gatherUsageStats=false" in flags
    with pytest.raises(SystemExit, match="0"):
        main(["playground", "--help"])
