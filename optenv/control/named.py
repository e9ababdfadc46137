"""Controllers by name: other packages provide them, this one only asks."""

from __future__ import annotations

from typing import Any

from optenv.control.controller import Controller
from optenv.entry_points import load_entry_point

GROUP = "optcontrol.controllers"


def load_controller(name_or_file: Any) -> Controller:
    """Load a controller by the entry point "load" of the group `optcontrol.controllers`, such as `agents.load`.

    Raises:
      ImportError: if no installed package has that entry point, or another package is imported in its place.
      ValueError: if the controller is unknown, or its file damaged.
      FileNotFoundError: if there is no such file.
    """
    try:
        load = load_entry_point(GROUP, "load")
    except ImportError as error:
        raise ImportError(f"controller {str(name_or_file)!r}: {error}; or hand over a Controller") from error
    return load(name_or_file)
