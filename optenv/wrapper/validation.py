"""The validation losses of a run: asked for at the ends of control steps, or told by whoever trains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from optenv.wrapper.best_validation import BestValidation
from optenv.wrapper.collective import Collective

Validate = Callable[[], Any]


class Validation:
    """Looks at the validation loss, and has the weights of the least one kept where that is asked for.

    Attributes:
      function: returns the validation loss of the model as it is; None where it is told.
      every: control steps from one look to the next.
      best: what keeps the best weights, or None.
    """

    def __init__(self, function: Validate | None, every: int, best: BestValidation | None):
        """Begin without a look."""
        self.function, self.every, self.best = function, every, best
        self._newest: float | None = None
        self._since = 0

    def begin(self, collective: Collective | None) -> None:
        """Look at the weights that the run begins with."""
        if self.function is not None:
            self.tell(self._ask(collective))

    def end_control_step(self, collective: Collective | None, *, final: bool) -> None:
        """Look, where that is due.

        Args:
          collective: of the processes that train together, whose losses are averaged; None alone.
          final: whether the budget is spent, when it always is due.
        """
        if self.best is not None:
            self.best.add_to_average()
        if self.function is None:
            return
        self._since += 1
        if self._since < self.every and not final:
            return
        self._since = 0
        self.tell(self._ask(collective))
        if self.best is not None and self.best.has_average:
            with self.best.averaged():
                self.best.offer(self._ask(collective))

    def averaged(self) -> AbstractContextManager[None]:
        """Put the average in place of the parameters within a `with`.

        Raises:
          ValueError: if none is kept.
        """
        if self.best is None:
            raise ValueError("averaged: expected an optimizer with keep_best; received keep_best=False")
        return self.best.averaged()

    def tell(self, loss: float) -> None:
        """Take in the validation loss of the model as it is."""
        self._newest = loss
        if self.best is not None:
            self.best.offer(loss)

    def take(self) -> float | None:
        """Return the loss told since the last call, None where there is none."""
        newest, self._newest = self._newest, None
        return newest

    @torch.no_grad()
    def _ask(self, collective: Collective | None) -> float:
        assert self.function is not None
        loss = validation_loss("validate", self.function())
        if collective is None:
            return loss
        return float(collective.sum(torch.tensor([loss], dtype=torch.float64))) / collective.size

    def state_dict(self) -> dict[str, Any]:
        """Return what is known and kept."""
        best = None if self.best is None else self.best.state_dict()
        return {"newest": self._newest, "since": self._since, "best": best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; best weights are left out where none are to be kept."""
        if self.best is not None and state["best"] is not None:
            self.best.load_state_dict(state["best"])
        self._newest, self._since = state["newest"], state["since"]

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the function: it is bound to the model that it looks at."""
        return {**self.__dict__, "function": None}


def validation_loss(subject: str, loss: Any) -> float:
    """Return a validation loss as a number.

    Raises:
      ValueError: if it is not a single number.

    >>> validation_loss("validate", torch.ones(()))
    1.0
    """
    try:
        return float(loss.detach() if isinstance(loss, torch.Tensor) else loss)
    except (TypeError, ValueError, RuntimeError):
        shape = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else repr(loss)
        raise ValueError(f"{subject}: expected a validation loss that is a single number; received {shape}") from None
