"""The playground's main script: `streamlit run agents/playground/app.py`, or `optcontrol playground`."""

from __future__ import annotations

import streamlit as st

from agents.playground.settings import from_link
from agents.playground.views import common, controller, functions, learning_rate, plane, reference, training
from agents.playground.views.common import say

PAGES = {
    "functions": (functions.show, "Functions"),
    "training": (training.show, "Training"),
    "learning_rate": (learning_rate.show, "Learning rate"),
    "plane": (plane.show, "Loss around a path"),
    "controller": (controller.show, "Train a controller"),
    "reference": (reference.show, "Reference"),
}
# The icons of Streamlit come from elsewhere; this one, a path into a valley, is in the page itself.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0072B2"/>'
    '<path d="M4 8 Q12 28 17 22 T28 25" fill="none" stroke="white" stroke-width="3"/>'
    '<circle cx="28" cy="25" r="3" fill="#E69F00"/></svg>'
)
# Title, words and figure on the first screen; buttons of a chart do not hide behind each other on a narrow one.
STYLE = """<style>
[data-testid=stMainBlockContainer] {padding: 3.6rem 2rem 3rem; max-width: 76rem}
[data-testid=stMainBlockContainer] h2 {font-size: 1.5rem; padding: 0.2rem 0}
[data-testid=stSidebarHeader] {height: 2.5rem}
[data-testid=stTable] td, [data-testid=stTable] th {padding: 0.25rem 0.5rem; overflow-wrap: anywhere}
[data-testid=stTable] td:not(:first-child):not(:last-child) {white-space: nowrap}
[data-testid=stFileUploaderDropzoneInstructions] {display: none}
@media (max-width: 640px) {
  [data-testid=stMainBlockContainer] {padding: 3.6rem 0.75rem 2rem}
  [data-testid=stTable] td, [data-testid=stTable] th {padding: 0.2rem 0.3rem; font-size: 0.78rem}
}
</style>"""


def main() -> None:
    """Draw the page that is asked for."""
    st.set_page_config(page_title="OptControl playground", layout="wide", initial_sidebar_state="auto")
    st.html(STYLE)
    read_language()
    read_link()
    pages = {
        name: st.Page(
            show, title=say(title), url_path=name if name != "functions" else "home", default=name == "functions"
        )
        for name, (show, title) in PAGES.items()
    }
    # The first page is served at the root alone; a link with its name leads there too.
    also = st.Page(functions.show_at_its_name, title=say("Functions"), url_path="functions", visibility="hidden")
    page = st.navigation([*pages.values(), also], position="top")
    st.set_page_config(page_title=f"{page.title} · OptControl", page_icon=ICON)
    if (goto := st.session_state.pop("goto", None)) in pages and pages[goto] != page:
        st.switch_page(pages[goto])
    if "link:error" in st.session_state:
        st.error(st.session_state["link:error"])
    page.run()
    with st.sidebar:
        common.upload()
        st.selectbox("Language / Язык", list(common.LANGUAGES), key="language")


def read_language() -> None:
    """Take the language from the link, once; from then on from the choice on the page."""
    asked = st.query_params.get("language", "English")
    st.session_state.setdefault("language", asked if asked in common.LANGUAGES else "English")
    st.session_state["language"] = st.session_state["language"]  # kept, though its widget comes late on the page


def read_link() -> None:
    """Restore the settings of a link once, when it is opened."""
    text = st.query_params.get("settings")
    if text is None or text == st.session_state.get("link:read"):
        return
    st.session_state["link:read"] = text
    st.session_state.pop("link:error", None)
    try:
        settings = from_link(text)
    except ValueError as error:
        st.session_state["link:error"] = common.sentence(error)
        return
    common.restore(settings)
    st.session_state["goto"] = settings.page


if __name__ == "__main__":
    main()
