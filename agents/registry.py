"""Controllers by name: made anew, or loaded from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.adaptive.controller import AdaptiveController
from agents.baselines import BestStatic, RandomScale, ReduceOnPlateau
from agents.garo.policy import make as make_garo
from agents.opt2vec.policy import make as make_opt2vec
from agents.optbrain.controller import OptBrainController
from agents.optbrain.file import is_brain_file
from agents.schedules import SCHEDULES, make_schedule
from optenv.control.controller import Controller, Neutral
from optenv.control.loading import load_policy
from optenv.errors import unknown_name

PRETRAINED = Path(__file__).parent / "pretrained"

MAKERS: dict[str, Callable[..., Controller]] = {
    "neutral": Neutral,
    **{name: make_schedule(name) for name in SCHEDULES},
    "reduce_on_plateau": ReduceOnPlateau,
    "random": RandomScale,
    "best_static": BestStatic,
    "adaptive": AdaptiveController,
    "garo": make_garo,
    "opt2vec": make_opt2vec,
    "optbrain": OptBrainController,
}


def names() -> list[str]:
    """List what `load` accepts besides files: controllers made anew, then trained ones that ship."""
    return list(dict.fromkeys([*MAKERS, *pretrained_names()]))


def pretrained_names() -> list[str]:
    """List the trained controllers that come with the package."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def make(name: str, **options: Any) -> Controller:
    """Make an untrained controller.

    Raises:
      ValueError: if none has that name.
    """
    if name not in MAKERS:
        raise unknown_name("controller", name, MAKERS)
    return MAKERS[name](**options)


def load(name_or_file: str | Path) -> Controller:
    """Load a controller by its name, trained where one ships, or from a policy file; nothing in the file is executed.

    Args:
      name_or_file: one of `names()`, or the path of a `.safetensors` file, or of a brain's `.npz`.

    Raises:
      FileNotFoundError: if it looks like a path and there is no such file.
      ValueError: if no controller has that name, or the file is damaged or made for something else.
    """
    name = str(name_or_file)
    if name in pretrained_names():
        return load_policy(PRETRAINED / f"{name}.safetensors")
    if name in MAKERS:
        return make(name)
    if is_brain_file(name_or_file):
        return OptBrainController.from_file(name_or_file)
    if isinstance(name_or_file, Path) or "/" in name or name.endswith(".safetensors"):
        return load_policy(name_or_file)
    raise unknown_name("controller", name, names())
