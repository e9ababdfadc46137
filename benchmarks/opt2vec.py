"""What Opt2Vec costs and what it is worth: `python benchmarks/opt2vec.py`.

Cost: the time of `step()` on the digits perceptron (64-64-10), by CPU time, in rounds that alternate between the
optimizers, as a ratio to torch's Adam; and the peak memory of a process that trains with it.
Worth: final validation loss on the held-out suite over that of Adam at its best constant rate, tuned for each task
among 15 log-uniform rates on seeds of its own, then run on the seeds of the controllers (paired: equal
weights and minibatches); geometric means over seeds and tasks. Beside it stands the untrained policy.
"""

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import gmean
from tqdm import tqdm

import agents
import optenv
from agents import LightweightOpt2VecOptimizer
from optenv import tasks
from optenv.benchmark.run import constant, run_controller, run_schedule
from optenv.benchmark.suites import SUITES
from optenv.benchmark.tuning import tune
from optenv.control.controller import Controller
from optenv.inner.trainer import make_trainer

STEPS = 200
BASE_RATE = 1e-3


def stepper(make: Callable[[torch.nn.Module], torch.optim.Optimizer], **arguments: object) -> Callable[[], None]:
    """Return what takes `STEPS` steps on the digits perceptron, whose gradients stay as they are."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    for p in model.parameters():
        p.grad = 0.1 * torch.randn_like(p)
    optimizer = make(model)

    def run() -> None:
        for _ in range(STEPS):
            optimizer.step(**arguments)

    return run


def step_times(rounds: int) -> dict[str, tuple[float, float]]:
    """Return microseconds a step and the ratio to Adam's, medians over rounds."""
    loss = {"loss": torch.tensor(1.0)}

    def own(layers: bool = False, **options: object) -> Callable[[], None]:
        return stepper(
            lambda m: LightweightOpt2VecOptimizer(
                optenv.layer_groups(m) if layers else m.parameters(), pretrained="opt2vec", **options
            ),
            **loss,
        )

    runs = {
        "Adam": stepper(lambda m: torch.optim.Adam(m.parameters())),
        "Adam, fused": stepper(lambda m: torch.optim.Adam(m.parameters(), fused=True)),
        "Opt2Vec": own(),
        "Opt2Vec, a decision every 10 steps": own(steps_per_action=10),
        "Opt2Vec, a group for each layer": own(layers=True),
        "Opt2Vec on the unfused kernel": own(fused=False),
    }
    for run in runs.values():
        run()
    seconds = {name: np.empty(rounds) for name in runs}
    for r in range(rounds):
        for name, run in runs.items():
            begun = time.process_time()
            run()
            seconds[name][r] = time.process_time() - begun
    return {
        name: (float(np.median(s)) / STEPS * 1e6, float(np.median(s / seconds["Adam"]))) for name, s in seconds.items()
    }


def inference_time() -> float:
    """Return microseconds from a window of the past to the actions of two groups."""
    policy = agents.load("opt2vec")
    policy.reset(1, 2)
    window = np.random.default_rng(0).normal(size=policy.window.values.shape).astype(np.float32).reshape(1, 2, -1)
    heads, bias = policy.file.tensors["head_weight"].T, policy.file.tensors["head_bias"]
    times = []
    for _ in range(50):
        begun = time.process_time()
        for _ in range(200):
            np.tanh(policy.embed(window) @ heads + bias)
        times.append(time.process_time() - begun)
    return float(np.median(times)) / 200 * 1e6


def peak_memory() -> float:
    """Train the digits perceptron with Opt2Vec for 200 steps; return the process's peak memory so far in MB."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = LightweightOpt2VecOptimizer(model.parameters(), pretrained="opt2vec", total_steps=200)
    x, y = torch.randn(1500, 64), torch.randint(10, (1500,))
    for _ in range(200):
        batch = torch.randint(1500, (32,))
        loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worth(controllers: dict[str, Controller], suite_name: str, num_seeds: int) -> list[tuple[str, float, list[float]]]:
    """Return, for each task, Adam's best constant rate and every controller's loss over Adam's at that rate."""
    rows = []
    seeds = np.arange(num_seeds)
    for case in tqdm(SUITES[suite_name].cases, desc="held out"):
        trainer = make_trainer(tasks.get(case.task), "adam", case.grouping)
        rate = tune(trainer, constant, case.total)["final"]
        adam = run_schedule(trainer, constant, seeds, np.full(num_seeds, rate), case.total).loss
        ratios = []
        for controller in controllers.values():
            loss = run_controller(trainer, controller, seeds, np.full(num_seeds, BASE_RATE), case.total).loss
            ratios.append(gmean(loss / adam))
        rows.append((case.task, rate, ratios))
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="of the timings (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each task (default: %(default)s)")
    parser.add_argument("--suite", default="held_out", help="default: %(default)s")
    parser.add_argument("--policy", nargs="+", default=["opt2vec"], help="names or files (default: opt2vec)")
    parser.add_argument("--cost", action="store_true", help="the cost alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"peak memory of a training: {peak_memory():.0f} MB")
    print(f"inference, two groups: {inference_time():.1f} us\n")
    print("| optimizer | us a step | over Adam |\n| --- | --- | --- |")
    for name, (micro, ratio) in step_times(options.rounds).items():
        print(f"| {name} | {micro:.0f} | {ratio:.2f} |")
    if options.cost:
        return
    plain = agents.make("opt2vec")
    controllers: dict[str, Controller] = {
        **{name: agents.load(name) for name in options.policy},
        "untrained": plain,
        "untrained, from the base rate": agents.make("opt2vec", interface=replace(plain.interface, first_update=None)),
    }
    rows = worth(controllers, options.suite, options.seeds)
    print(f"\n| task | best rate | {' | '.join(controllers)} |\n" + "| --- " * (len(controllers) + 2) + "|")
    for task, rate, ratios in rows:
        print(f"| {task} | {rate:.1e} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    means = [gmean(np.array(column)) for column in zip(*(ratios for *_, ratios in rows), strict=True)]
    print("| **geometric mean** | | " + " | ".join(f"**{mean:.2f}**" for mean in means) + " |")


if __name__ == "__main__":
    main()
