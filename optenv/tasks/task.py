"""What is trained: the contract of a task, and of a family that draws tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Generator, Tensor

Params = dict[str, Tensor]
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Data:
    """One run's data; the leading axis of every tensor counts examples.

    Attributes:
      train: the tensors minibatches are drawn from; `()` for a task without data.
      valid: the tensors of the validation set, used whole.
      test: held back from all decisions, used whole; () where the task has none: the validation set stands in.
      draw_test: draws it once it is asked for, which most runs never do; None where `test` is it.
    """

    train: Batch
    valid: Batch
    test: Batch = ()
    draw_test: Callable[[], Batch] | None = None

    def held_back(self) -> Batch:
        """Return the test set, or the validation set where there is none."""
        return (self.test if self.draw_test is None else self.draw_test()) or self.valid


def group_names(params: Params) -> list[str]:
    """List the parameter groups, in order.

    Args:
      params: a task's parameters by name; what precedes the last dot is the group.

    Examples:
      >>> group_names(dict.fromkeys(["a.weight", "a.bias", "b.c.weight"]))
      ['a', 'b.c']
    """
    return list(dict.fromkeys(name.rpartition(".")[0] for name in params))


class Task(ABC):
    """One architecture and the data it is trained on.

    Parameters are named `layer.weight`; what precedes the last dot is the parameter's group, and a
    group's parameters are adjacent. `loss` is evaluated for many runs at once under
    `torch.func.vmap`, so it has no data-dependent control flow, no in-place writes to parameters
    and no randomness.

    Attributes:
      name: the registered name.
      batch_size: examples per inner step.
      lower_bound: greatest known lower bound of the loss, above which rewards measure it; -inf if
        none is known, as for the likelihood of a density.
    """

    name: str
    batch_size: int = 32
    lower_bound: float = 0.0

    @abstractmethod
    def init(self, generator: Generator) -> Params:
        """Draw one run's fresh parameters.

        Args:
          generator: the only source of randomness.

        Returns:
          float32 tensors by name, such as "layer.weight".
        """

    @abstractmethod
    def draw(self, generator: Generator) -> Data:
        """Draw one run's data.

        Args:
          generator: the only source of randomness.

        Returns:
          The data; a fixed data set returns the same object every time.
        """

    @abstractmethod
    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Return the scalar loss of one run.

        Args:
          params: the run's parameters, as `init` names them.
          batch: one row per example in each tensor; `()` for a task without data.
        """


class Family(ABC):
    """A distribution over tasks: every member fixes an architecture, every draw its data.

    Attributes:
      name: the registered name.
      num_members: members are numbered 0 to `num_members - 1`.
    """

    name: str
    num_members: int = 16

    @cached_property
    def max_groups(self) -> int:
        """The largest number of parameter groups among the members."""
        members = (self.member(index) for index in range(self.num_members))
        return max(len(group_names(member.init(Generator()))) for member in members)

    @abstractmethod
    def build(self, index: int) -> Task:
        """Build member `index`; its architecture and batch size depend on nothing else."""

    def member(self, index: int) -> Task:
        """Return member `index`, the same object every time.

        Raises:
          ValueError: if there is no such member.
        """
        if not 0 <= index < self.num_members:
            raise ValueError(f"family {self.name!r} has members 0 to {self.num_members - 1}, received {index}")
        return _member(self, index)


@lru_cache(maxsize=512)
def _member(family: Family, index: int) -> Task:
    return family.build(index)


def members(entry: Task | Family) -> list[Task]:
    """List a family's members; a single task is its own only one.

    Args:
      entry: a family or a task.
    """
    return [entry.member(index) for index in range(entry.num_members)] if isinstance(entry, Family) else [entry]
