"""Conformance of a controller: what every host and every comparison relies on."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.registry import load as load_controller
from optenv.control.controller import Controller
from optenv.control.features import FEATURE_NAMES, bounds, num_run_features
from optenv.control.loop import ControlLoop

Array = np.ndarray
Make = Callable[[], Controller]
Load = Callable[[Path], Controller]
SIZES = ((1, 1), (3, 2), (2, 47))
STEPS = 6
LONG = 12
EPISODES = 300
# Policies compute in whatever order their matrix products choose, which differs with the size of a batch.
ROUNDING = 1e-5


class ConformanceError(AssertionError):
    """A controller does not do what every controller must; one line for each failure."""


def check_controller(make: Make, *, load: Load = load_controller, seed: int = 0) -> None:
    """Check that a controller keeps the contract of `optenv.control.controller.Controller`.

    Its actions have the shape [N, G, knobs] and are finite and in [-1, 1], for any number of groups and
    also for observations at their bounds; the order and the size of a batch do not matter; `reset`
    forgets; what `save` writes acts, and learns, as the controller does. With `neutral_untrained` it acts
    0 before it has learned; with `learns`, `learn` makes it better at a bandit, a reward that is not finite
    does not spoil it, and `state_dict` resumes it in the midst of a run. Of a learner, what concerns the
    order of a batch and forgetting holds before its first reward: it then explores, and its lessons stay.

    Args:
      make: makes the controller, always the same one.
      load: from a saved file back to a controller.
      seed: of the observations.

    Raises:
      ConformanceError: if it fails; it names every failure.
    """
    failures = []
    for check in CHECKS:
        try:
            failures += [f"{check.__name__}: {failure}" for failure in check(make, load, np.random.default_rng(seed))]
        except Exception as error:  # noqa: BLE001 - whatever a controller raises is a failure of its own
            failures.append(f"{check.__name__}: raised {type(error).__name__}: {error}")
    if failures:
        raise ConformanceError(f"{type(make()).__name__} does not conform:\n  " + "\n  ".join(failures))


def observations(
    generator: np.random.Generator,
    num_runs: int,
    num_groups: int,
    num_steps: int = STEPS,
    names: Sequence[str] = FEATURE_NAMES,
) -> Array:
    """Draw plausible views of N runs, [T, N, G, features] float32: a run's features are the same in all its groups."""
    low, high = bounds(1, names)
    drawn = generator.uniform(low, high, (num_steps, num_runs, num_groups, len(names))).astype(np.float32)
    of_run = num_run_features(names)
    drawn[..., :of_run] = drawn[:, :, :1, :of_run]
    known: dict[str, Any] = {"progress": np.linspace(0.0, 0.9, num_steps)[:, None, None], "horizon": 0.5}
    for name in known.keys() & set(names):
        drawn[..., names.index(name)] = known[name]
    return drawn


def play(controller: Controller, seen: Array) -> Array:
    """Let a controller act through an episode of views, [T, N, G, features], which it cannot write to."""
    controller.reset(*seen.shape[1:3])
    seen = seen.copy()
    seen.flags.writeable = False
    return np.stack([controller.act(view) for view in seen])


