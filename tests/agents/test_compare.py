"""Comparing controllers: paired runs, the report and the command."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

import agents
from agents.benchmark import controllers
from agents.cli import main
from optenv.benchmark.driver import Workers
from optenv.benchmark.scores import SCORES
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Case, Suite
from optenv.benchmark.whole import run_suite
from optenv.figures import draw, rate_picture

TINY = ["--task", "quadratic:0", "wine", "--lr", "1e-3", "1e-2", "--seeds", "2", "--steps", "10", "--workers", "1"]


def test_one_command_compares_controllers_on_tasks_seeds_and_base_rates(tmp_path, capsys):
    names = ["neutral", "cosine", "adaptive", "best_static"]
    command = ["compare", "--controllers", *names, *TINY, "--out", str(tmp_path / "new")]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert re.search(r"\| task +\| base rate \| neutral +\| cosine +\| adaptive +\| best_static +\|", printed.out)
    assert re.search(r"\| wine +\| 1e-02 +\| ", printed.out) and re.search(r"\| tuned +\| 1.00 +\|", printed.out)
    folder = tmp_path / "new"
    assert (folder / "comparison.md").read_text() in printed.out
    assert all((folder / f"comparison_{score}.png").stat().st_size > 10_000 for score in SCORES)
    rows = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
    # Two scores, two tasks, two rates and two seeds for each controller; the tuned reference has a rate of its own.
    assert Counter(row["method"] for row in rows) == {**dict.fromkeys(names, 16), "tuned": 8}
    assert all(float(row["loss"]) > 0 for row in rows)
    with Store(folder / "cells.sqlite") as store:
        cells = len(store)
        assert main([*command[:2], "neutral", "constant", *command[6:]]) == 0
        assert len(store) == cells + 2  # what was there is not run again


def test_losses_can_be_divided_by_those_of_a_controller(tmp_path, capsys):
    arguments = ["--controllers", "neutral", "linear", "--reference", "linear", *TINY]
    assert main(["compare", *arguments, "--out", str(tmp_path)]) == 0
    assert "reference: linear" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"neutral", "linear"}
    loss = {(row["score"], row["method"], row["task"], row["rate"], row["seed"]): float(row["loss"]) for row in rows}
    for row in rows:  # at the same base rate and seed
        other = loss[row["score"], "linear", row["task"], row["rate"], row["seed"]]
        assert float(row["ratio"]) == pytest.approx(float(row["loss"]) / other, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--controllers", "neutrall"], "unknown controller 'neutrall'.*Did you mean 'neutral'"),
        (["--controllers", "neutral", "--task", "wines"], "unknown task 'wines'.*Did you mean 'wine'"),
        (["--controllers", "neutral", "--task", "quadratic"], "expected a single task, such as 'quadratic:0'"),
        (["--controllers", "neutral", "--optimizer", "adamv"], "unknown optimizer 'adamv'"),
        (["--controllers", "neutral", "--groups", "layers"], "unknown groups 'layers'"),
        (["--controllers", "neutral", "--reference", "cosine"], "unknown reference 'cosine'"),
        (["--controllers", "neutral", "--lr", "-1"], r"--lr: expected positive numbers; received \[-1.0\]"),
        (["--controllers", "neutral", "--steps", "0"], "--steps: expected positive numbers"),
        (["--controllers", "neutral", "--suite", "quik"], "unknown suite 'quik'.*Did you mean 'quick'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_run(arguments, complaint, tmp_path, capsys):
    assert main(["compare", *arguments, "--out", str(tmp_path / "never")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and not (tmp_path / "never").exists()
    assert re.search(complaint, printed)


def test_what_is_not_given_is_the_suites(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("agents.compare.run_suite", lambda suite, *arguments, **options: seen.append(suite))
    monkeypatch.setattr("agents.compare.write_comparison", lambda *arguments: "")
    out = ["--out", str(tmp_path)]
    main(["compare", "--controllers", "neutral", "--suite", "quick", *out])
    main(
        ["compare", "--controllers", "neutral", "--suite", "quick", "--task", "wine", "digits_mlp", "--lr", "0.1", *out]
    )
    whole, part = seen
    assert [case.task for case in whole.cases] == ["breast_cancer", "wine", "diabetes"] and whole.rates == (1e-4, 1e-2)
    assert part.cases == (Case("wine", 100), Case("digits_mlp", 200)) and part.rates == (0.1,) and part.num_seeds == 2


def test_methods_run_on_the_same_weights_and_minibatches_in_any_order(tmp_path):
    suite = Suite("tiny", (Case("quadratic:0", 8), Case("wine", 8)), rates=(1e-3, 1e-2), num_seeds=2)
    losses = []
    for order in (("neutral", "constant", "cosine"), ("cosine", "constant", "neutral")):
        with Store(tmp_path / f"{order[0]}.sqlite") as store:
            best, _ = run_suite(suite, controllers(order), store, Workers(jobs=1), reference="neutral", progress=False)
        losses.append({name: runs.loss for name, runs in best.runs.items()})
    np.testing.assert_array_equal(losses[0]["neutral"], losses[0]["constant"])
    for name, loss in losses[0].items():
        np.testing.assert_array_equal(loss, losses[1][name])


def test_as_many_methods_as_there_are_controllers_can_be_told_apart_in_the_picture():
    names = agents.names()
    (panel,) = draw(rate_picture([1e-3, 1e-2], {"a": {name: [2.0, 1.0] for name in names}})).axes
    looks = {(line.get_color(), line.get_marker()) for line in panel.get_lines() if line.get_label() in names}
    assert len(looks) == len(names) > 7
