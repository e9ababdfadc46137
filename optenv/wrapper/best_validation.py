"""The weights and buffers of the least validation loss, and an average of the weights that may have it."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optenv.control.averaging import newest_share
from optenv.errors import unknown_name

PLACES = ("cpu",)


class BestValidation:
    """Keeps what a model was when its validation loss was least.

    That is one copy of its parameters and buffers, and one of the parameters for their average over about the last
    tenth of the run. Both lie where the model does, or on the host.

    Attributes:
      loss: the least validation loss, infinite before the first.
    """

    def __init__(self, base: Optimizer, place: bool | str):
        """Keep what `base` trains.

        Args:
          base: the optimizer; buffers are those of the modules whose parameters it trains, all that require gradients.
          place: True for the devices where the model is, or "cpu".

        Raises:
          ValueError: if the place is unknown.
        """
        if place is not True and place not in PLACES:
            raise unknown_name("keep_best", place, ("False", "True", *PLACES))
        self.loss = math.inf
        self._base, self._device = base, None if place is True else torch.device("cpu")
        self._kept: dict[Tensor, Tensor] = {}
        self._average: dict[Tensor, Tensor] = {}
        self._count = 0
        self._found: tuple[set[Tensor], list[Tensor]] | None = None

    @torch.no_grad()
    def add_to_average(self) -> None:
        """Take the present parameters into the average."""
        self._count += 1
        share, before = newest_share(self._count), self._average
        self._average = {p: self._averaged(p, before.get(p), share) for p in self._params()}

    @torch.no_grad()
    def offer(self, loss: float) -> None:
        """Keep what the model is now, if this validation loss of it is the least so far."""
        if loss < self.loss:
            self.loss, before = loss, self._kept
            self._kept = {t: self._copy(t, before.get(t)) for t in (*self._params(), *self._buffers())}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the average in place of the parameters, and these back at the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @property
    def has_average(self) -> bool:
        """Whether there is an average yet, which at first is the parameters themselves."""
        return newest_share(max(1, self._count)) < 1.0

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was kept last, in place; parameters that are no longer trained here stay as they are."""
        held = set(self._params())
        for tensor, kept in self._kept.items():
            if not isinstance(tensor, nn.Parameter) or tensor in held:
                tensor.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the loss and, in the order of the optimizer's parameters and their modules' buffers, what is kept."""
        return {
            "loss": self.loss,
            "count": self._count,
            "kept": _copies(self._kept, (*self._params(), *self._buffers())),
            "average": _copies(self._average, self._params()),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
          ValueError: if it is that of another model.
        """
        kept = self._of_model([*self._params(), *self._buffers()], state["kept"])
        average = self._of_model(self._params(), state["average"])
        self.loss, self._count, self._kept, self._average = state["loss"], state["count"], kept, average

    def _of_model(self, own: Sequence[Tensor], held: Sequence[Tensor | None]) -> dict[Tensor, Tensor]:
        """Return copies of what a state holds of this model's tensors."""
        fit = len(held) in (0, len(own)) and all(
            v is None or v.shape == t.shape for t, v in zip(own, held, strict=False)
        )
        if not fit:
            shapes = [None if value is None else tuple(value.shape) for value in held]
            raise ValueError(
                f"load_state_dict: expected best weights of the shapes {[tuple(t.shape) for t in own]}; "
                f"received {shapes}"
            )
        return {t: self._copy(t).copy_(v) for t, v in zip(own, held, strict=False) if v is not None}

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the buffers found so far; a copy finds its own model's."""
        return {**self.__dict__, "_found": None}

    def _copy(self, tensor: Tensor, into: Tensor | None = None) -> Tensor:
        """Copy a tensor to where copies lie, into the memory of an earlier copy of it."""
        if into is None or into.shape != tensor.shape or into.dtype != tensor.dtype:
            return tensor.detach().to(self._device or tensor.device, copy=True)
        return into.copy_(tensor.detach())

    def _averaged(self, tensor: Tensor, average: Tensor | None, share: float) -> Tensor:
        """Take a tensor into its average, unless it is not finite."""
        if average is None or share == 1.0 or average.shape != tensor.shape:
            return self._copy(tensor, average)
        newest = tensor.detach().to(average.device)
        return average.lerp_(newest, share) if bool(newest.isfinite().all()) else average

    @torch.no_grad()
    def _swap(self) -> None:
        held = set(self._params())
        for p, average in self._average.items():
            if p in held:
                own = p.detach().to(average.device, copy=True)
                p.copy_(average)
                average.copy_(own)

    def _params(self) -> list[Tensor]:
        return [p for group in self._base.param_groups for p in group["params"]]

    def _buffers(self) -> list[Tensor]:
        """Return the buffers; they are looked for anew where the optimizer trains other parameters than before."""
        trained = set(self._params())
        if self._found is None or self._found[0] != trained:
            self._found = trained, buffers_of(self._params())
        return self._found[1]


def _copies(held: dict[Tensor, Tensor], tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Return copies of what is held of each tensor, None where nothing is; [] where nothing is at all."""
    return [held[t].clone() if t in held else None for t in tensors] if held else []


def buffers_of(params: Sequence[Tensor]) -> list[Tensor]:
    """Return the buffers of all modules whose parameters that require gradients are among `params`.

    An optimizer does not know the modules, so all that are alive are looked through. A module that holds other
    trained parameters too, as a pair of networks with an optimizer each does, is not asked; its parts are.
    """
    place = {p: i for i, p in enumerate(params)}
    found: list[tuple[int, int, list[Tensor]]] = []
    for module in (thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)):
        trained = [p for p in module.parameters() if p.requires_grad]
        if trained and all(p in place for p in trained):
            buffers = list(module.buffers())
            found.append((min(place[p] for p in trained), -len(buffers), buffers))
    found.sort(key=lambda entry: entry[:2])
    return list(dict.fromkeys(buffer for *_, buffers in found for buffer in buffers))
