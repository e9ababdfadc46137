"""The import name `agents` is also that of openai-agents: whichever is found, it is said."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import agents
from optenv import entry_points
from optenv.entry_points import foreign_package, load_entry_point, main

ROOT = Path(__file__).parents[1]
PROVIDED = {
    "load": EntryPoint("load", "agents.registry:load", "optcontrol.controllers"),
    "main": EntryPoint("main", "agents.cli:main", "optcontrol.commands"),
}


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(entry_points, "entry_points", lambda group, name: [PROVIDED[name]])


@pytest.fixture
def foreign(installed, monkeypatch, tmp_path):
    """Another package `agents` first on the path, with the metadata of the distribution that brought it."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/__init__.py").write_text("class Agent: ...\n")
    (tmp_path / "openai_agents-1.0.dist-info").mkdir()
    (tmp_path / "openai_agents-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: openai-agents\n")
    (tmp_path / "openai_agents-1.0.dist-info/top_level.txt").write_text("agents\n")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(ROOT))])
    for name in [name for name in sys.modules if name.partition(".")[0] == "agents"]:
        monkeypatch.delitem(sys.modules, name)
    editable = [finder for finder in sys.meta_path if getattr(finder, "__module__", "").startswith("__editable__")]
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder not in editable])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "agents/__init__.py"
    for name in [name for name in sys.modules if name.partition(".")[0] == "agents"]:
        del sys.modules[name]


def test_our_own_package_is_no_foreign_one():
    assert foreign_package("agents") == ""


def test_loading_a_controller_by_name_names_the_foreign_package(foreign):
    with pytest.raises(ImportError) as caught:
        load_entry_point("optcontrol.controllers", "load")
    said = f"agents: expected the package of optcontrol; received another of the same name: {foreign}, installed by"
    assert str(caught.value).startswith(said) and "openai-agents. Only one of them" in str(caught.value)


def test_the_command_names_the_foreign_package_in_one_line(foreign, capsys):
    assert main() == 2
    printed = capsys.readouterr().err
    assert printed.startswith("optcontrol: agents: expected the package of optcontrol; ") and printed.count("\n") == 1


def test_a_folder_of_the_user_in_the_way_is_named_too(foreign):
    foreign.unlink()
    (foreign.parent.parent / "agents.py").write_text("")
    with pytest.raises(ImportError, match=r"received another of the same name: .*agents.py"):
        load_entry_point("optcontrol.controllers", "load")


def test_a_foreign_package_installed_over_ours_is_warned_of_while_ours_still_works(foreign):
    with foreign.open("a") as file:
        file.write(f"__path__.append({str(ROOT / 'agents')!r})\n")
    with pytest.warns(UserWarning, match="agents: expected the package of optcontrol; received another"):
        load = load_entry_point("optcontrol.controllers", "load")
    assert load("ppo").interface.knobs == ("scale", "second_moment")


def test_whatever_else_fails_in_our_package_is_not_blamed_on_another(installed, monkeypatch):
    monkeypatch.setitem(PROVIDED, "load", EntryPoint("load", "agents.no_such_module:load", "optcontrol.controllers"))
    with pytest.raises(ModuleNotFoundError, match="No module named 'agents.no_such_module'"):
        load_entry_point("optcontrol.controllers", "load")


def test_who_wants_the_other_package_and_finds_ours_is_told():
    with pytest.raises(ImportError, match="Agent: the package 'agents' imported here is optcontrol's"):
        from agents import Agent  # noqa: F401
    assert not hasattr(agents, "another_name")


def test_the_training_script_finds_its_own_package_first(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/__init__.py").write_text("raise SystemExit('foreign')")
    command = [sys.executable, str(ROOT / "train_agent.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 0, done.stderr
