"""What other packages provide is found by entry points; a package of the same name in its place is named."""

from __future__ import annotations

import sys
import warnings
from importlib.machinery import PathFinder
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path
from typing import Any

OURS = "optcontrol"
MARK = f'__project__ = "{OURS}"'  # in the __init__.py of every package of ours that others are likely to be named as


def load_entry_point(group: str, name: str) -> Any:
    """Return what an installed package provides.

    Where its package runs though another project's lies over it, a warning says so.

    Raises:
      ImportError: if no installed package has that entry point, or another package has the name of the one that has it.
    """
    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        raise ImportError(
            f"expected an installed package with the entry point {name!r} in {group!r}; found none. Install {OURS} anew"
        )
    package = found.module.partition(".")[0]
    try:
        loaded = found.load()
    except (ImportError, AttributeError) as error:
        if complaint := foreign_package(package):
            raise ImportError(complaint) from error
        raise
    if complaint := foreign_package(package):
        warnings.warn(complaint, stacklevel=2)
    return loaded


def foreign_package(package: str) -> str:
    """Say where another project's package lies that is imported by the name of one of ours; empty if it is ours."""
    loaded = sys.modules.get(package)
    origin = loaded.__file__ if loaded else getattr(PathFinder.find_spec(package), "origin", None)
    if origin and MARK in Path(origin).read_text(errors="replace"):
        return ""
    where = origin or list(getattr(loaded, "__path__", ["an unknown place"]))[0]
    others = [name for name in packages_distributions().get(package, []) if name != OURS]
    by = f", installed by {' and '.join(dict.fromkeys(others))}" if others else ""
    return (
        f"{package}: expected the package of {OURS}; received another of the same name: {where}{by}. "
        f"Only one of them can be imported: rename it or take it away, or install {OURS} in an environment of its own"
    )


def main() -> int:
    """Run the console script `optcontrol`; in place of one whose package is not there, say what is.

    Returns:
      The exit status.
    """
    try:
        command = load_entry_point("optcontrol.commands", "main")
    except ImportError as error:
        print(f"optcontrol: {error}", file=sys.stderr)
        return 2
    return int(command())
