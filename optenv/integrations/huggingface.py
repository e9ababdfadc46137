"""A callback for Hugging Face's Trainer, which calls `step` without a loss."""

from __future__ import annotations

from typing import Any

from optenv.errors import needed_for
from optenv.integrations.latest import controlled_in, latest, restore_best

with needed_for("the callback for Hugging Face's Trainer"):
    from transformers import TrainerCallback


class ControlCallback(TrainerCallback):
    """Shows a controlled optimizer the losses of a Trainer, and adds the knobs to what the Trainer logs.

    The validation loss is `eval_loss`, wherever the Trainer evaluates; an optimizer with `keep_best` ends with the
    weights of the least one in place.

    `Trainer(model, optimizers=(controlled, scheduler), callbacks=[ControlCallback()])`: nothing else changes. It reads
    the loss that the model returns in training; so `label_smoothing_factor` and `compute_loss_func`, which compute one
    outside the model, are for a subclass of Trainer that calls `optimizer.observe` itself.
    """

    def __init__(self) -> None:
        """Prepare to watch."""
        self._means: list[Any] = []  # losses of an update's minibatches that are to be averaged
        self._shares: list[Any] = []  # those that are parts of the update's loss already
        self._hook: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Watch the model's forward passes.

        Raises:
          TypeError: if the Trainer's optimizer is no controlled one.
        """
        if controlled_in(given["optimizer"]) is None:
            name = type(given["optimizer"]).__name__
            raise TypeError(f"optimizers: expected a ControlledOptimizer and its scheduler; received {name}")
        self._hook = given["model"].register_forward_hook(self._look, with_kwargs=True)

    def _look(self, model: Any, args: Any, keywords: dict[str, Any], output: Any) -> None:
        loss = output.get("loss") if isinstance(output, dict) else output[0]
        if model.training and loss is not None:
            # A model that knows how many items the whole update has divides by that; else the Trainer averages.
            shared = keywords.get("num_items_in_batch") is not None
            (self._shares if shared else self._means).append(loss.detach().mean())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Observe the loss of the whole update."""
        optimizer = controlled_in(given["optimizer"])
        if optimizer is not None and (self._means or self._shares):
            mean = sum(self._means) / len(self._means) if self._means else 0.0
            optimizer.observe(mean + sum(self._shares))
        self._means, self._shares = [], []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """Add the last decision to the logged numbers."""
        optimizer = controlled_in(given.get("optimizer"))
        if optimizer is not None and logs is not None and "loss" in logs:
            logs |= latest(optimizer)
            state.log_history[-1] |= latest(optimizer)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **given: Any) -> None:
        """Observe the validation loss."""
        optimizer = controlled_in(given.get("optimizer"))
        if optimizer is not None and "eval_loss" in (metrics or {}):
            optimizer.observe(validation=metrics["eval_loss"])

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Put the best weights in place where they are kept, and watch no more."""
        restore_best(given["optimizer"])
        self._hook.remove()
