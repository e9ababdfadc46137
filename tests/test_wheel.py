"""A built wheel holds everything the packages need, and imports without the source tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "optenv", "agents")
SHIPPED = ("*.py", "py.typed", "*.safetensors", "*.json", "*.md")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The content of a wheel built from a copy of the sources, so that the tree stays clean."""
    copy, unpacked = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("unpacked")
    for name in SOURCES:
        place = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        place(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (copy / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(unpacked)
    return unpacked


def test_every_file_of_the_packages_is_in_the_wheel(unpacked):
    files = {
        file.relative_to(ROOT) for name in ("optenv", "agents") for p in SHIPPED for file in (ROOT / name).rglob(p)
    }
    assert {str(file) for file in files if not (unpacked / file).is_file()} == set()


@pytest.mark.parametrize("package", ["optenv", "agents"])
def test_a_built_wheel_imports_without_the_source_tree(unpacked, package):
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", f"import {package}; print({package}.__file__)"]
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(unpacked / package / "__init__.py"), "")
