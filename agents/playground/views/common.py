"""Shared by all pages: translation, settings behind widgets, errors, figures, exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import streamlit as st

from agents.playground.export import FORMATS, Exhibit
from agents.playground.fields import Settings
from agents.playground.russian import RUSSIAN
from agents.playground.settings import from_file, to_link
from agents.playground.validation import InvalidSetting
from optenv.figures.picture import Picture
from optenv.figures.plotly_animation import Words
from optenv.figures.plotly_canvas import plotly_figure

LANGUAGES: dict[str, dict[str, str]] = {"English": {}, "Русский": RUSSIAN}
CHART = {"displayModeBar": False, "responsive": True}
UPLOAD = "[data-testid=stFileUploaderDropzone]"
Say = Callable[[str], str]


def say(text: str) -> str:
    """Return a text in the language of this session; what has no translation stays English."""
    return LANGUAGES[st.session_state.get("language", "English")].get(text, text)


def sentence(error: Exception) -> str:
    """Return what went wrong as a sentence in the language of this session."""
    if isinstance(error, InvalidSetting):
        return say(error.template).format(**error.values)
    return f"{say('That did not work:')} {error}"


def restore(settings: Settings) -> None:
    """Make these the settings of their page, behind fresh widgets, and ask it to run; before its widgets are drawn."""
    st.session_state[f"{settings.page}:kept"] = settings
    st.session_state[f"{settings.page}:run"] = True
    _refresh(settings)


def _refresh(settings: Settings) -> None:
    st.session_state[f"{settings.page}:initial"] = settings
    st.session_state["version"] = st.session_state.get("version", 0) + 1


class Form:
    """A page's settings behind widgets.

    Every widget begins with the value that was restored, or kept when the page was left; what a person does to it from
    then on is Streamlit's to remember. A restored value goes to a fresh widget, named by the restoration's number.

    Attributes:
      initial: the settings that the widgets began with.
      values: what the widgets hold now, by field.
    """

    def __init__(self, default: Settings):
        """Begin a page, or go on with it."""
        self._kind, self._page = type(default), default.page
        self._fields = {own.name: own for own in fields(default)}
        if st.session_state.get("page") != self._page:
            _refresh(st.session_state.get(f"{self._page}:kept", default))
            st.session_state["page"] = self._page
        self.initial: Any = st.session_state[f"{self._page}:initial"]
        self.values: dict[str, Any] = {}

    def key(self, field: str) -> str:
        """Return the name of a field's widget."""
        return f"{self._page}.{field}.{st.session_state['version']}"

    def one(self, label: str, options: Sequence[str], field: str, value: Any = None, **more: Any) -> Any:
        """Show a choice of one among names; of a value that is not among them the first takes the place."""
        value = getattr(self.initial, field) if value is None else value
        index = options.index(value) if value in options else 0
        return self._hold(field, st.selectbox(say(label), options, index, key=self.key(field), **more))

    def several(self, label: str, options: Sequence[str], field: str, **more: Any) -> Any:
        """Show a choice of several among names."""
        value = list(getattr(self.initial, field))
        more = {"placeholder": say("choose")} | more
        return self._hold(field, tuple(st.multiselect(say(label), options, value, key=self.key(field), **more)))

    def text(self, label: str, field: str, **more: Any) -> str:
        """Show a field for a line of text."""
        return self._hold(field, st.text_input(say(label), getattr(self.initial, field), key=self.key(field), **more))

    def number(self, label: str, field: str, limits: Any = None, value: Any = None, **more: Any) -> Any:
        """Show a field for a number of any size, within the limits of the setting of that name, or others."""
        low, high = map(float, limits or self._fields[field].metadata["range"])
        value = getattr(self.initial, field) if value is None else value
        shown: Any = {"format": "%g", "step": 0.1} | more
        value = min(max(float(value), low), high)
        return self._hold(field, st.number_input(say(label), low, high, value, key=self.key(field), **shown))

    def whole(self, label: str, field: str, limits: Any = None, value: Any = None, **more: Any) -> Any:
        """Show a field for a whole number, likewise."""
        low, high = map(int, limits or self._fields[field].metadata["range"])
        value = getattr(self.initial, field) if value is None else value
        return self._hold(field, st.number_input(say(label), low, high, value, 1, key=self.key(field), **more))

    def slide(self, label: str, low: int, high: int, field: str, step: int = 10) -> Any:
        """Show a slider; it reaches as far as a restored value asks, in single steps where that is no multiple."""
        value = getattr(self.initial, field)
        step = step if value % step == 0 else 1
        return self._hold(
            field, st.slider(say(label), min(low, value), max(high, value), value, step, key=self.key(field))
        )

    def check(self, label: str, field: str, value: bool, **more: Any) -> bool:
        """Show a box to tick."""
        return self._hold(field, st.checkbox(say(label), value, key=self.key(field), **more))

    def segment(self, label: str, options: Sequence[str], field: str) -> Any:
        """Show names beside each other, of which one is pressed."""
        value = getattr(self.initial, field)
        value = value if value in options else options[-1]
        shown = st.segmented_control(
            say(label), options, default=value, key=self.key(field), required=True, format_func=say
        )
        return self._hold(field, shown or value)

    def _hold(self, field: str, value: Any) -> Any:
        self.values[field] = value
        return value

    def settings(self, **other: Any) -> Any:
        """Return the settings of the widgets, or say on the page why there are none.

        Args:
          **other: fields that are not one widget each.

        Returns:
          The settings, or None.
        """
        values = vars(self.initial) | {name: v for name, v in self.values.items() if name in self._fields} | other
        try:
            settings = self._kind(**values)
        except ValueError as error:
            st.error(sentence(error))
            return None
        st.session_state[f"{self._page}:kept"] = settings
        return settings


