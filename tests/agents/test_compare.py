"""Comparing controllers: paired runs, the report and the command."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

import agents
from agents.cli import main
from agents.report import format_comparison, run_suite
from optenv.benchmark.compare import Row, ratios
from optenv.benchmark.suites import Case, Suite
from optenv.figures import rate_figure

INF = float("inf")
TINY = ["--task", "quadratic:0", "wine", "--lr", "1e-3", "1e-2", "--seeds", "2", "--steps", "10", "--workers", "1"]


def test_one_command_compares_controllers_on_tasks_seeds_and_base_rates(tmp_path, capsys):
    controllers = ["neutral", "cosine", "adaptive", "best_static"]
    assert main(["compare", "--controllers", *controllers, *TINY, "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr()
    assert "| task | base rate | neutral | cosine | adaptive | best_static |" in printed.out
    assert "| wine | 1e-02 | " in printed.out and "10/10" in printed.err
    folder = tmp_path / "new"
    assert (folder / "comparison.md").read_text() in printed.out
    assert (folder / "comparison.png").stat().st_size > 10_000
    rows = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
    # Two tasks, two rates and two seeds for each controller; the tuned reference has a rate of its own.
    assert Counter(row["method"] for row in rows) == {**dict.fromkeys(controllers, 8), "tuned": 4}
    assert all(float(row["loss"]) > 0 for row in rows)


def test_losses_can_be_divided_by_those_of_a_controller(tmp_path, capsys):
    arguments = ["--controllers", "neutral", "linear", "--reference", "neutral", *TINY]
    assert main(["compare", *arguments, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "over that of neutral at the same base rate" in printed and "| wine | 1e-03 | 1.00 | " in printed
    assert "tuned" not in (tmp_path / "comparison.csv").read_text()


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
    monkeypatch.setattr("agents.report.run_suite", lambda methods, suite, **options: seen.append(suite) or [])
    monkeypatch.setattr("agents.report.write_comparison", lambda *arguments: "")
    main(["compare", "--controllers", "neutral", "--suite", "quick", "--out", str(tmp_path)])
    main(["compare", "--controllers", "neutral", "--suite", "quick", "--task", "wine", "digits_mlp", "--lr", "0.1"])
    whole, part = seen
    assert [case.task for case in whole.cases] == ["breast_cancer", "wine", "diabetes"] and whole.rates == (1e-4, 1e-2)
    assert part.cases == (Case("wine", 100), Case("digits_mlp", 200)) and part.rates == (0.1,) and part.num_seeds == 2


def test_methods_run_on_the_same_weights_and_minibatches_in_any_order():
    suite = Suite("tiny", (Case("quadratic:0", 8), Case("wine", 8)), rates=(1e-3, 1e-2), num_seeds=2)
    names = ("neutral", "constant", "cosine")
    rows = run_suite({name: agents.make(name) for name in names}, suite, tuned=False, workers=1, progress=False)
    loss = {(row.task, row.method, row.rate, row.seed): row.loss for row in rows}
    twins = [(task, rate, seed) for task, method, rate, seed in loss if method == "neutral"]
    assert all(loss[task, "neutral", rate, seed] == loss[task, "constant", rate, seed] for task, rate, seed in twins)
    again = run_suite({name: agents.make(name) for name in names[::-1]}, suite, tuned=False, workers=1, progress=False)
    assert {(row.task, row.method, row.rate, row.seed): row.loss for row in again} == loss


def test_as_many_methods_as_there_are_controllers_can_be_told_apart_in_the_picture():
    names = agents.names()
    (panel,) = rate_figure([1e-3, 1e-2], {"a": {name: [2.0, 1.0] for name in names}}).axes
    looks = {(line.get_color(), line.get_marker()) for line in panel.get_lines() if line.get_label() in names}
    assert len(looks) == len(names) > 7


def test_ratios_are_paired_by_seed_and_say_who_diverged():
    rows = [Row("a", "tuned", 0.3, seed, loss) for seed, loss in ((0, 1.0), (1, 4.0))]
    rows += [Row("a", "x", 0.1, seed, loss) for seed, loss in ((0, 2.0), (1, 2.0))]
    rows += [Row("a", "y", 0.1, 0, INF), Row("a", "y", 0.1, 1, 1.0)]
    assert ratios(rows, "x") == {"a": {0.1: pytest.approx(1.0)}}
    assert ratios(rows, "y") == {"a": {0.1: INF}}
    assert ratios(rows, "y", "x") == {"a": {0.1: INF}}
    assert np.isnan(ratios(rows, "x", "y")["a"][0.1])
    assert format_comparison(rows).splitlines()[2:] == [
        "| a | 1e-01 | 1.00 | diverged |",
        "| **geometric mean** |  | **1.00** | **diverged** |",
    ]
    assert "| a | 1e-01 | – |" in format_comparison(rows, "y")
