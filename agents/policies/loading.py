"""Loads controllers from policy files, those that ship by name; stands below the registry, so drop-ins can use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.policies.feed_forward.controller import FlatMlpController, MlpController
from agents.policies.garo.controller import GruController
from agents.policies.opt2vec.controller import WindowedMlpController
from agents.policies.recurrent.controller import LstmController
from optenv.control.controller import Controller
from optenv.control.policy_file import PolicyFile
from optenv.files import reading
from optenv.registry import Registry

POLICIES = (MlpController, FlatMlpController, LstmController, GruController, WindowedMlpController)
KINDS: Registry[Callable[[PolicyFile], Controller]] = Registry(
    "kind of controller", ((cls.kind, cls) for cls in POLICIES)
)

PRETRAINED = Path(__file__).parents[1] / "pretrained"


def pretrained_names() -> list[str]:
    """List the trained controllers that come with the package."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def pretrained(name_or_file: str | Path) -> Path:
    """Return the file of a trained controller: that which ships under the name, else the path itself."""
    own = PRETRAINED / f"{name_or_file}.safetensors"
    return own if own.is_file() else Path(name_or_file)


def load_policy(path: str | Path) -> Controller:
    """Read a policy file and build its controller.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, foreign, newer, or of an unknown kind.
    """
    file = PolicyFile.read(path)
    with reading(path, "a controller that this version knows"):
        return from_policy(file)


def from_policy(file: PolicyFile) -> Controller:
    """Build the controller of a policy file's content.

    Raises:
      ValueError: if it is of an unknown kind, or damaged.
    """
    return KINDS[file.kind](file)
