"""From a policy file to its controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optenv.control.controller import Controller
from optenv.control.gated import GruController
from optenv.control.history import HistoryController
from optenv.control.policy import MlpController, PolicyFile
from optenv.control.recurrent import LstmController
from optenv.errors import unknown_name

KINDS: dict[str, Callable[[PolicyFile], Controller]] = {
    cls.kind: cls for cls in (MlpController, LstmController, GruController, HistoryController)
}


def load_policy(path: str | Path) -> Controller:
    """Read a policy file and build its controller.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, foreign, newer, or of an unknown kind.
    """
    file = PolicyFile.read(path)
    if file.kind not in KINDS:
        raise unknown_name("kind of controller", file.kind, KINDS)
    return KINDS[file.kind](file)
