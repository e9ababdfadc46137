"""Data-parallel training: the processes ("ranks") that train one model together decide together.

Every rank sees minibatches of its own and, where the model is sharded, parameters of its own. So once a
control step all of them meet: in one collective they pool the losses, averaged, the sums that norms and
cosines are made of, added, and a row each about itself. From equal numbers equal controllers decide
alike without a word more, and the rows tell whether they did. A rank that has no loss, or is paused,
still comes: otherwise the others would wait for it for ever.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from optenv.wrapper.arguments import single
from optenv.wrapper.transfer import Transfer

if TYPE_CHECKING:
    from optenv.wrapper.steering import Steering

Array = np.ndarray
NUM_PRODUCTS = 8
FAULTS = ("", "no loss", "a loss that is not a single number")
NOTHING = torch.zeros(0, dtype=torch.float64)


def ranks_of(process_group: Any) -> Ranks | None:
    """Return the ranks that train together, or None for a process that trains alone.

    Args:
      process_group: theirs; None stands for all of torch.distributed's where that is initialised, False for none.

    Raises:
      ValueError: if this process does not belong to the group.
    """
    if process_group is False or not (dist.is_available() and dist.is_initialized()):
        return None
    if dist.get_rank(process_group) < 0:
        raise ValueError("process_group: expected one that this process belongs to; received another")
    return None if dist.get_world_size(process_group) == 1 else Ranks(process_group)


class Ranks:
    """One rank's part in a run that all of them steer.

    Attributes:
      rank: of this process within the group.
      size: number of ranks.
    """

    def __init__(self, process_group: Any):
        """Join the ranks of `process_group`; they meet at the next step."""
        self._group = process_group
        self.rank, self.size = dist.get_rank(process_group), dist.get_world_size(process_group)
        self._steering: Steering
        self._since: int | None = None  # steps since the last meeting; None before the first
        self._steered, self._fault = 0, 0
        self._active, self._num_groups = False, 0  # whether all ranks steer, and what, as of the last meeting
        self._rows: Transfer[Array] | None = None  # of the last meeting, on their way

    def step(self, steering: Steering, loss: Any) -> None:
        """Take a step that every rank takes.

        Args:
          steering: this rank's run.
          loss: this rank's loss, as the user gave it.

        Raises:
          ValueError: on every rank, if one of them lacked a loss since the last meeting.
          RuntimeError: on every rank, if one of them is paused, or decided otherwise.
          TypeError: if the model is sharded in a way that its parameters do not tell of.
        """
        self._steering = steering
        number = self._number(loss)
        if self._since is None:
            self._open()
        if self._rows is not None:
            self._look(self._read(self._rows))
        steers = self._active and not steering.paused
        if self._active and not steers:
            steering.attend(decide=self._since == 0)
        self._since, self._steered = (self._since or 0) + 1, self._steered + steers
        steering.step(number if steers else None)
        if self._since == steering.steps_per_action:  # else the meeting was in the step: a control step ended
            self._meet(NOTHING)

    def _number(self, loss: Any) -> Tensor | float:
        try:
            return float("nan") if self._steering.paused else single(loss)
        except ValueError:
            self._fault = 1 if loss is None else 2
            return float("nan")

    def _open(self) -> None:
        """Meet for the first time in this run, before anything is asked of all."""
        params = (p for group in self._steering.base.param_groups for p in group["params"])
        if any(getattr(p, "_fsdp_flattened", False) or hasattr(p, "_fqns") for p in params):
            raise TypeError(
                "base: expected parameters that are whole, as under DDP, or sharded by fully_shard (FSDP2); "
                "received those of FullyShardedDataParallel (FSDP1)"
            )
        if self.rank > 0:
            self._steering.trace.silence()  # one file for all ranks
        self._meet(NOTHING)
        self._since = self._steering.steps_into_interval

    def _look(self, rows: Array) -> None:
        """Take in what the ranks said of themselves, [ranks, 4]."""
        self._rows, self._active = None, bool(rows[:, 2].all())
        error = _disagreement(rows, self._steering.steps_per_action)
        if error is not None:
            self._steering.interrupt()
            raise error
        self._num_groups = self._announced_groups

    def pool(
        self, sums: Tensor, losses: list[Any], units: Tensor | None, sharded: Tensor
    ) -> tuple[Tensor, list[Tensor | float], Tensor]:
        """Meet at the end of a control step.

        Args:
          sums: of `SketchMemory.sums`, [10, 1, G].
          losses: of its steps.
          units: what this returned as such at the end of the last control step, if it is known.
          sharded: which groups are spread over the ranks, [G] bool; the others are the same on each.

        Returns:
          What `sums` would be in one process with the whole model, in units of 1; the mean losses; this rank's units.
        """
        own = self._own(_in_true_units(sums.double(), units), sharded)
        # Fewer losses than steps where one was skipped: what is sent has the same size nevertheless.
        mean_losses = torch.zeros(self._steering.steps_per_action).to(own)
        mean_losses[: len(losses)] = torch.stack([torch.as_tensor(loss).to(own) for loss in losses]) / self.size
        pooled = self._meet(torch.cat([own.flatten(), mean_losses]))
        pooled_sums = torch.cat([pooled[: own.numel()].view_as(own), torch.ones_like(own[:2])])
        return pooled_sums, list(pooled[own.numel() :][: len(losses)].unbind()), sums[-2:].double()

    def sum(self, values: Tensor, sharded: Tensor) -> Tensor:
        """Add up what the ranks have of each group, [..., G]; of groups that are not sharded take the first rank's."""
        return self._all_reduce(self._own(values.double(), sharded)).to(values)

    def pooled_sketches(self, displacement: Array, weights: Array, mask: Array, sharded: Tensor) -> tuple[Array, ...]:
        """Return sketches of one coordinate with the sizes, see `update_ratio`, that those of all ranks have together.

        Args:
          displacement: [1, G, S].
          weights: [1, G, S].
          mask: which coordinates exist, [G, S].
          sharded: as in `pool`.

        Returns:
          Two sketches, [1, G, 1], and how many coordinates they stand for, [G, 1].
        """
        sums = np.stack([np.square(displacement[0]).sum(-1), np.abs(weights[0]).sum(-1), mask.sum(-1)])
        moved, size, count = self.sum(torch.from_numpy(sums), sharded).numpy()
        return np.sqrt(moved)[None, :, None], size[None, :, None], count[:, None]

    def _own(self, values: Tensor, sharded: Tensor) -> Tensor:
        return torch.where(sharded.to(values.device) | (self.rank == 0), values, 0.0)

    def _meet(self, body: Tensor) -> Tensor:
        """Exchange rows and add up bodies, [n]; this rank has none where it is paused."""
        expected = NUM_PRODUCTS * self._num_groups + self._steering.steps_per_action if self._active else 0
        if len(body) in (0, expected):
            pooled = self._exchange(body if len(body) else torch.zeros(expected, dtype=torch.float64))
        else:  # The groups have changed. Bodies of different sizes would crash, so first see whether all have the same.
            self._exchange(torch.zeros(expected, dtype=torch.float64))
            agreed = self._rows is not None and _disagreement(self._read(self._rows), 0) is None
            pooled = self._exchange(body) if agreed else torch.full_like(body, torch.nan)
        self._since, self._steered, self._fault = 0, 0, 0
        return pooled

    def _exchange(self, body: Tensor) -> Tensor:
        rows = torch.zeros(self.size, 4, dtype=torch.float64)
        self._announced_groups = len(self._steering.base.param_groups)
        rows[self.rank] = torch.tensor([self._fault, self._steered, not self._steering.paused, self._digest()])
        vector = self._all_reduce(torch.cat([rows.flatten().to(body.device), body]), stay=True)
        self._rows = Transfer(vector[: rows.numel()], _as_it_is)
        return vector[rows.numel() :].to(body.device)

    def _read(self, rows: Transfer[Array]) -> Array:
        return rows.read().reshape(self.size, -1)

    def _all_reduce(self, tensor: Tensor, stay: bool = False) -> Tensor:
        """Return the sum over all ranks, on the device of the parameters if it is to `stay` there."""
        first = next((p for group in self._steering.base.param_groups for p in group["params"]), tensor)
        summed = tensor.detach().to(first.device, copy=True)
        if dist.get_backend(self._group) == "nccl" and summed.device.type == "cpu":
            summed = summed.cuda()
        dist.all_reduce(summed, group=self._group)
        return summed if stay else summed.to(tensor.device)

    def _digest(self) -> float:
        """Return a number that is the same on all ranks as long as all are at the same place and decided alike."""
        steering = self._steering
        place = (steering.step_count, steering.steps_per_action, steering.total_steps, self._announced_groups)
        return float(zlib.crc32(repr(place).encode() + b"".join(v.tobytes() for v in steering.values.values())))


