"""One wording for every complaint about a user's input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return ValueError(f"unknown {kind} {name!r}; expected one of {', '.join(names)}.{hint}")


def missing_extra(package: str, extra: str) -> ImportError:
    """Build the error for an optional package that is not installed.

    >>> print(missing_extra("matplotlib", "plot"))
    matplotlib is not installed; it comes with the extra 'plot': pip install "optcontrol[plot]"
    """
    command = f'pip install "optcontrol[{extra}]"'
    return ImportError(f"{package} is not installed; it comes with the extra '{extra}': {command}")
