"""One command from suites and controllers to a store, a table, CSV, pictures and a page; and again, from the store."""

import csv
import re
import sqlite3
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from agents.benchmark import controllers, suite_names
from agents.cli import main
from optenv.benchmark.methods import BASELINES
from optenv.benchmark.pictures import PICTURES
from optenv.benchmark.results import collect, summarise
from optenv.benchmark.scores import SCORES
from optenv.benchmark.store import Store
from optenv.benchmark.suites import SUITES, VARIANTS, Case, Suite
from optenv.benchmark.tables import format_rows, markdown

TINY = Suite("tiny", (Case("wine", 10), Case("quadratic:0", 8)), (1e-3, 1e-2), 2, "two tasks")
SMALL = Suite("small", (Case("wine", 6),), (1e-2,), 2, "one task", ("tuned", "constant"))
COMMAND = [
    "benchmark",
    "--controllers",
    "neutral",
    "reduce_on_plateau",
    "--baselines",
    "constant",
    "momo_adam",
    "--jobs",
    "1",
]


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr("optenv.benchmark.costs.ROUNDS", 1)
    monkeypatch.setattr("optenv.benchmark.costs.STEPS", 2)


@pytest.fixture
def suites(monkeypatch):
    monkeypatch.setitem(SUITES, "tiny", TINY)
    monkeypatch.setitem(SUITES, "small", SMALL)


@pytest.fixture
def lacking(monkeypatch):
    """One rival's package is missing."""
    monkeypatch.setitem(BASELINES, "momo_adam", replace(BASELINES["momo_adam"], missing="momo-opt"))


def finished(folder):
    with sqlite3.connect(folder / "cells.sqlite") as connection:
        found = dict(connection.execute("SELECT key, finished FROM cells"))
    connection.close()
    return found


