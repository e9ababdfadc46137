"""Imports run one way, `import optenv` stays light, and no file knows whose machine it was written on."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Top to bottom. A room may import its own modules and any room of a lower row; rooms of one row do not know each other.
LAYERS = (
    ("agents",),
    ("optenv",),  # optenv/__init__.py, which names what users need
    ("optenv.benchmark",),
    ("optenv.env",),
    ("optenv.inner", "optenv.wrapper"),
    ("optenv.control", "optenv.tasks", "optenv.rewards", "optenv.figures"),
    ("optenv.errors",),
)
ROW = {room: row for row, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = {
    "matplotlib", "moviepy", "optuna", "pandas", "plotly", "pytorch_optimizer", "ray", "sb3_contrib", "sklearn",
    "stable_baselines3", "streamlit", "tensorboard", "transformers",
}  # fmt: skip
FILES = sorted(file for package in ("optenv", "agents") for file in (ROOT / package).rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """The room a dotted name lies in: 'optenv.make' lies in 'optenv', 'optenv.env.x' in 'optenv.env'."""
    parts = name.split(".")
    return "agents" if parts[0] == "agents" else next(r for r in (".".join(parts[:2]), parts[0]) if r in ROW)


def imported_names(file: Path, source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports from this project, at whatever depth of the code."""
    package = module_name(file) if file.name == "__init__.py" else module_name(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in ("optenv", "agents"))


def arrows_upward(file: Path, source: str) -> list[str]:
    """Every import of a file that does not point down, as 'file:line: room imports name'."""
    room = room_of(module_name(file))
    wrong = [(line, name) for line, name in imported_names(file, source) if not allowed(room, room_of(name))]
    return [f"{file.relative_to(ROOT)}:{line}: {room} imports {name}" for line, name in wrong]


def allowed(room: str, imported: str) -> bool:
    return room == imported or ROW[room] < ROW[imported]


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_every_module_of_optenv_lies_in_a_named_room(file):
    parts = module_name(file).split(".")
    assert parts[0] == "agents" or ".".join(parts[:2]) in ROW, f"{file.name} is in no row of LAYERS"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_point_down_only(file):
    assert arrows_upward(file, file.read_text()) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("optenv/tasks/mlp.py", "from optenv.control import knobs"),
        ("optenv/tasks/mlp.py", "from optenv import control"),
        ("optenv/tasks/mlp.py", "from .. import control"),
        ("optenv/tasks/__init__.py", "from ..env.vector_env import VectorEnv"),
        ("optenv/control/knobs.py", "def later():\n    import optenv.env"),
        ("optenv/env/vector_env.py", "from optenv import ControlledOptimizer"),
        ("optenv/benchmark/suite.py", "import agents.training"),
    ],
)
def test_an_arrow_upward_is_found(file, source):
    assert len(arrows_upward(ROOT / file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("optenv/tasks/mlp.py", "from optenv.errors import unknown_name\nfrom . import registry\nimport torch"),
        ("optenv/env/vector_env.py", "from optenv import inner, rewards\nfrom ..control import knobs"),
        ("optenv/__init__.py", "from .env import vector_env\nfrom optenv.wrapper import ControlledOptimizer"),
        ("agents/training.py", "import optenv\nimport agents.sb3"),
    ],
)
def test_an_arrow_downward_is_no_finding(file, source):
    assert arrows_upward(ROOT / file, source) == []


@pytest.mark.parametrize("package", ["optenv", "agents"])
def test_import_is_silent_and_light(package):
    code = f"import sys, {package}; sys.exit(' '.join(sorted({HEAVY!r} & set(sys.modules))) or None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", ""), f"import {package} printed, failed, or loaded what is listed above"


def test_no_file_names_a_path_of_the_machine_it_was_written_on():
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    private = re.compile(rb"(?<![\w.])/(home|root|work|Users)/\w")
    files = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    assert [str(file) for file in files if file.is_file() and private.search(file.read_bytes())] == []