def what_a_controller_is() -> None:
    """Say in one sentence what a controller is, and how one is told from an optimizer in the figures."""
    st.markdown(
        say("A **controller** watches a run and turns the optimizer's learning rate and other knobs while it goes on.")
        + " "
        + say("In every figure the colour is the optimizer; a dashed line is the same optimizer under a controller.")
    )


def stand_out(labels: Sequence[str], name: str) -> list[str]:
    """Show the names of all lines, and return those chosen to stand out."""
    key = f"{name}:{hash(tuple(labels))}"
    return list(st.pills(say("Highlight"), labels, selection_mode="multi", key=key))


def chart(picture: Picture, name: str) -> None:
    """Show a picture."""
    figure = plotly_figure(picture, words())
    st.plotly_chart(figure, key=name, config=CHART, theme="streamlit")


def words(language: str = "") -> Words:
    """Return the words on an animation's controls, in the session's language or a given one."""
    translate = partial(translated, language) if language else say
    return Words(translate("Play"), translate("Pause"), translate("iteration"))


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Show rows as a table whose words wrap, so that it can be read on a narrow page."""
    st.table(rows, hide_index=True)


def exports(make: Callable[[Say], Exhibit], settings: Settings) -> None:
    """Show the downloads of what is on the screen, its link, and the way back from a file.

    Args:
      make: gathers what is on the screen, when a download is asked for, given what translates a word.
      settings: what it was made from.
    """
    st.subheader(say("Export"))
    st.caption(say("Numbers, picture or page of what is shown here, each with the settings that reproduce it."))
    language = st.session_state.get("language", "English")
    for column, (name, (write, ending, media)) in zip(st.columns(len(FORMATS)), FORMATS.items(), strict=True):
        column.download_button(
            name,
            partial(_written, write, make, language),
            f"optcontrol-{settings.page}.{ending}",
            media,
            key=f"{settings.page}:export:{name}",
            on_click="ignore",
            width="stretch",
        )
    st.caption(say("Link to these settings:"))
    base = (getattr(st.context, "url", None) or "").split("?")[0]
    chosen = "" if language == "English" else f"&language={language}"
    st.code(f"{base}?settings={to_link(settings)}{chosen}", language=None, wrap_lines=True)


def _written(write: Callable[[Exhibit], bytes], make: Callable[[Say], Exhibit], language: str) -> bytes:
    """Write a file outside of the page's thread, where the session's state is not at hand."""
    return write(replace(make(partial(translated, language)), words=words(language)))


def translated(language: str, text: str) -> str:
    """Return a text in a language."""
    return LANGUAGES[language].get(text, text)


def upload() -> None:
    """Show the way from a file of settings, or a JSON export, back to its page."""
    if (button := say("Upload")) != "Upload":  # Streamlit has this word in English alone
        st.html(
            f"<style>{UPLOAD} button p {{font-size: 0}} {UPLOAD} button p::after {{font-size: 0.875rem; "
            f"content: '{button}'}}</style>"
        )
    file = st.file_uploader(say("Settings from a file"), type="json", key="upload", on_change=_uploaded)
    if file is not None and "upload:error" in st.session_state:
        st.error(st.session_state["upload:error"])


def _uploaded() -> None:
    st.session_state.pop("upload:error", None)
    file = st.session_state.get("upload")
    if file is None:
        return
    try:
        settings = from_file(file.getvalue())
    except ValueError as error:
        st.session_state["upload:error"] = sentence(error)
        return
    restore(settings)
    st.session_state["goto"] = settings.page
