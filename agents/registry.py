"""Controllers by name: made anew, or loaded from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from agents.policies.garo.controller import make as make_garo
from agents.policies.loading import from_policy, load_policy, pretrained, pretrained_names
from agents.policies.opt2vec.architecture import make as make_opt2vec
from agents.policies.optbrain.controller import OptBrainController
from agents.policies.optbrain.file import is_brain_file
from agents.rules.adaptive.controller import AdaptiveController
from agents.rules.auto import AutoController
from agents.rules.baselines import BestStatic, RandomScale, ReduceOnPlateau
from agents.rules.schedules import SCHEDULES, make_schedule
from optenv.control.controller import Controller, Neutral
from optenv.errors import needed_for, unknown_name
from optenv.files import reading
from optenv.registry import Registry

CONTROLLER, HUB = "controller.safetensors", "hf:"
MAKERS: Registry[Callable[..., Controller]] = Registry(
    "controller",
    {
        "neutral": Neutral,
        **{name: make_schedule(name) for name in SCHEDULES},
        "reduce_on_plateau": ReduceOnPlateau,
        "random": RandomScale,
        "best_static": BestStatic,
        "auto": AutoController,
        "adaptive": AdaptiveController,
        "garo": make_garo,
        "opt2vec": make_opt2vec,
        "optbrain": OptBrainController,
    }.items(),
)


def names() -> list[str]:
    """List what `load` accepts besides files: controllers made anew, then trained ones that ship."""
    return list(dict.fromkeys([*MAKERS, *pretrained_names()]))


def make(name: str, **options: Any) -> Controller:
    """Make an untrained controller.

    Args:
      name: one of `names()` that is not a trained one alone.
      **options: of its constructor, such as `warmup` of a schedule.

    Raises:
      ValueError: if none has that name.
    """
    return MAKERS[name](**options)


def _downloaded(repository: str) -> Path:
    """Return the controller file of a repository of the Hugging Face Hub; nothing else of it is fetched.

    Raises:
      ImportError: if `huggingface_hub` is not installed.
      ValueError: if there is no such repository, or no such file in it.
    """
    with needed_for("a controller of the Hugging Face Hub"):
        import huggingface_hub
    with reading(f"{HUB}{repository}", f"a repository of the Hugging Face Hub with {CONTROLLER}"):
        return Path(huggingface_hub.hf_hub_download(repository, CONTROLLER))


def _check_no_model(path: Path) -> None:
    """Check that a file is no model of stable-baselines3 or torch, and no folder.

    Raises:
      ValueError: if it is; it names the controller file of the training run, where there is one.
    """
    if path.is_dir():
        kind, beside = f"a folder without {CONTROLLER}", path / CONTROLLER
    elif _is_model(path):
        kind = "a saved model, as of stable-baselines3, whose pickles are never run"
        beside = path.with_name(CONTROLLER)
    else:
        return
    otherwise = (
        "Load the controller.safetensors that its training wrote, or write the model's: agents.export(model, path)"
    )
    there = f"Load {beside}" if beside.is_file() else otherwise
    raise ValueError(f"{path}: expected a controller file (.safetensors); received {kind}. {there}")


def _is_model(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        return is_zipfile(path) and any(not name.endswith(".npy") for name in ZipFile(path).namelist())
    except (BadZipFile, OSError, ValueError):
        return False


def load(name_or_file: str | Path | Any) -> Controller:
    """Load a controller by its name, trained where one ships, or from a policy file; nothing in the file is executed.

    Args:
      name_or_file: one of `names()`, or the path of a `.safetensors` file, or of a brain's `.npz`, or of a folder with
        a `controller.safetensors`, or "hf:user/repository" for that of a repository of the Hugging Face Hub; or a
        trained model of stable-baselines3 itself, see `agents.export`.

    Raises:
      FileNotFoundError: if it looks like a path and there is no such file.
      ValueError: if no controller has that name, or the file is damaged or made for something else.
    """
    if hasattr(name_or_file, "get_env"):
        from agents.policies.stable_baselines import policy_of

        return from_policy(policy_of(name_or_file))
    name = str(name_or_file)
    if name in pretrained_names():
        return load_policy(pretrained(name))
    if name in MAKERS:
        return make(name)
    if name.startswith(HUB):
        return load_policy(_downloaded(name.removeprefix(HUB)))
    if (inside := Path(name_or_file) / CONTROLLER).is_file():
        return load_policy(inside)
    _check_no_model(Path(name_or_file))
    if is_brain_file(name_or_file):
        return OptBrainController.from_file(name_or_file)
    if isinstance(name_or_file, Path) or "/" in name or name.endswith(".safetensors"):
        return load_policy(name_or_file)
    raise unknown_name("controller", name, names())