def valid_actions(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """Actions are finite, in [-1, 1] and of the right shape, for any number of groups."""
    controller = make()
    names = controller.interface.features
    low, high = bounds(1, names)
    for size in SIZES:
        extreme = np.stack([np.broadcast_to(x, (*size, len(low))) for x in (low, high, 0 * low, high, low)])
        start = ControlLoop(controller.interface, np.full(size[0], np.nan), size[1]).observe()[None]
        expected = (*size, len(controller.interface.knobs))
        for kind, seen in {
            "drawn": observations(generator, *size, names=names),
            "extreme": extreme,
            "first": start,
        }.items():
            action = play(controller, seen.astype(np.float32))
            if action.shape[1:] != expected:
                yield f"expected shape [runs, groups, knobs] = {expected}; received {action.shape[1:]}"
            elif not (np.abs(action) <= 1.0).all():
                yield f"expected numbers in [-1, 1] on {kind} observations; received {action.min()} to {action.max()}"


def batch_order(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """Run i acts the same wherever it stands in a batch, and alone."""
    seen, order = observations(generator, 5, 3, LONG, names=make().interface.features), generator.permutation(5)
    action = play(make(), seen)
    if not np.allclose(play(make(), seen[:, order]), action[:, order], atol=ROUNDING):
        yield "expected the actions of a batch in another order to be the same in that order"
    if not np.allclose(play(make(), seen[:, 2:3]), action[:, 2:3], atol=ROUNDING):
        yield "expected a run to act the same alone as in a batch"


def same_again(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """Two controllers made alike act alike, bit for bit."""
    seen = observations(generator, 3, 2, names=make().interface.features)
    if not np.array_equal(play(make(), seen), play(make(), seen)):
        yield "expected two controllers that are made alike to act alike; is their randomness seeded?"


def reset_forgets(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """What was observed before a reset has no effect after it."""
    controller, seen = make(), observations(generator, 3, 2, LONG, names=make().interface.features)
    expected = play(make(), seen)
    for size in ((3, 2), (2, 4)):
        play(controller, observations(generator, *size, LONG, names=make().interface.features))
        if not np.array_equal(play(controller, seen), expected):
            yield f"expected reset to forget an episode of [runs, groups] = {size}"


def saved_and_loaded(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """A loaded controller goes on as the saved one does; one with nothing to save says so by a TypeError."""
    controller, seen = make(), observations(generator, 3, 2, names=make().interface.features)
    play(controller, seen)
    controller.learn(np.ones(3), np.zeros(3, bool))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "controller.safetensors"
        try:
            controller.save(path)
        except TypeError:
            return
        if not path.is_file():
            yield f"expected save to write exactly {path.name}"
            return
        loaded = load(path)
    if loaded.interface != controller.interface:
        yield f"expected the interface {controller.interface}; received {loaded.interface}"
    if not np.array_equal(play(loaded, seen), play(controller, seen)):
        yield "expected the loaded controller to act as the saved one"
    for each in (controller, loaded):
        each.learn(-np.ones(3), np.ones(3, bool))
    if not np.array_equal(play(loaded, seen), play(controller, seen)):
        yield "expected the loaded controller to learn as the saved one"


def resumed(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """A learner's state, taken in the midst of a run, goes on as the learner does."""
    controller, other = make(), make()
    if not controller.learns:
        return
    seen = observations(generator, 3, 2, 2 * LONG, names=make().interface.features)
    play(controller, seen[:LONG])
    controller.learn(np.ones(3), np.zeros(3, bool))
    state = copy.deepcopy(controller.state_dict())
    other.reset(3, 2)
    other.load_state_dict(state)
    for view in seen[LONG:]:
        if not np.array_equal(controller.act(view), other.act(view)):
            yield "expected state_dict to hold all that a run under way depends on"
            return


def bad_rewards(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """A learner that is paid NaN or infinity goes on acting."""
    controller = make()
    if not controller.learns:
        return
    for reward in (np.nan, np.inf, -np.inf, 1.0):
        action = play(controller, observations(generator, 3, 2, names=make().interface.features))
        if not (np.abs(action) <= 1.0).all():
            yield f"expected numbers in [-1, 1] after bad rewards; received {action.min()} to {action.max()}"
            return
        controller.learn(np.array([reward, 0.0, 1.0]), np.zeros(3, bool))


def neutral_untrained(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """Where it promises so, every action before the first `learn` is exactly 0."""
    if make().neutral_untrained and play(make(), observations(generator, 3, 2, names=make().interface.features)).any():
        yield "expected actions of exactly 0 before anything was learned, as neutral_untrained promises"


def learning(make: Make, load: Load, generator: np.random.Generator) -> Iterator[str]:
    """Where it claims to learn, it closes half the gap of a bandit: reward minus the squared distance from 0.5."""
    controller = make()
    if not controller.learns:
        return
    rewards = [
        _episode(controller, observations(generator, 8, 2, names=make().interface.features)) for _ in range(EPISODES)
    ]
    late, neutral = np.mean(rewards[-EPISODES // 10 :]), -(0.5**2)
    if late < 0.5 * neutral:
        yield f"expected a mean reward of at least {0.5 * neutral} after {EPISODES} episodes; received {late:.3f}"


def _episode(controller: Controller, seen: Array) -> float:
    """Play and learn one episode, in which every knob of every group is paid alike; return the mean reward."""
    controller.reset(*seen.shape[1:3])
    rewards = []
    for step, view in enumerate(seen):
        rewards.append(-np.square(controller.act(view) - 0.5).mean(axis=(1, 2)))
        controller.learn(rewards[-1], np.full(len(rewards[-1]), step == len(seen) - 1))
    return float(np.mean(rewards))


CHECKS = (
    valid_actions,
    batch_order,
    same_again,
    reset_forgets,
    saved_and_loaded,
    resumed,
    neutral_untrained,
    bad_rewards,
    learning,
)
