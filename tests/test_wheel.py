"""The source archive, and the wheel built from it, hold what the packages need and work without the source tree."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import optenv

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "optenv", "agents")
SHIPPED = ("*.py", "py.typed", "*.safetensors", "*.json", "*.md", "*.csv")
NEEDED = {"torch", "gymnasium", "numpy", "safetensors", "tqdm"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a source archive, built from a copy of the sources, and of the wheel built from that archive."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        place = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        place(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder into which pip has installed the wheel alone."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(folder), str(wheel)]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(folder, *command):
    """Run Python where the installed packages come first and the source tree is not on the path."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=folder, env=environment, capture_output=True, text=True
    )


def shipped():
    return {file.relative_to(ROOT) for name in ("optenv", "agents") for p in SHIPPED for file in (ROOT / name).rglob(p)}


def test_every_file_of_the_packages_is_in_the_wheel_and_in_the_source_archive(built, wheel):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        sources = {str(Path(*Path(name).parts[1:])) for name in file.getnames()}
    names = {str(file) for file in shipped()}
    assert names - set(zipfile.ZipFile(wheel).namelist()) == set()
    assert {*names, "pyproject.toml", "README.md", "LICENSE"} - sources == set()


def test_nothing_else_is_in_the_wheel(wheel):
    others = set(zipfile.ZipFile(wheel).namelist()) - {str(file) for file in shipped()}
    assert {Path(name).parts[0] for name in others} == {f"optcontrol-{optenv.__version__}.dist-info"}


def test_the_metadata_are_complete_and_ask_for_little(wheel):
    (name,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    found = email.message_from_bytes(zipfile.ZipFile(wheel).read(name))
    assert (found["Name"], found["Version"]) == ("optcontrol", optenv.__version__)
    assert (found["License-Expression"], found["License-File"]) == ("MIT", "LICENSE")
    assert all(found[field] for field in ("Summary", "Keywords", "Author", "Requires-Python", "Classifier"))
    assert found["Description-Content-Type"] == "text/markdown" and "# OptControl" in found.get_payload()
    always = [entry for entry in found.get_all("Requires-Dist") if "extra ==" not in entry]
    assert {re.match(r"[\w-]+", entry)[0] for entry in always} == NEEDED
    assert {"train", "plot", "playground", "data", "trainers"} <= set(found.get_all("Provides-Extra"))


STEER = """
import agents, optenv, torch
print(optenv.__file__, agents.__file__)
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
optimizer = optenv.ControlledOptimizer(torch.optim.AdamW(model.parameters(), lr=0.1), "ppo", total_steps=40)
losses = []
for _ in range(40):
    loss = model(torch.ones(8, 3)).square().mean()
    loss.backward(); optimizer.step(loss=loss); optimizer.zero_grad()
    losses.append(loss.item())
print(len(optimizer.history), losses[-1] < losses[0])
"""


def test_an_installed_package_steers_by_a_controller_s_name_without_the_source_tree(installed):
    done = run(installed, "-c", STEER)
    first, second = done.stdout.splitlines()
    assert first.split() == [str(installed / package / "__init__.py") for package in ("optenv", "agents")], done.stderr
    assert second == "40 True"


def test_the_installed_command_runs_and_names_another_package_installed_over_ours(installed, tmp_path):
    command = str(installed / "bin/optcontrol")
    assert "ppo" in run(installed, command, "list").stdout
    shutil.copytree(installed / "optenv", tmp_path / "optenv")
    shutil.copytree(next(installed.glob("*.dist-info")), tmp_path / "optcontrol.dist-info")
    (tmp_path / "agents.py").touch()
    done = run(tmp_path, command, "list")
    assert done.returncode == 2
    assert done.stderr.startswith("optcontrol: agents: expected the package of optcontrol; received another")
