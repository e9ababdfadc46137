"""Settings carried by links and files; every page has one kind of them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from agents.playground.fields import Settings
from agents.playground.function_settings import FunctionSettings
from agents.playground.run_settings import LearnSettings, PlaneSettings, SweepSettings, TrainingSettings
from agents.playground.validation import InvalidSetting
from optenv.files import read_json

MAX_BYTES = 100_000

KINDS = (FunctionSettings, TrainingSettings, SweepSettings, PlaneSettings, LearnSettings)
PAGES: dict[str, type[Settings]] = {cls.page: cls for cls in KINDS}


def from_dict(data: Any) -> Settings:
    """Return the settings that `Settings.to_dict` wrote; what is missing takes its default.

    Raises:
      ValueError: with a sentence for the page, if it is something else.
    """
    if isinstance(data, Mapping) and isinstance(data.get("settings"), Mapping):
        data = data["settings"]  # an export holds the settings beside its results
    if not isinstance(data, Mapping) or not isinstance(data.get("page"), str) or data["page"] not in PAGES:
        raise InvalidSetting("These are no settings of the playground.")
    kind = PAGES[data["page"]]
    known = {f.name for f in fields(kind)}
    for name in data:
        if name not in known | {"page"}:
            raise InvalidSetting("The settings hold {name!r}, which this page does not have.", name=name)
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items() if name in known}
    try:
        return kind(**values)
    except (TypeError, OverflowError) as error:
        raise InvalidSetting("These settings cannot be read: {error}.", error=error) from error


def to_link(settings: Settings) -> str:
    """Return the settings as a short text for a link: what differs from the defaults, packed."""
    default, own = type(settings)().to_dict(), settings.to_dict()
    different = {name: value for name, value in own.items() if name == "page" or value != default[name]}
    packed = zlib.compress(json.dumps(different, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_link(text: str) -> Settings:
    """Return the settings of a link.

    Raises:
      ValueError: with a sentence for the page, if it is damaged.
    """
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        stream = zlib.decompressobj()
        content = stream.decompress(packed, MAX_BYTES)  # no more than this, however packed
        if not stream.eof:
            raise ValueError("cut short")
        data = read_json(content)
    except (ValueError, zlib.error) as error:
        raise InvalidSetting("This link is damaged; its settings cannot be read.") from error
    return from_dict(data)


def from_file(content: bytes) -> Settings:
    """Return the settings of an uploaded file: settings alone, or an export that holds them.

    Raises:
      ValueError: with a sentence for the page, if it holds none.
    """
    try:
        data = read_json(content)
    except ValueError as error:
        raise InvalidSetting("This file is no JSON; its settings cannot be read.") from error
    return from_dict(data)
