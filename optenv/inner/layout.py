"""Where each parameter and each group lies in a run's flat parameter vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from optenv.control.sketch import sketch_index

GROUPINGS = ("layer", "model")


def group_of(name: str, grouping: str) -> str:
    """Return the group of a parameter: its layer, which is its name up to the last dot, or the whole model.

    >>> group_of("encoder.0.weight", "layer"), group_of("encoder.0.weight", "model")
    ('encoder.0', 'model')
    """
    return name.rpartition(".")[0] if grouping == "layer" else "model"


@dataclass(frozen=True)
class Layout:
    """The order of a task's parameters in one flat vector of P numbers.

    Attributes:
      names: parameter names, in order.
      shapes: their shapes.
      groups: the groups' names, in order.
      sizes: number of parameters of each group, G entries that sum to P.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    groups: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, params: dict[str, Tensor], grouping: str = "layer") -> Layout:
        """Lay out `params`; one group a layer (a name up to its last dot), or one for the whole model.

        Raises:
          ValueError: if there are no parameters, or a layer's parameters are not adjacent.
        """
        if not params:
            raise ValueError("task: expected at least one parameter from init(); received none")
        sizes: dict[str, int] = {}
        for name, value in params.items():
            group = group_of(name, grouping)
            if group in sizes and group != next(reversed(sizes)):
                raise ValueError(
                    f"task: expected the parameters of layer {group!r} side by side; {name!r} stands apart"
                )
            sizes[group] = sizes.get(group, 0) + value.numel()
        return cls(tuple(params), tuple(v.shape for v in params.values()), tuple(sizes), tuple(sizes.values()))

    @cached_property
    def num_parameters(self) -> int:
        """P."""
        return sum(self.sizes)

    @cached_property
    def sketch(self) -> tuple[Tensor, Tensor]:
        """Index and mask of the groups' sketches, [G, S] each."""
        return sketch_index(list(self.sizes))

    def flatten(self, params: dict[str, Tensor]) -> Tensor:
        """Concatenate one run's parameters, [P]."""
        return torch.cat([params[name].reshape(-1) for name in self.names])

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """See `flat`, [N, P], as the stacked parameters, [N, *shape] each."""
        parts = flat.split([shape.numel() for shape in self.shapes], dim=1)
        return {n: part.view(-1, *shape) for n, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def spread(self, values: Tensor) -> Tensor:
        """Repeat each group's value for every parameter of the group, [N, G] to [N, P]."""
        # Indexing by group would gather number by number, at ten times the time.
        columns = zip(values.split(1, dim=1), self.sizes, strict=True)
        return torch.cat([column.expand(-1, size) for column, size in columns], dim=1)

    def scale_(self, flat: Tensor, values: Tensor) -> None:
        """Multiply every group's part of `flat`, [N, P], by the group's value, [N, G], in place."""
        for part, column in zip(flat.split(self.sizes, dim=1), values.split(1, dim=1), strict=True):
            part.mul_(column)
