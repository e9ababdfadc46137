"""Meta-training by the exact gradient of the final loss, through whole unrolled runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from agents.policies.opt2vec import architecture as policies
from agents.policies.opt2vec.controller import WindowedMlpController
from agents.policies.opt2vec.torch_twin import WindowedMlpTwin
from agents.training.curriculum import members
from agents.training.opt2vec.unroll import Unroll, action_gradients, unroll
from optenv import tasks
from optenv.control.policy_file import LARGEST
from optenv.inner.trainer import BatchedTrainer, make_trainer

Array = np.ndarray
OPTIMIZERS = ("adam", "adamw")
TEMPER = 0.1  # see docs/research.md, "Opt2Vec: the exact gradient of the final loss"
FLOOR = 1e-30
POSITIVE = ("step", "exp_avg_sq")
SLOTS = ("exp_avg", *POSITIVE)  # of Adam


class EfficientMetaLearningTrainer:
    """Trains an Opt2Vec policy on the final loss of whole runs.

    One meta-step draws tasks, trains a few runs of each under the policy, and follows

        d log L_final / d theta = sum_t  d log L_final / d a_t  *  d a_t / d theta

    with a_t the decisions. The first factor is exact, second derivatives included (see `unroll`); the
    observations are held fixed in it, so that what one decision changes in a later one's view is left out.
    Long unrolls can be chaotic, with gradients of any size: each decision's is cut at norm 1, and a run's of
    norm n counts n / (n + 0.1), so that a run whose loss can fall by decades does not outvote the others.
    The final loss of whole runs is the answer to the short-horizon bias (Wu et al. 2018). Relative decisions add
    up over a run, so a small common change of all of them is a large one of the rates: a meta-step that would move
    the decisions it has just seen by more than `radius` is shortened to that.

        trainer = EfficientMetaLearningTrainer(device="cpu")
        trainer.meta_train(num_meta_steps=50, num_tasks_per_step=3, inner_steps=5)
        trainer.policy.save("policy.safetensors")

    Attributes:
      steps_taken: meta-steps so far.
      radius: see the constructor.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        policy: WindowedMlpController | None = None,
        task_names: Sequence[str] | None = None,
        optimizer: str = "adam",
        runs_per_task: int = 4,
        rate: float = 1e-3,
        hidden_budget_share: float = 0.2,
        learning_rate: float = 1e-4,
        radius: float = 0.004,
        seed: int = 0,
        **architecture: Any,
    ):
        """Prepare to train a policy.

        Args:
          device: where runs are trained.
          policy: what to start from; by default one that has learned nothing.
          task_names: tasks or families; by default the synthetic train split but for the last two members of a family.
          optimizer: base optimizer of the runs, "adam" or "adamw".
          runs_per_task: runs of each task in a meta-step.
          rate: base learning rate; where the policy sets the first rate itself it does not matter.
          hidden_budget_share: share of the tasks whose budget the policy does not observe.
          learning_rate: of the meta-training, by Adam.
          radius: largest root mean square by which a meta-step changes decisions.
          seed: of all that is drawn.
          **architecture: of a new policy, see `agents.policies.opt2vec.architecture.Architecture`.

        Raises:
          ValueError: if an optimizer or a task is unknown.
        """
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}; received {optimizer!r}")
        self._twin = WindowedMlpTwin((policy or policies.make(seed=seed, **architecture)).file)
        self._device, self._optimizer, self._seed = device, optimizer, seed
        self._names, self._runs, self._rate = members(task_names or ()), runs_per_task, rate
        self._hidden_budget_share, self.radius = hidden_budget_share, radius
        self._trainers: dict[str, BatchedTrainer] = {}
        self._adam = torch.optim.Adam(self._twin.parameters(), lr=learning_rate)
        self.steps_taken = 0

    @property
    def policy(self) -> WindowedMlpController:
        """The policy as it is now; a copy."""
        return self._twin.policy(meta_steps=self.steps_taken)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the meta-training."""
        return self._adam.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._adam.param_groups[0]["lr"] = value

    def meta_train(
        self,
        num_meta_steps: int = 50,
        num_tasks_per_step: int = 3,
        inner_steps: int | Sequence[int] = 5,
        *,
        progress: bool = True,
    ) -> list[float]:
        """Take meta-steps.

        Args:
          num_meta_steps: how many.
          num_tasks_per_step: tasks drawn in each.
          inner_steps: inner steps between two decisions, or several numbers one of which is drawn for each
            task; runs go through all decisions that the policy's interface names, 40 by default.
          progress: whether to show a progress bar.

        Returns:
          The meta-loss of each step: mean log of the final validation loss.
        """
        bar = trange(num_meta_steps, desc="meta-train", unit="step", disable=not progress)
        losses = []
        for _ in bar:
            losses.append(self.meta_step(num_tasks_per_step, inner_steps))
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
        return losses

    def meta_step(self, num_tasks: int, inner_steps: int | Sequence[int]) -> float:
        """Take one meta-step; what it draws depends on the seed and the number of steps taken alone.

        Args:
          num_tasks: tasks drawn for it.
          inner_steps: inner steps of each decision, or several to draw from.

        Returns:
          The log of the final validation loss, a mean over tasks and runs.
        """
        generator, policy = np.random.default_rng([self._seed, self.steps_taken]), self.policy
        losses: list[float] = []
        seen: list[Tensor] = []
        self._adam.zero_grad()
        for name in generator.choice(self._names, num_tasks):
            total = int(generator.choice(np.atleast_1d(inner_steps))) * policy.interface.decisions
            seeds = generator.integers(2**62, size=self._runs)
            reveal_budget = generator.random() >= self._hidden_budget_share
            runs = self._accumulate(policy, str(name), seeds, total, reveal_budget)
            losses.append(float(log_loss(runs.loss).mean()))
            seen.append(torch.as_tensor(runs.inputs).flatten(0, -2))
        self._step(torch.cat(seen))
        self.steps_taken += 1
        return float(np.mean(losses))

    def _step(self, inputs: Tensor) -> None:
        """Step down the weights' gradients, as far as decisions on `inputs` do not leave the radius."""
        before = [weight.detach().clone() for weight in self._twin.parameters()]
        with torch.no_grad():
            old = self._twin(inputs)
            self._adam.step()
            moved = (self._twin(inputs) - old).square().mean().sqrt()
            part = min(1.0, self.radius / max(float(moved), FLOOR))
            for weight, start in zip(self._twin.parameters(), before, strict=True):
                weight.copy_(torch.lerp(start, weight, part))

    def _accumulate(
        self, policy: WindowedMlpController, name: str, seeds: Array, total: int, reveal_budget: bool
    ) -> Unroll:
        """Add the meta-gradient of one task's runs to the weights' gradients; return the runs."""
        trainer, rates = self._trainer(name), np.full(len(seeds), self._rate)
        runs = unroll(trainer, policy, seeds, rates, total, reveal_budget=reveal_budget)
        wanted = tempered(action_gradients(trainer, runs, rates, policy.interface.knobs)) / len(seeds)
        taken = self._twin(torch.as_tensor(runs.inputs))
        (taken * torch.as_tensor(wanted, dtype=torch.float32)).sum().backward()
        return runs

    def meta_loss(self, names: Sequence[str], seeds: Sequence[int], inner_steps: int = 5) -> Array:
        """Return the log of the final validation loss of fresh runs, [tasks, seeds]; nothing is learned.

        Args:
          names: of single tasks.
          seeds: of the runs, the same for every task.
          inner_steps: inner steps of each decision.
        """
        policy, numbers = self.policy, np.asarray(seeds)
        total = inner_steps * policy.interface.decisions
        rates = np.full(len(numbers), self._rate)
        return np.stack([log_loss(unroll(self._trainer(n), policy, numbers, rates, total).loss) for n in names])

    def _trainer(self, name: str) -> BatchedTrainer:
        if name not in self._trainers:
            task = tasks.get(name)
            if not isinstance(task, tasks.Task):
                raise ValueError(f"task: expected a single task, such as '{name}:0'; received the family {name!r}")
            self._trainers[name] = make_trainer(task, self._optimizer, device=self._device)
        return self._trainers[name]

    def state_dict(self) -> dict[str, Tensor]:
        """Return weights, Adam's moments and the number of steps, as tensors."""
        state = {f"weights/{name}": weight.detach().clone() for name, weight in self._twin.weights.items()}
        for name, weight in self._twin.weights.items():
            for slot, value in self._adam.state.get(weight, {}).items():
                state[f"{slot}/{name}"] = torch.as_tensor(value).clone()
        return {**state, "steps_taken": torch.tensor(self.steps_taken)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from where `state_dict` was called, step for step as it would have gone on.

        Args:
          state: what it returned.

        Raises:
          ValueError: if it is that of a policy of another shape, or not finite.
        """
        steps = state.get("steps_taken", torch.zeros(0))
        if steps.shape != () or steps.dtype != torch.int64 or not 0 <= int(steps) < 2**31:
            raise ValueError("state: expected the number of steps taken, a whole number")
        for name, weight in self._twin.weights.items():
            for slot in ("weights", *(SLOTS if int(steps) else ())):
                saved, shape = state.get(f"{slot}/{name}"), () if slot == "step" else tuple(weight.shape)
                if saved is None or saved.shape != shape or saved.dtype != weight.dtype:
                    raise ValueError(f"state: expected '{slot}/{name}' of shape {shape} and {weight.dtype}")
                if not (saved.abs() <= LARGEST).all() or (slot in POSITIVE and saved.min() < 0.0):
                    raise ValueError(f"state: expected finite numbers in '{slot}/{name}', none beyond {LARGEST:g}")
        with torch.no_grad():
            for name, weight in self._twin.weights.items():
                weight.copy_(state[f"weights/{name}"])
                if int(steps):
                    self._adam.state[weight] = {slot: state[f"{slot}/{name}"].clone() for slot in SLOTS}
        self.steps_taken = int(steps)


def tempered(gradients: Array) -> Array:
    """Bound the gradients of runs in their actions, [T, N, G, knobs]; those that are not finite become 0."""
    gradients = np.where(np.isfinite(gradients), gradients, 0.0)
    decision = np.sqrt(np.square(gradients).sum(axis=(2, 3), keepdims=True))
    gradients = gradients / np.maximum(decision, 1.0)
    run = np.sqrt(np.square(gradients).sum(axis=(0, 2, 3), keepdims=True))
    return gradients / (run + TEMPER)


def log_loss(loss: Array) -> Array:
    """Return the log of losses; where a run diverged, as if it had ended at 1e30."""
    return np.log(np.clip(np.where(np.isfinite(loss), loss, np.inf), FLOOR, 1.0 / FLOOR))
