"""Embedding analysis: collect embeddings along runs, project them to a plane, colour them by properties of the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agents.policies.opt2vec.controller import WindowedMlpController
from agents.training.opt2vec.unroll import unroll
from optenv import tasks
from optenv.errors import needed_for
from optenv.figures import new_figure
from optenv.inner.trainer import BatchedTrainer, make_trainer
from optenv.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
PERPLEXITY = 30.0
TITLES = {"loss": "log10 final loss", "rate": "log10 rate over the first", "base rate": "log10 base rate"}


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of M moments: one for each decision, run and group.

    Attributes:
      vectors: [M, embedding_dim].
      labels: what is known of each moment, [M] each: "progress" through the budget; "loss", log10 of the
        final validation loss that its run is heading for over the median of its task; "rate", log10 of the
        group's learning rate in force over the run's first; "base rate", log10 of the run's base rate.
      task: the task of each moment, [M].
    """

    vectors: Array
    labels: dict[str, Array]
    task: Array


def collect(
    policy: WindowedMlpController,
    names: Sequence[str],
    *,
    total: int = 200,
    runs: int = 6,
    base_rates: tuple[float, float] = (1e-4, 1e-2),
    optimizer: str = "adam",
    seed: int = 0,
) -> Embeddings:
    """Collect embeddings along runs.

    Args:
      policy: what steers them.
      names: tasks.
      total: budget in inner steps.
      runs: of each task.
      base_rates: least and greatest base learning rate; the runs' are drawn log-uniformly between.
      optimizer: the base optimizer.
      seed: of runs and base rates.

    Raises:
      ValueError: if a name is that of no single task.
    """
    generator, parts = np.random.default_rng(seed), []
    for name in names:
        task = tasks.get(name)
        if not isinstance(task, tasks.Task):
            raise ValueError(f"task: expected a single task, such as '{name}:0'; received the family {name!r}")
        low, high = np.log(base_rates)
        rates = np.exp(low + (high - low) * generator.random(runs))
        seeds = generator.integers(2**62, size=runs)
        parts.append(_moments(policy, name, make_trainer(task, optimizer), seeds, rates, total))
    labels = {key: np.concatenate([part.labels[key] for part in parts]) for key in parts[0].labels}
    vectors, task_names = (np.concatenate([getattr(part, key) for part in parts]) for key in ("vectors", "task"))
    return Embeddings(vectors, labels, task_names)


def _moments(
    policy: WindowedMlpController, name: str, trainer: BatchedTrainer, seeds: Array, rates: Array, total: int
) -> Embeddings:
    done = unroll(trainer, policy, seeds, rates, total)
    shape = done.inputs.shape[:3]
    progress = np.concatenate([[0.0], np.cumsum(done.steps)[:-1]]) / total
    loss = np.log10(np.clip(done.loss, 1e-30, 1e30))
    column = policy.interface.knobs.index("scale")
    scale = (done.positions[..., column] - done.positions[:1, ..., column]) / np.log(10.0)
    labels = {
        "progress": np.broadcast_to(progress[:, None, None], shape),
        "loss": np.broadcast_to((loss - np.median(loss))[None, :, None], shape),
        "rate": scale,
        "base rate": np.broadcast_to(np.log10(rates)[None, :, None], shape),
    }
    vectors = policy.embed(done.inputs).reshape(-1, policy.embedding.shape[-1])
    return Embeddings(vectors, {key: value.ravel() for key, value in labels.items()}, np.repeat(name, len(vectors)))


def _pca(vectors: Array, seed: int) -> Array:
    with needed_for("a projection"):
        from sklearn.decomposition import PCA

    return PCA(2, random_state=seed).fit_transform(vectors)


def _tsne(vectors: Array, seed: int) -> Array:
    with needed_for("a projection"):
        from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


PROJECTIONS: Registry[Callable[[Array, int], Array]] = Registry("projection", [("PCA", _pca), ("t-SNE", _tsne)])


def project(vectors: Array, method: str, *, seed: int = 0) -> Array:
    """Project embeddings to a plane by scikit-learn, [M, E] to [M, 2].

    Args:
      vectors: at least 4.
      method: "PCA", or "t-SNE" (van der Maaten and Hinton 2008).
      seed: of its randomness.

    Raises:
      ValueError: if there is no such method.
    """
    return PROJECTIONS[method](vectors, seed)


def embedding_figure(found: Embeddings, *, most: int = 3000, seed: int = 0) -> Figure:
    """Draw every projection, a row each, once for every label, coloured by it.

    Args:
      found: the embeddings.
      most: moments that are drawn; of more, this many are chosen at random.
      seed: of the choice and the projections.

    Raises:
      ImportError: if matplotlib or scikit-learn is not installed.
    """
    chosen = np.random.default_rng(seed).permutation(len(found.vectors))[:most]
    figure = new_figure(3.1 * len(found.labels), 2.9 * len(PROJECTIONS))
    panels = figure.subplots(len(PROJECTIONS), len(found.labels), squeeze=False)
    for row, method in zip(panels, PROJECTIONS, strict=True):
        x, y = project(found.vectors[chosen], method, seed=seed).T
        for panel, (label, values) in zip(row, found.labels.items(), strict=True):
            low, high = np.percentile(values, (2, 98))  # a few extreme moments would leave one colour to the rest
            dots = panel.scatter(x, y, c=values[chosen], s=4, linewidths=0, cmap="viridis", vmin=low, vmax=high)
            figure.colorbar(dots, ax=panel, shrink=0.8).ax.tick_params(labelsize=7)
            panel.set_title(f"{method}, by {TITLES.get(label, label)}", fontsize=9)
            panel.set_xticks([])
            panel.set_yticks([])
    return figure
