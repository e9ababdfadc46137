"""A callback for Lightning: the knobs among what it logs, and the losses of manual optimization."""

from __future__ import annotations

from typing import Any

from optenv.errors import needed_for
from optenv.integrations.latest import controlled_in, latest, restore_best

with needed_for("the callback for Lightning"):
    from lightning import Callback


class LightningControlCallback(Callback):
    """Logs every controlled optimizer's knobs after each batch, and shows it the losses of manual optimization.

    Under automatic optimization Lightning's closure hands the training loss on. Where the model logs a validation loss,
    optimizers with `keep_best` end with the weights of the least one in place.
    """

    def __init__(self, monitor: str = "val_loss"):
        """Take what the model logs under `monitor` in `validation_step` for the validation loss."""
        self._monitor = monitor

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Observe a loss whose gradient is about to be added, where `step` will get none."""
        if not pl_module.automatic_optimization:
            for optimizer in _controlled(trainer):
                optimizer.observe(loss)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the last decision."""
        if trainer.loggers:
            for optimizer in _controlled(trainer):
                pl_module.log_dict(latest(optimizer))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Observe the validation loss."""
        loss = trainer.callback_metrics.get(self._monitor)
        if loss is not None and not trainer.sanity_checking:
            for optimizer in _controlled(trainer):
                optimizer.observe(validation=loss)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Put the best weights in place where they are kept."""
        for optimizer in _controlled(trainer):
            restore_best(optimizer)


def _controlled(trainer: Any) -> list[Any]:
    return [found for found in map(controlled_in, trainer.optimizers) if found is not None]
