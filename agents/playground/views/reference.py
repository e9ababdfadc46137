"""The page of reference: everything that has a name."""

from __future__ import annotations

import streamlit as st

from agents.playground.reference import SECTIONS, Entry
from agents.playground.views.common import say


def show() -> None:
    """Draw the page."""
    st.header(say("Reference"))
    st.caption(say("Drawn from the code's own rows and docstrings as it runs here."))
    if st.session_state.get("language", "English") != "English":
        st.caption(say("Formulas, code and what is drawn from docstrings are in English."))
    st.session_state["page"] = "reference"
    first = next(iter(SECTIONS))
    section = st.segmented_control(
        say("Section"), list(SECTIONS), default=first, key="section", required=True, format_func=say
    )
    wanted = st.text_input(say("Find"), key="find").strip().lower()
    entries = [entry for entry in SECTIONS[section or first]() if wanted in f"{entry.name} {entry.what}".lower()]
    if not entries:
        st.info(say("Nothing has that name."))
    for entry in entries:
        with st.expander(f"**{entry.name}** · {say(entry.what)}", expanded=len(entries) <= 3):
            _show(entry)


def _show(entry: Entry) -> None:
    if entry.formula:
        st.caption(say("Formula"))
        st.code(entry.formula, language="python" if "return" in entry.formula else None, wrap_lines=True)
    for title, text in (("When to use", say(entry.when)), ("Source", entry.source)):
        if text:
            st.markdown(f"**{say(title)}:** {text}")
    if entry.details:
        st.markdown(entry.details)
