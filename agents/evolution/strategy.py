"""An evolution strategy: antithetic Gaussian perturbations, fitness in units of its task, Adam on the estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8
BEST, WORST = -1.0, 3.0
SPREAD = 0.05


@dataclass(frozen=True)
class Strategy:
    """Settings of the search.

    Attributes:
      sigma: standard deviation of the perturbations.
      learning_rate: of Adam at the first generation; it falls linearly to a tenth.
      averaging: memory of the average of the iterates, which is what a training returns.
    """

    sigma: float = 0.07
    learning_rate: float = 0.015
    averaging: float = 0.9


@dataclass(frozen=True)
class Search:
    """Where a search stands.

    Attributes:
      mean: the present weights, [D].
      average: exponential average of them, [D].
      first: Adam's average of the estimates, [D].
      second: Adam's average of their squares, [D].
      generation: steps taken.
    """

    mean: Array
    average: Array
    first: Array
    second: Array
    generation: int = 0

    @classmethod
    def start(cls, mean: Array) -> Search:
        """Begin at `mean`, [D]."""
        return cls(mean, mean, np.zeros_like(mean), np.zeros_like(mean))


def directions(seed: tuple[int, ...], pairs: int, size: int) -> Array:
    """Draw perturbations of unit variance, [pairs, D], a function of the seed alone."""
    return np.random.default_rng(seed).standard_normal((pairs, size))


def antithetic(mean: Array, drawn: Array, sigma: float) -> Array:
    """Return the members of a population, [2 pairs, D]: mean + sigma e for every direction e, then mean - sigma e."""
    return mean + sigma * np.concatenate([drawn, -drawn])


def utility(losses: Array) -> Array:
    """Turn final losses into what members earn on one task.

    Per seed, u = -clip(log loss - median over the population, -1, 3), the mean over seeds. Near the median that is
    the logarithm of a geometric mean, whatever the unit of the loss. Beyond it a run whose loss falls by ten
    decades earns no more than one an e-fold lower, and a diverged run costs three times that: if it cost no more
    than a good run earns, the search would learn to gamble.

    Args:
      losses: final validation losses, [K, S]; not finite where a run diverged.

    Returns:
      [K], in nats.

    >>> utility(np.array([[1.0], [1.0], [0.5], [2.0], [np.inf]])).round(2).tolist()
    [0.0, 0.0, 0.69, -0.69, -3.0]
    """
    finite = np.isfinite(losses)
    log = np.where(finite, np.log(np.maximum(np.where(finite, losses, 1.0), 1e-30)), np.inf)
    middle = np.median(log, axis=0)
    # Where most diverged, those that did not earn the most.
    away = np.where(np.isfinite(middle), log - np.where(np.isfinite(middle), middle, 0.0), np.where(finite, BEST, 0.0))
    return 0.0 - np.clip(away, BEST, WORST).mean(axis=1)


def standardised(earned: Array) -> Array:
    """Return utilities, [K], in units of their own spread.

    Where a rate decides over decades of loss, members differ by nats, and where data are noisy by hundredths;
    both kinds of task are to count. Spreads far below `SPREAD`, in nats, are not worth as much.
    """
    return earned / (earned.std() + SPREAD)


def estimate(drawn: Array, earned: Array, sigma: float) -> Array:
    """Return the estimated gradient of the utility, [D].

    g = sum over pairs of e (u(mean + sigma e) - u(mean - sigma e)) / (2 sigma pairs)   (Salimans et al. 2017)

    Args:
      drawn: directions e, [pairs, D].
      earned: utilities of `antithetic`'s members, [2 pairs].
      sigma: standard deviation of the perturbations.
    """
    up, down = np.split(earned, 2)
    return drawn.T @ (up - down) / (2.0 * sigma * len(drawn))


def ascend(search: Search, gradient: Array, strategy: Strategy, generations: int) -> Search:
    """Take one step of Adam (Kingma and Ba 2015) up an estimated gradient.

    Args:
      search: where the search stands.
      gradient: [D].
      strategy: its settings.
      generations: length of the whole search, over which the learning rate falls.
    """
    t = search.generation + 1
    first = BETA1 * search.first + (1.0 - BETA1) * gradient
    second = BETA2 * search.second + (1.0 - BETA2) * np.square(gradient)
    direction = first / (1.0 - BETA1**t) / (np.sqrt(second / (1.0 - BETA2**t)) + EPSILON)
    rate = strategy.learning_rate * (1.0 - 0.9 * search.generation / generations)
    mean = search.mean + rate * direction
    memory = min(strategy.averaging, search.generation / t)  # the plain mean at first
    return Search(mean, memory * search.average + (1.0 - memory) * mean, first, second, t)
