"""Commands killed at random moments: what is resumed has to end as what was left alone, nothing lost, nothing double.

    python benchmarks/kills.py [--kills 50] [--seed 0] [--job NAME ...]

Each job is a command of `optcontrol` with a tiny training or suite. It runs once undisturbed. Then it is killed, its
whole process group with signal 9, after a time drawn up to that run's, and started again as a user would, with
`--resume` where a training has begun, until its share of kills is reached; whenever it gets to its end it is compared
with the undisturbed run and begins anew. Equal means: the controller's tensors bit for bit; as many cells in the store,
with the same results; every cell that a kill left in the store still there as it was. Times and costs in seconds are
no results. Processes are forked from one that has all imports done, so that kills meet the work and not the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from agents.cli import main
from agents.training import reinforcement
from agents.training.garo import recipe as garo
from agents.training.hindsight import teacher
from agents.training.opt2vec import recipe as opt2vec
from agents.training.run_folder import CONTROLLER, SETTINGS
from optenv.benchmark.suites import SUITES, Case, Suite
from optenv.benchmark.whole import STORE
from optenv.control.policy_file import PolicyFile

TASKS = ("quadratic:0", "quadratic:1")
TIMED = ("seconds", "step_time", "memory")
SUITE = Suite(
    "tiny", tuple(Case(task, 5) for task in ("wine", "diabetes")), (1e-3, 1e-2), 1, methods=("tuned", "constant")
)
# What the recipes take from the command line is a matter of minutes; these take seconds.
SETTINGS_OF: dict[Any, Any] = {
    reinforcement: reinforcement.TrainSettings(
        tasks=TASKS, budgets=(40,), environments=1, workers=0, rollouts=8, hindsight=1, checkpoint_every=2
    ),
    garo: garo.GaroSettings(tasks=TASKS, budgets=(40,), hindsight=2, workers=1),
    opt2vec: opt2vec.Opt2VecSettings(
        tasks=TASKS, meta_steps=6, tasks_per_step=1, runs_per_task=1, inner_steps=(1,), imitated_inner_steps=(1,),
        fitting_steps=50, checkpoint_every=1, embedding_dim=8, hidden=8,
    ),
}  # fmt: skip
COMPARE = ["compare", "--suite", "tiny", "--controllers", "neutral", "cosine", "linear", "ppo", "--workers", "1"]
BENCHMARK = ["benchmark", "--suite", "tiny", "--controllers", "neutral", "ppo", "--baselines", "constant"]
JOBS = {
    **{name: ["train", "--agent", name, "--suite", "tiny", "--workers", "1"] for name in ("ppo", "garo", "opt2vec")},
    "compare": COMPARE,
    "benchmark": [*BENCHMARK, "--jobs", "1"],
}


def shorten() -> None:
    """Let the commands take seconds, and load what they load late."""
    SUITES["tiny"] = SUITE
    for recipe, settings in SETTINGS_OF.items():
        recipe.from_options = partial(_given, settings)
    garo.IMITATED, garo.RUNS, garo.FITTING_STEPS = 4, 4, 20
    teacher.fitting_steps = _few  # type: ignore[assignment]
    plt.close(plt.figure())


def _given(settings: Any, options: argparse.Namespace) -> Any:
    return settings


def _few(rows: int, batch: int) -> int:
    return 30


def kill_job(job: list[str], folder: Path, kills: int, draws: random.Random) -> dict[str, Any]:
    """Kill a job; return how often it was killed and came to its end, and what was wrong."""
    started = time.monotonic()
    if attempt([*job, "--out", str(folder / "whole" / "run")]) != 0:
        raise RuntimeError(f"{' '.join(job)}: expected an undisturbed run to end")
    seconds = time.monotonic() - started
    found: dict[str, Any] = {"kills": 0, "ends": 0, "seconds": round(seconds, 1), "faults": []}
    while found["kills"] < kills:
        victim = folder / str(found["ends"]) / "run"
        _to_its_end(job, victim, found, kills, lambda: draws.uniform(0.0, seconds))
        found["faults"] += [f"{victim}: {fault}" for fault in differences(folder / "whole" / "run", victim)]
    return found


def _to_its_end(job: list[str], victim: Path, found: dict[str, Any], kills: int, moment: Callable[[], float]) -> None:
    kept: dict[str, tuple] = {}
    while True:
        again = job[0] == "train" and (victim / SETTINGS).is_file()
        arguments = ["train", *job[3:], "--resume"] if again else [*job, "--out"]
        status = attempt([*arguments, str(victim)], moment() if found["kills"] < kills else None)
        now = cells(victim)
        found["faults"] += [f"{victim}: lost or changed {key}" for key in kept if kept[key] != now.get(key)]
        kept = now
        if status is not None:
            found["ends"] += 1
            found["faults"] += [f"{victim}: exit status {status}"] if status else []
            return
        found["kills"] += 1


def attempt(arguments: list[str], seconds: float | None = None) -> int | None:
    """Run a command in a process group of its own; None if it had to be killed after `seconds`."""
    pid = os.fork()
    if pid == 0:
        _child(arguments)
    deadline = time.monotonic() + (1e9 if seconds is None else seconds)
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    for kill in (os.killpg, os.kill):  # it may not have its group yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if status == -signal.SIGKILL else status


def _child(arguments: list[str]) -> None:
    status = 70
    try:
        os.setsid()
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        log = open(os.environ.get("KILLS_LOG", os.devnull), "a")  # noqa: SIM115
        os.dup2(log.fileno(), 2)
        status = main(arguments)
    finally:
        os._exit(status)


def cells(folder: Path) -> dict[str, tuple]:
    """Return the cells of a store by key, with when they were finished."""
    if not (folder / STORE).is_file():
        return {}
    with closing(sqlite3.connect(folder / STORE)) as connection, suppress(sqlite3.OperationalError):
        rows = connection.execute("SELECT key, task, method, result, finished FROM cells").fetchall()
        return {row[0]: tuple(row[1:]) for row in rows}
    return {}  # killed before it had a table


def differences(whole: Path, victim: Path) -> list[str]:
    """Return what differs between two finished folders."""
    one, other = (Counter(_result(*row[:3]) for row in cells(folder).values()) for folder in (whole, victim))
    faults = [f"missing {row}" for row in one - other] + [f"double or other {row}" for row in other - one]
    if (whole / CONTROLLER).is_file():
        left, right = (_tensors(folder / CONTROLLER) for folder in (whole, victim))
        faults += [f"tensor {name} differs" for name in left if not np.array_equal(left[name], right[name])]
    return faults


def _tensors(path: Path) -> Mapping[str, Any]:
    return PolicyFile.read(path).tensors


def _result(task: str, method: str, result: str) -> tuple[str, str, str]:
    values = {name: value for name, value in json.loads(result).items() if name not in TIMED}
    return task, method, json.dumps(values, sort_keys=True)


def run() -> int:
    """Kill every job its share of times, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of all jobs together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--job", nargs="+", default=list(JOBS), choices=JOBS, help="default: all")
    options = parser.parse_args()
    shorten()
    draws, total = random.Random(options.seed), Counter[str]()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for index, name in enumerate(options.job):
            share = options.kills // len(options.job) + (index < options.kills % len(options.job))
            found = kill_job(JOBS[name], Path(folder) / name, share, draws)
            faults += found.pop("faults")
            total.update({key: found[key] for key in ("kills", "ends")})
            print(f"{name:10} {json.dumps(found)}", flush=True)
    print(f"{total['kills']} kills, each resumed; {total['ends']} ends; {len(faults)} faults", *faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(run())
