"""One wording for every complaint about a user's input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LONGEST = 200  # characters of a name that is quoted


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Build the error for a name that no registry holds.

    Args:
      kind: what was being looked up, such as "knob".
      name: what was asked for.
      known: every name that would have been right.

    Returns:
      The exception, to be raised by the caller.

    >>> print(unknown_name("knob", "scal", ["scale", "clip"]))
    unknown knob 'scal'; expected one of scale, clip. Did you mean 'scale'?
    """
    names, name = list(known), name if len(repr(name)) <= LONGEST else repr(name)[:LONGEST] + " ..."
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return ValueError(f"unknown {kind} {name!r}; expected one of {', '.join(names)}.{hint}")


# The top module of an optional package, the name that pip knows, and the extra that brings it.
OPTIONAL = {
    "huggingface_hub": ("huggingface-hub", "share"),
    "joblib": ("joblib", "train"),
    "lightning": ("lightning", "trainers"),
    "matplotlib": ("matplotlib", "plot"),
    "optuna": ("optuna", "sweep"),
    "plotly": ("plotly", "playground"),
    "pytorch_optimizer": ("pytorch-optimizer", "playground"),
    "ray": ("ray", "ray"),
    "sb3_contrib": ("sb3-contrib", "train"),
    "sklearn": ("scikit-learn", "train"),
    "stable_baselines3": ("stable-baselines3", "train"),
    "streamlit": ("streamlit", "playground"),
    "tensorboard": ("tensorboard", "plot"),
    "transformers": ("transformers", "trainers"),
}


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    """Build the error for an optional package that is not installed.

    Args:
      package: the name that pip knows.
      extra: what brings it.
      purpose: what needs it, the beginning of the sentence.

    >>> print(missing_extra("matplotlib", "plot", "a picture"))
    a picture needs matplotlib, and matplotlib is not installed: pip install "optcontrol[plot]"
    """
    return ImportError(f'{purpose} needs {package}, and {package} is not installed: pip install "optcontrol[{extra}]"')


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Import optional packages within this block; one that is not installed is named with its extra.

    Args:
      purpose: what needs them, the beginning of the sentence.

    Raises:
      ImportError: in place of Python's own, if a package among `OPTIONAL` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        found = OPTIONAL.get((error.name or "").partition(".")[0])
        if found is None:
            raise
        raise missing_extra(*found, purpose) from error
