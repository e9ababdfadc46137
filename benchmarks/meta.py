"""A meta-trained controller against its base optimizer at the best constant rate, on held-out tasks.

    python benchmarks/meta.py --agent garo
    python benchmarks/meta.py --agent opt2vec --optimizer adam
    python benchmarks/meta.py --agent opt2vec --suite mnist

For every task the base optimizer's constant rate is tuned over 15 rates, on seeds of their own, and
rerun on the seeds that the controllers, trained and untrained, get: equal weights, data and minibatches. Beside them
stands SGD with momentum under warm-up and cosine, its rate tuned likewise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import agents
from agents.benchmark import code_mark
from optenv.benchmark.driver import Workers
from optenv.benchmark.methods import BASELINES, REFERENCE, BenchmarkMethod, controller_method, tuned_method
from optenv.benchmark.report import write_comparison
from optenv.benchmark.run import constant
from optenv.benchmark.suites import SUITES
from optenv.benchmark.whole import open_store, run_suite
from optenv.control.controller import Controller

BASES = {"garo": ("sgd", {"weight_decay": 1e-4}, 1e-2), "opt2vec": ("adam", {}, 1e-2)}


def methods(trained: Controller, untrained: Controller, mark: str = "") -> list[BenchmarkMethod]:
    """Return the reference, the base optimizer at its best constant rate for each case, controllers, and tuned SGD."""
    return [
        tuned_method(REFERENCE, "the base optimizer, constant", constant),
        controller_method("trained", trained, mark=mark),
        controller_method("untrained", untrained, mark=mark),
        BASELINES["sgd_tuned"],
    ]


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
    parser.add_argument("--out", type=Path, default=Path("runs/meta"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    own, hyper, rate = BASES.get(options.agent, ("adamw", {}, 1e-3))
    optimizer = options.optimizer or own
    settings = tuple(hyper.items()) if optimizer == own else ()
    suite = replace(SUITES[options.suite], rates=(rate,), num_seeds=options.seeds)
    cases = tuple(replace(c, optimizer=optimizer, grouping=options.groups, options=settings) for c in suite.cases)
    file = options.file or options.agent
    compared = methods(agents.load(file), agents.make(options.agent), code_mark(file))
    with open_store(options.out) as store:
        results = run_suite(replace(suite, cases=cases), compared, store, Workers(jobs=options.workers))
    print("\n" + write_comparison(results, options.out / "meta"))


if __name__ == "__main__":
    main()
