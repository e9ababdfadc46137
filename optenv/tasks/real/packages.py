"""Packages that carry data: they come with the extra `data`, and their files are read without importing them."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from optenv.errors import missing_extra


def package(name: str) -> Distribution:
    """Return an installed package by the name that pip knows.

    Raises:
      ImportError: if it is not installed; it names the extra to install.
    """
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise missing_extra(name, "data", "the data of this task") from None


def data_file(name: str, path: str) -> Path:
    """Return where a file of an installed package is.

    Args:
      name: of the package, such as "scikit-image".
      path: as in "skimage/data/coffee.png".

    Raises:
      ImportError: if the package is not installed.
    """
    return Path(str(package(name).locate_file(path)))
