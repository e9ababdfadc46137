"""Imports run one way, `import optenv` stays light, and no file knows whose machine it was written on."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Top to bottom. A room may import its own modules and any room of a lower row; rooms of one row do not know each other.
LAYERS = (
    ("agents.__main__",),
    ("agents.cli",),
    ("agents.compare",),
    ("agents.playground", "agents.benchmark", "agents.describe", "agents.plot", "agents.card"),
    ("agents",),  # agents/__init__.py, which names what users need
    ("agents.training", "agents.gym_adapter"),
    ("agents.check", "agents.arguments"),
    ("agents.registry",),
    ("agents.policies", "agents.rules"),
    ("optenv",),  # optenv/__init__.py, which names what users need
    ("optenv.benchmark", "optenv.integrations"),
    ("optenv.env",),
    ("optenv.inner", "optenv.wrapper"),
    ("optenv.control", "optenv.tasks", "optenv.rewards", "optenv.figures"),
    ("optenv.registry", "optenv.files", "optenv.registration", "optenv.entry_points"),
    ("optenv.errors",),
)
ROW = {room: row for row, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = {
    "gymnasium", "joblib", "matplotlib", "moviepy", "optuna", "pandas", "plotly", "pytorch_optimizer", "ray",
    "sb3_contrib", "scipy", "sklearn", "stable_baselines3", "streamlit", "tensorboard", "transformers",
}  # fmt: skip
FILES = sorted(file for package in ("optenv", "agents") for file in (ROOT / package).rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """The room a dotted name lies in: 'optenv.make' lies in 'optenv', 'optenv.env.x' in 'optenv.env'."""
    parts = name.split(".")
    return next(room for room in (".".join(parts[:2]), parts[0]) if room in ROW)


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


def imports_of_files(sources: dict[Path, str]) -> dict[str, set[str]]:
    """The files that every file imports, by module name; those that only a type checker imports count too."""
    modules = {module_name(file) for file in sources}

    def file_of(name: str) -> str:
        return name if name in modules or "." not in name else file_of(name.rpartition(".")[0])

    found = {}
    for file, source in sources.items():
        found[module_name(file)] = {file_of(name) for _, name in imported_names(file, source)} - {module_name(file)}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of the graph, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_every_module_lies_in_a_named_room(file):
    assert ".".join(module_name(file).split(".")[:2]) in ROW, f"{file.name} is in no row of LAYERS"


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
        ("optenv/benchmark/suite.py", "import agents.training.reinforcement"),
        ("agents/policies/garo/controller.py", "from agents.registry import load"),
        ("agents/rules/schedules.py", "from agents.policies import networks"),
        ("agents/training/imitation.py", "import agents"),
        ("agents/registry.py", "from agents import training"),
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
        ("agents/training/imitation.py", "import optenv\nfrom agents.policies.networks import normalise"),
        ("agents/cli.py", "from agents import benchmark\nfrom agents.playground import launch"),
    ],
)
def test_an_arrow_downward_is_no_finding(file, source):
    assert arrows_upward(ROOT / file, source) == []


def test_no_files_import_each_other_in_a_circle():
    assert circle(imports_of_files({file: file.read_text() for file in FILES})) == []


def test_a_circle_is_found_though_only_a_type_checker_walks_it():
    sources = {
        ROOT / "optenv/env/a.py": "from optenv.env.b import B",
        ROOT / "optenv/env/b.py": "from optenv.env import c",
        ROOT / "optenv/env/c.py": "if TYPE_CHECKING:\n    from optenv.env.a import A",
    }
    assert set(circle(imports_of_files(sources))) == {"optenv.env.a", "optenv.env.b", "optenv.env.c"}
    del sources[ROOT / "optenv/env/c.py"]
    assert circle(imports_of_files(sources)) == []


def test_no_class_name_is_given_twice():
    places: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module_name(file))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


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
