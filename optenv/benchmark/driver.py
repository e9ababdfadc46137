"""The driver: hands cells to processes or to a cluster through joblib, and writes each result as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from optenv.benchmark.store import Store, Work
from optenv.errors import needed_for
from optenv.registry import Registry

ATTEMPTS = 3
PURPOSE = "running on several processes"
RAY_BACKEND = "optcontrol_ray"


@dataclass(frozen=True)
class Workers:
    """Where cells are run.

    Attributes:
      backend: "loky" for processes of this machine, or "ray" for a cluster.
      jobs: cells at a time; -1 for one per core of the machine or the cluster.
      ray_address: of a running cluster, "auto" for that of this machine; None starts one here.
      gpus: GPUs that a cell on a cluster takes, 0 hides them from it; a fraction lets cells share one.
    """

    backend: str = "loky"
    jobs: int = -1
    ray_address: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Check the backend.

        Raises:
          ValueError: if it is unknown, or the number of jobs neither positive nor -1.
        """
        _ = BACKENDS[self.backend]
        if self.jobs < -1 or self.jobs == 0:
            raise ValueError(f"jobs: expected a positive number, or -1 for all cores; received {self.jobs}")


def run_cells(
    cells: Sequence[Work], store: Store, workers: Workers, *, progress: bool = True, title: str = "benchmark"
) -> None:
    """Run the cells that the store does not hold yet, and write each one as soon as it is finished.

    A cell that is lost with its worker, or its whole node, is run again, twice at most.

    Args:
      cells: what is to be there in the end.
      store: where it is written, by this process alone.
      workers: where they are run.
      progress: whether to show a progress bar; it counts estimated work, and so does its estimate of the time left.
      title: of the bar.

    Raises:
      ValueError: if a cell is wrong in itself.
      RuntimeError: if workers were lost three times.
    """
    total = sum(round(cell.work) for cell in cells)
    with tqdm(
        total=total,
        desc=title,
        disable=not progress,
        smoothing=0.0,
        file=sys.stderr,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    ) as bar:
        left = store.missing(cells)
        bar.initial = bar.n = total - sum(round(cell.work) for cell in left)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _run_missing(left, store, workers, bar)
                return
            except _losses_of_workers() as error:
                left = store.missing(cells)
                if attempt == ATTEMPTS:
                    raise RuntimeError(f"benchmark: workers were lost {ATTEMPTS} times; {error}") from error
                bar.write(
                    f"benchmark: a worker was lost ({type(error).__name__}); {len(left)} cells are left",
                    file=sys.stderr,
                )


def _run_missing(cells: Sequence[Work], store: Store, workers: Workers, bar: Any) -> None:
    waiting = {cell.key: cell for cell in cells}
    for key, result in run_in_parallel(_named, list(waiting.items()), workers):
        cell = waiting.pop(key)
        store.put(cell, result)
        bar.set_postfix_str(f"{len(waiting)} cells left", refresh=False)
        bar.update(round(cell.work))


def _named(item: tuple[str, Work]) -> tuple[str, dict[str, Any]]:
    return item[0], item[1].run()


def run_in_parallel(function: Callable[[Any], Any], items: Sequence[Any], workers: Workers) -> Iterator[Any]:
    """Yield what `function` returns for every item, in the order they finish."""
    if not items:
        return
    with needed_for(PURPOSE):
        from joblib import Parallel, delayed
    with in_force(workers):
        # Small pre-dispatch and batches: what waits in a queue is lost with it.
        parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
        yield from parallel(delayed(function)(item) for item in items)


def in_force(workers: Workers) -> AbstractContextManager:
    """Return a context within which joblib hands work to `workers`.

    Raises:
      ImportError: if a package that this needs is not installed.
    """
    with needed_for(PURPOSE):
        return BACKENDS[workers.backend](workers)


def _loky(workers: Workers) -> AbstractContextManager:
    from joblib import parallel_config

    if workers.jobs == 1:
        return parallel_config(backend="sequential", n_jobs=1)
    # Inner threads would fight over the cores that the processes fill.
    return parallel_config(backend="loky", n_jobs=workers.jobs, inner_max_num_threads=1)


def _ray(workers: Workers) -> AbstractContextManager:
    with needed_for("running on a cluster"):
        import ray
        from joblib import parallel_config, register_parallel_backend
        from ray.util.joblib.ray_backend import RayBackend

    class Streaming(RayBackend):
        """Ray's backend, yielding each result when it is there, which its pool is well able to."""

        supports_return_generator = True

    register_parallel_backend(RAY_BACKEND, Streaming)
    if not ray.is_initialized():
        ray.init(address=workers.ray_address, log_to_driver=False, include_dashboard=False)
    places = _places(ray.cluster_resources(), workers.gpus)  # of now: a lost node has taken some away
    jobs = places if workers.jobs < 0 else min(workers.jobs, places)
    return parallel_config(backend=RAY_BACKEND, n_jobs=jobs, ray_remote_args={"num_gpus": workers.gpus})


def _places(resources: Mapping[str, float], gpus: float) -> int:
    """Return how many cells a cluster has room for, one to a core.

    Raises:
      ValueError: if cells want GPUs and there are too few for one.
    """
    cores = int(resources.get("CPU", 1))
    places = min(cores, int(resources.get("GPU", 0) / gpus)) if gpus else cores
    if places < 1:
        raise ValueError(f"ray: expected a cluster with {gpus:g} GPUs for a cell; received {dict(resources)}")
    return places


BACKENDS: Registry[Callable[[Workers], AbstractContextManager]] = Registry("backend", (("loky", _loky), ("ray", _ray)))


def _losses_of_workers() -> tuple[type[Exception], ...]:
    """Return the errors that mean that a worker is gone, not that a cell is wrong."""
    with needed_for(PURPOSE):
        from joblib.externals.loky.process_executor import BrokenProcessPool

    if "ray" not in sys.modules:
        return (BrokenProcessPool,)
    from ray.exceptions import RayActorError, RaySystemError, WorkerCrashedError

    return (BrokenProcessPool, RayActorError, RaySystemError, WorkerCrashedError)
