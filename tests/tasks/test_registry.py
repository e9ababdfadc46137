"""How names become tasks."""

import subprocess
import sys

import pytest

from optenv import tasks
from optenv.registry import Registry
from optenv.tasks import registry
from optenv.tasks.functions import FUNCTIONS, FunctionTask


@pytest.mark.parametrize(("split", "other"), [("train", "held_out"), ("held_out", "train")])
def test_a_task_of_ones_own_is_found_by_its_name_and_listed_in_its_split_alone(monkeypatch, split, other):
    monkeypatch.setattr(registry, "_entries", Registry("task", registry._entries))
    own = FunctionTask("own", FUNCTIONS[0])
    assert tasks.register(own, split=split) is own and tasks.get("own") is own
    assert tasks.names(split)[-1] == "own" and "own" not in tasks.names(other)


def test_what_is_held_out_is_of_no_family_that_is_trained_on():
    train = {type(tasks.get(name).member(0)) for name in tasks.names("train")}
    held_out = [tasks.get(name) for name in tasks.names("held_out")]
    assert not any(isinstance(task, tasks.Family) and type(task.member(0)) in train for task in held_out)


def test_get_returns_families_members_and_tasks_and_each_only_once():
    family = tasks.get("synthetic_classification")
    assert tasks.get("synthetic_classification:3") is family.member(3)
    assert tasks.get("digits_mlp") is tasks.get("digits_mlp")
    assert tasks.get("synthetic_classification:3").name == "synthetic_classification:3"


def test_get_returns_a_task_or_family_as_it_is():
    task, family = tasks.get("wine"), tasks.get("quadratic")
    assert tasks.get(task) is task
    assert tasks.get(family) is family


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("digits_mpl", "unknown task 'digits_mpl'.*Did you mean 'digits_mlp'"),
        ("quadratc:1", "unknown task 'quadratc'.*Did you mean 'quadratic'"),
        ("quadratic:one", "member of family 'quadratic': expected a number from 0 to 15, received 'one'"),
        ("quadratic:", "expected a number from 0 to 15, received ''"),
        ("quadratic:-1", "expected a number from 0 to 15, received '-1'"),
        ("quadratic:16", "family 'quadratic' has members 0 to 15, received 16"),
        ("wine:0", "task 'wine' is a single task: expected no member number, received '0'"),
    ],
)
def test_a_wrong_name_is_answered_with_what_was_expected(name, complaint):
    with pytest.raises(ValueError, match=complaint):
        tasks.get(name)


def test_get_refuses_what_is_no_name():
    with pytest.raises(TypeError, match="expected a name, a Task or a Family, received int"):
        tasks.get(3)


def test_unknown_splits_and_taken_names_are_refused():
    with pytest.raises(ValueError, match="unknown split 'test'; expected one of train, held_out"):
        tasks.names("test")
    with pytest.raises(ValueError, match="unknown split 'heldout'.*Did you mean 'held_out'"):
        tasks.register(tasks.get("wine"), split="heldout")
    with pytest.raises(ValueError, match="'wine': expected a new name"):
        tasks.register(tasks.get("wine"), split="held_out")


def test_importing_and_listing_tasks_loads_no_scikit_learn():
    code = "import sys; from optenv import tasks; [tasks.get(name) for name in tasks.names()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sklearn", "scipy", "matplotlib"} & set(loaded)
