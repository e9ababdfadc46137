"""Print how many inner steps per CPU second jax takes of stacked runs under XLA; run by a Python that has jax.

    python benchmarks/xla_steps.py INPUTS HIDDEN OUTPUTS BATCH EXAMPLES RUNS

AdamW on a perceptron, `vmap` over the runs and `scan` over the steps, without an environment; one thread.
"""

from __future__ import annotations

import os
import sys
import time
from statistics import median

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # where that is not heeded, CPU time still counts all threads

import jax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

STEPS, ROUNDS = 50, 7
LEARNING_RATE, DECAY, BETAS, EPS = 1e-3, 1e-2, (0.9, 0.999), 1e-8


def loss(params, x, y):
    """Return the mean cross-entropy of a perceptron."""
    (w0, b0), (w1, b1) = params
    logits = jax.nn.relu(x @ w0 + b0) @ w1 + b1
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()


def adamw(p, g, m, v, t):
    """Return parameter and averages after a step of AdamW."""
    m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
    step = m / (1 - BETAS[0] ** t) / (jnp.sqrt(v / (1 - BETAS[1] ** t)) + EPS)
    return p * (1 - LEARNING_RATE * DECAY) - LEARNING_RATE * step, m, v


def train(state, key, x, y, batch):
    """Take `STEPS` steps of one run."""

    def step(state, key):
        params, m, v, t = state
        rows = jax.random.randint(key, (batch,), 0, len(x))
        value, gradient = jax.value_and_grad(loss)(params, x[rows], y[rows])
        leaves, tree = jax.tree.flatten(params)
        each = zip(leaves, *map(jax.tree.leaves, (gradient, m, v)), strict=True)
        moved = [adamw(*own, t + 1.0) for own in each]
        params, m, v = (jax.tree.unflatten(tree, part) for part in zip(*moved, strict=True))
        return (params, m, v, t + 1.0), value

    return jax.lax.scan(step, state, jax.random.split(key, STEPS))


def main() -> None:
    """Measure."""
    inputs, hidden, outputs, batch, examples, runs = map(int, sys.argv[1:])
    keys = jax.random.split(jax.random.key(0), 5)
    x, y = jax.random.uniform(keys[0], (examples, inputs)), jax.random.randint(keys[1], (examples,), 0, outputs)
    shapes = ((runs, inputs, hidden), (runs, hidden, outputs))
    drawn = zip(shapes, keys[2:4], strict=True)
    params = [(0.1 * jax.random.normal(key, shape), jnp.zeros((runs, shape[-1]))) for shape, key in drawn]
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = params, zeros, zeros, jnp.zeros(runs)
    stacked = jax.jit(jax.vmap(lambda state, key: train(state, key, x, y, batch)))
    speeds = []
    for key in jax.random.split(keys[4], ROUNDS):
        start = time.process_time()
        state, values = stacked(state, jax.random.split(key, runs))
        jax.block_until_ready(values)
        speeds.append(runs * STEPS / (time.process_time() - start))
    print(median(speeds[1:]))  # the first compiles


if __name__ == "__main__":
    main()