def _as_it_is(vector: Array) -> Array:
    return vector


def _in_true_units(sums: Tensor, units: Tensor | None) -> Tensor:
    """Return the products of `SketchMemory.sums`, [8, 1, G], not in units of this rank's largest coordinates."""
    one, (g, d) = torch.ones_like(sums[0]), sums[-2:]
    g_last, d_last = torch.full_like(sums[-2:], torch.nan) if units is None else units.to(sums)
    return sums[:-2] * torch.stack([g * g, d * d, g_last * g_last, d_last * d_last, g * g_last, d * d_last, g * d, one])


def _disagreement(rows: Array, steps: int) -> Exception | None:
    """Return what is wrong with the ranks' rows, [ranks, 4]: fault, steered steps, whether it steers, digest."""
    fault, steered, steers, digest = rows.T
    for code, kind in list(enumerate(FAULTS))[1:]:
        if (fault == code).any():
            who = _names(fault == code)
            return ValueError(
                f"step: expected loss=... of a single number from every rank in each of the last {steps} steps; "
                f"received {kind} from {who} of {len(rows)}"
            )
    if len({*steered}) > 1 or len({*steers}) > 1:
        few = steered < steered.max() if len({*steered}) > 1 else steers == 0
        return RuntimeError(
            f"pause: expected all ranks to pause and resume at the same step; {_names(few)} paused, not all"
        )
    if len({*digest}) > 1:
        return RuntimeError(
            "ranks: expected the same steps, budget, parameter groups and decisions on every rank, and so the same "
            f"checkpoint and controllers with equal seeds; found others on {_names(digest != digest[0])} than on rank 0"
        )
    return None


def _names(which: Array) -> str:
    numbers = np.flatnonzero(which).tolist()
    return ("rank " if len(numbers) == 1 else "ranks ") + ", ".join(map(str, numbers))
