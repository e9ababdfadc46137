"""Tasks from a user's own functions, or from a module and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from optenv.tasks.task import Batch, Data, Params, Task


@dataclass(frozen=True)
class OwnTask(Task):
    """A task whose parts were given.

    Attributes:
      name: the task's name.
      initialise: draws fresh parameters, see `Task.init`.
      evaluate: the scalar loss, see `Task.loss`.
      data: the same data for every run.
      batch_size: examples per inner step.
      lower_bound: greatest known lower bound of the loss.
    """

    name: str
    initialise: Callable[[Generator], Params]
    evaluate: Callable[[Params, Batch], Tensor]
    data: Data
    batch_size: int = 32
    lower_bound: float = 0.0

    def init(self, generator: Generator) -> Params:
        """Draw fresh parameters."""
        return self.initialise(generator)

    def draw(self, generator: Generator) -> Data:
        """Return the data."""
        return self.data

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the scalar loss."""
        return self.evaluate(params, batch)


def from_functions(
    *,
    name: str,
    init: Callable[[Generator], Params],
    loss: Callable[[Params, Batch], Tensor],
    train: Batch,
    valid: Batch,
    test: Batch = (),
    batch_size: int = 32,
    lower_bound: float = 0.0,
) -> Task:
    """Make a task of two functions and sets of tensors.

    Args:
      name: the task's name.
      init: draws one run's parameters from a generator, named "layer.weight", "layer.bias", ...
      loss: maps parameters and a batch, a tuple of tensors like `train`, to a scalar; evaluated
        under `torch.func.vmap`, see `Task`.
      train: tensors with one row per example, `()` for a task without data.
      valid: the like, for validation.
      test: the like, held back from all decisions; () lets the validation set stand in.
      batch_size: examples per inner step.
      lower_bound: greatest known lower bound of the loss.

    Raises:
      ValueError: if the tensors of a set differ in their number of rows, or a set has none.
    """
    for kind, tensors in (("train", train), ("valid", valid), ("test", test)):
        rows = [len(tensor) for tensor in tensors]
        if len(set(rows)) > 1 or 0 in rows:
            raise ValueError(
                f"task {name!r}: expected as many rows, at least 1, in every {kind} tensor, received {rows}"
            )
    return OwnTask(name, init, loss, Data(tuple(train), tuple(valid), tuple(test)), batch_size, lower_bound)


def from_module(
    *,
    name: str,
    build: Callable[[], nn.Module],
    loss: Callable[[Tensor, Tensor], Tensor],
    train: Batch,
    valid: Batch,
    test: Batch = (),
    batch_size: int = 32,
    lower_bound: float = 0.0,
) -> Task:
    """Make a task of a module, a criterion and data.

    The module runs in evaluation mode, so that dropout, which would make the loss random, is off.

    Args:
      name: the task's name.
      build: makes a freshly initialised module; its randomness must come from torch alone.
      loss: maps the module's output and the batch's last tensor to a scalar, such as `F.mse_loss`.
      train: the module's inputs, then the target; one row per example.
      valid: the like, for validation.
      test: the like, held back from all decisions; () lets the validation set stand in.
      batch_size: examples per inner step.
      lower_bound: greatest known lower bound of the loss.

    Raises:
      ValueError: if the module keeps running statistics, or the data do not fit together.
    """
    module = _built(build, seed=0).eval()
    _refuse_running_statistics(name, module)
    names = {_qualified(key): key for key, _ in module.named_parameters()}

    def init(generator: Generator) -> Params:
        seed = int(torch.randint(2**62, (), generator=generator))
        return {_qualified(key): value.detach().clone() for key, value in _built(build, seed).named_parameters()}

    def evaluate(params: Params, batch: Batch) -> Tensor:
        own = {names[key]: value for key, value in params.items()}
        return loss(torch.func.functional_call(module, own, batch[:-1]), batch[-1])

    data = {"train": train, "valid": valid, "test": test}
    return from_functions(name=name, init=init, loss=evaluate, **data, batch_size=batch_size, lower_bound=lower_bound)


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module from a seed; torch's global generator is as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def _qualified(name: str) -> str:
    """Give the parameters of a module without submodules a group of their own."""
    return name if "." in name else f"module.{name}"


def _refuse_running_statistics(name: str, module: nn.Module) -> None:
    for key, part in module.named_modules():
        if getattr(part, "running_mean", None) is not None:
            raise ValueError(
                f"task {name!r}: expected a module without running statistics, received {type(part).__name__} {key!r}; "
                "build it with track_running_stats=False"
            )