def test_one_command_runs_reports_and_does_nothing_twice(tmp_path, capsys, suites, lacking, monkeypatch):
    folder = tmp_path / "new"
    monkeypatch.setattr("optenv.benchmark.report.PICTURES", {"rates": PICTURES["rates"]})  # all five: see below
    assert main([*COMMAND, "--suite", "tiny", "small", "--out", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "benchmark: 100%" in printed.err and "cells left" in printed.err
    assert (folder / "benchmark.md").read_text() in printed.out
    assert (
        "## tiny, with validation: two tasks; 2 tasks, 2 paired seeds, base rates 1e-03, 1e-02; reference: tuned"
        in printed.out
    )
    assert "momo_adam: not run, momo-opt is not installed" in printed.out
    assert re.search(r"\| neutral +\| \d+\.\d\d \|", printed.out)
    rows = list(csv.DictReader((folder / "runs.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} == set(SCORES)
    counts = Counter((row["suite"], row["method"]) for row in rows if row["score"] == "best")
    # Two tasks, two rates, two seeds; the reference has a rate of its own; a rule is no controller on other suites.
    assert counts == {
        ("tiny", "tuned"): 4,
        ("tiny", "constant"): 8,
        ("tiny", "neutral"): 8,
        ("tiny", "reduce_on_plateau"): 8,
        ("small", "tuned"): 2,
        ("small", "constant"): 2,
        ("small", "neutral"): 2,
    }
    ratios = [float(row["ratio"]) for row in rows if row["method"] == "tuned"]
    assert ratios == [1.0] * len(ratios)
    pictures = sorted(file.name for file in folder.glob("*.png"))
    assert pictures == [f"{suite}_{score}_rates.png" for suite in ("small", "tiny") for score in SCORES] and all(
        (folder / name).stat().st_size > 5_000 for name in pictures
    )
    before = finished(folder)
    assert main([*COMMAND, "--suite", "tiny", "small", "--out", str(folder)]) == 0
    assert finished(folder) == before


def test_the_page_is_whole_in_itself(tmp_path, suites):
    assert main([*COMMAND, "--suite", "small", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "benchmark.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', text)
    assert len(sources) == 2 * len(PICTURES) == 10 and all(
        source.startswith("data:image/png;base64,") for source in sources
    )
    assert not re.search(r"https?://|<script|@import|url\(", text)
    assert text.count("<table>") == text.count("</table>") >= 2 and "neutral" in text


def test_a_quick_benchmark_is_short_and_calibrates_one_rate_on_the_train_split(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("optenv.benchmark.whole.QUICK_STEPS", 4)
    monkeypatch.setitem(SUITES, "tiny", replace(TINY, cases=(Case("wine", 900),)))
    monkeypatch.setattr("optenv.benchmark.suites.QUICK_STEPS", 5)
    command = ["benchmark", "--suite", "tiny", "--controllers", "--baselines", "calibrated", "--quick", "--jobs", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert re.search(r"\| calibrated +\|", capsys.readouterr().out)
    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert {row["budget"] for row in rows} == {"5"}
    assert all(
        len({row["rate"] for row in rows if row["method"] == "calibrated" and row["score"] == s}) == 1 for s in SCORES
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--suite", "heldout"], "unknown suite 'heldout'.*Did you mean 'held_out'"),
        (["--controllers", "neutrall"], "unknown controller 'neutrall'"),
        (["--controllers", "nothing/here.safetensors"], "expected a controller file"),
        (["--baselines", "adam"], "unknown baseline 'adam'"),
        (["--backend", "slurm"], "unknown backend 'slurm'; expected one of loky, ray"),
        (["--jobs", "0"], "jobs: expected a positive number"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_run(arguments, complaint, tmp_path, capsys):
    assert main(["benchmark", *arguments, "--out", str(tmp_path / "never")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and re.search(complaint, printed) and not (tmp_path / "never").exists()


def test_all_means_the_held_out_suite_and_its_variants():
    assert suite_names(["all", "held_out"]) == ["held_out", *VARIANTS] and set(suite_names(["all"])) <= set(SUITES)


def test_a_trained_controller_brings_its_cost_and_a_mark_of_its_file():
    (ppo,) = controllers(["ppo"])
    assert ppo.role == "controller" and ppo.meta_seconds > 0 and len(ppo.mark) == 32


class Given:
    """A store that holds what it is given by method, the same for every case."""

    def __init__(self, losses):
        self._losses = losses

    def get(self, cell):
        if not hasattr(cell, "case") or cell.name not in self._losses:
            return None
        loss = np.array(self._losses[cell.name], float)  # [R, S]
        if cell.method.by_score:
            loss = np.repeat(loss, 2, axis=0)  # the same rate by both scores
        first, best = np.full_like(loss, 2.0), np.where(np.isfinite(loss), 0.5 * loss, 1.0)
        return {
            "rates": [1e-3, 1e-2][: len(loss)],
            "loss": loss,
            "first": first,
            "steps": [5, 10],
            **dict.fromkeys(("valid", "offered"), np.stack([best, loss])),
            "test_first": first,
            "test_best": best,
            "test_final": loss,
            "test_average": loss,
            "bound": 0.0,
            "seconds": 1.0,
        }


def test_the_table_says_what_the_runs_say():
    losses = {"tuned": [[1.0, 1.0]], "constant": [[2.0, 2.0], [1.0, np.inf]], "warmup_cosine": [[0.5, 0.5], [0.5, 1.0]]}
    suite = replace(TINY, cases=(Case("wine", 10),))
    methods = [BASELINES[name] for name in (*losses, "sgd_tuned")]
    results = collect(suite, methods, Given(losses), SCORES["final"])
    assert results.missing == {"sgd_tuned": "its runs are not finished"}
    rows = {row.method: row for row in summarise(results)}
    assert list(rows) == ["warmup_cosine", "tuned", "constant"]
    cosine, constant = rows["warmup_cosine"], rows["constant"]
    assert cosine.mean.value == pytest.approx(0.5**0.75) and cosine.improvement == 0.875 and cosine.reached == 1.0
    assert cosine.spread == pytest.approx(2**0.5) and cosine.steps == 0.5 and cosine.worst_task == "wine"
    # The run that diverged counts as 1000 times its first loss.
    assert constant.diverged == 1 and constant.mean.value == pytest.approx((2 * 2 * 1 * 2000) ** 0.25)
    assert constant.reached == 1.0 and constant.steps == 0.5
    assert np.isnan(rows["tuned"].spread) and rows["tuned"].mean.low == rows["tuned"].mean.high == 1.0
    # By their best weights no run is lost: the one that diverged had halved its loss before.
    best = {row.method: row for row in summarise(collect(suite, methods, Given(losses), SCORES["best"]))}
    assert best["constant"].diverged == 0 and best["constant"].mean.value == pytest.approx((2 * 2 * 1 * 2) ** 0.25)
    assert best["constant"].reached == 0.25 and best["constant"].steps == np.inf
    lines = markdown(("method",) + ("",) * 13, format_rows(list(rows.values()))).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_without_results_of_the_reference_there_is_no_report(tmp_path):
    with Store(tmp_path / "cells.sqlite") as store, pytest.raises(ValueError, match="reference with results 'tuned'"):
        collect(TINY, [BASELINES["constant"]], store, SCORES["best"])
