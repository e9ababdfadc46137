"""The playground's main script: `streamlit run agents/playground/app.py`, or `optcontrol playground`."""

from __future__ import annotations

import streamlit as st

from agents.playground.settings import from_link
from agents.playground.views import common, functions, learning_rate, reference, training
from agents.playground.views.common import say

PAGES = {
    "functions": (functions.show, "Functions", ":material/landscape:"),
    "training": (training.show, "Training", ":material/model_training:"),
    "learning_rate": (learning_rate.show, "Learning rate", ":material/speed:"),
    "reference": (reference.show, "Reference", ":material/menu_book:"),
}


def main() -> None:
    """Draw the page that is asked for."""
    st.set_page_config(page_title="OptControl playground", layout="wide", initial_sidebar_state="expanded")
    read_language()
    read_link()
    pages = {
        name: st.Page(show, title=say(title), icon=icon, url_path=name, default=name == "functions")
        for name, (show, title, icon) in PAGES.items()
    }
    page = st.navigation(list(pages.values()), position="top")
    if (goto := st.session_state.pop("goto", None)) in pages and pages[goto] != page:
        st.switch_page(pages[goto])
    if "link:error" in st.session_state:
        st.error(st.session_state["link:error"])
    page.run()
    with st.sidebar:
        st.divider()
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
