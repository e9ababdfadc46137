"""A meta-trained controller against its base optimizer at the best constant rate, on held-out tasks.

    python benchmarks/meta.py --agent garo
    python benchmarks/meta.py --agent opt2vec --optimizer adam

For every task the base optimizer's constant rate is tuned over 15 rates, on seeds of their own, and
rerun on the seeds that the controllers, trained and untrained, get: equal weights, data and minibatches.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

import agents
from optenv.benchmark.compare import REFERENCE, Row, check_case, geometric_mean, ratios, run_case, tune
from optenv.benchmark.run import constant, make_trainer
from optenv.benchmark.suites import Case, Suite, get_suite
from optenv.control.controller import Controller

BASES = {"garo": ("sgd", {"weight_decay": 1e-4}, 1e-2), "opt2vec": ("adam", {}, 1e-2)}
TRAINED, UNTRAINED = "trained", "untrained"


def reference(case: Case, suite: Suite) -> list[Row]:
    """Run the base optimizer at its best constant rate for this case, on the suite's seeds."""
    trainer = make_trainer(check_case(case), case.optimizer, case.grouping, **dict[str, Any](case.options))
    tuned = replace(suite, rates=(tune(trainer, constant, case.total),))
    return run_case(case, REFERENCE, constant, tuned)


def measure(case: Case, suite: Suite, trained: Controller, untrained: Controller) -> list[Row]:
    """Run the tuned reference and both controllers on a case."""
    import torch

    torch.set_num_threads(1)
    rows = reference(case, suite)
    return [*rows, *run_case(case, TRAINED, trained, suite), *run_case(case, UNTRAINED, untrained, suite)]


def table(rows: Sequence[Row]) -> str:
    """Return final validation loss over the tuned reference's, geometric mean over seeds, as Markdown."""
    found = {method: {task: values.popitem()[1] for task, values in ratios(rows, method).items()}
             for method in (TRAINED, UNTRAINED)}  # fmt: skip
    rates = {row.task: row.rate for row in rows if row.method == REFERENCE}
    lines = ["| task | best constant rate | trained | untrained |", "| --- | --- | --- | --- |"]
    lines += [f"| {t} | {rates[t]:.2g} | {found[TRAINED][t]:.3f} | {found[UNTRAINED][t]:.3g} |" for t in sorted(rates)]
    means = [geometric_mean(np.array(list(by_task.values()))) for by_task in found.values()]
    return "\n".join([*lines, f"| **geometric mean** | | **{means[0]:.3f}** | **{means[1]:.3g}** |"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--agent", default="garo", help="a controller that can be made and ships (default: %(default)s)"
    )
    parser.add_argument("--file", type=Path, default=None, help="a policy file in place of the one that ships")
    parser.add_argument("--optimizer", default=None, help="the base optimizer (default: the agent's own)")
    parser.add_argument("--suite", default="held_out", help="tasks and budgets (default: %(default)s)")
    parser.add_argument("--groups", default="layer", help="layer or model (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="paired seeds (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--csv", type=Path, default=None, help="where to write every run")
    options = parser.parse_args()
    own, hyper, rate = BASES.get(options.agent, ("adamw", {}, 1e-3))
    optimizer = options.optimizer or own
    suite = replace(get_suite(options.suite), rates=(rate,), num_seeds=options.seeds)
    settings = tuple(hyper.items()) if optimizer == own else ()
    cases = [replace(c, optimizer=optimizer, grouping=options.groups, options=settings) for c in suite.cases]
    trained, untrained = agents.load(options.file or options.agent), agents.make(options.agent)
    jobs = (delayed(measure)(case, suite, trained, untrained) for case in sorted(cases, key=lambda c: -c.total))
    found = Parallel(n_jobs=options.workers, return_as="generator")(jobs)
    rows = [row for part in tqdm(found, total=len(cases), desc="measure") for row in part]
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(map(asdict, rows))
    print(
        f"\nFinal validation loss over that of {optimizer} at its best constant rate, {options.seeds} paired seeds:\n"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
