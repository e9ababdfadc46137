"""A run that several processes ("ranks") train together and control alike.

Every rank sees minibatches of its own and, where the model is sharded, parameters of its own. Once a control step
all of them meet in one collective: the losses are averaged, the sums that norms and cosines are made of added, and
each rank gives a row about itself. Every rank then sees the same numbers, so all decide alike without further
communication, and the rows tell whether they did. A rank that has no loss, or is paused, takes part as well:
otherwise the others would wait for it for ever.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optenv.wrapper.collective import Collective, collective_of
from optenv.wrapper.controlled_steps import Measurement
from optenv.wrapper.plain_state import DeferredResult
from optenv.wrapper.run import ControlledRun, single_loss
from optenv.wrapper.uneven_inputs import UnevenInputs

Array = np.ndarray
NUM_PRODUCTS = 8
FAULTS = ("", "no loss", "a loss that is not a single number")
NOTHING = torch.zeros(0, dtype=torch.float64)


def distributed(run: ControlledRun, process_group: Any) -> ControlledRun | DistributedRun:
    """Return what steps a run: itself where this process trains alone, else its part in a distributed run.

    Args:
      run: this process's run.
      process_group: as in `collective_of`.

    Raises:
      ValueError: if this process does not belong to the group.
    """
    params = (p for group in run.base.param_groups for p in group["params"])
    device = next((p.device for p in params), torch.device("cpu"))
    run.collective = collective_of(process_group, device)
    if run.state.steps is not None:  # from a checkpoint
        run.state.steps.collective = run.collective
    return run if run.collective is None else DistributedRun(run, run.collective)


class DistributedRun:
    """One rank's part in a run that all of them control; they meet at its first step."""

    def __init__(self, run: ControlledRun, collective: Collective):
        """Go on with this rank's `run` together with the other ranks of `collective`."""
        self._run, self._collective = run, collective
        self._since: int | None = None  # steps since the last meeting; None before the first
        self._controlled, self._fault = 0, 0
        self._active, self._num_groups = False, 0  # whether all ranks control, and what, as of the last meeting
        self._rows: DeferredResult[Array] | None = None  # of the last meeting, on their way
        params = [p for group in run.base.param_groups for p in group["params"]]
        self._inputs = UnevenInputs(collective, params, self._rejoin)

    def step(self, loss: Any) -> None:
        """Take a step that every rank takes.

        Args:
          loss: this rank's loss, as the user gave it.

        Raises:
          ValueError: on every rank, if one of them lacked a loss since the last meeting.
          RuntimeError: on every rank, if one of them is paused, or decided otherwise.
          TypeError: if the model is sharded in a way that its parameters do not tell of.
        """
        run = self._run
        number = self._number(loss)
        if not self._inputs.all_step():
            run.hold_step(number)
            return
        if self._since is None:
            self._open()
        if self._rows is not None:
            self._check(self._read(self._rows))
        controlled = self._active and not run.paused
        joins = self._active and not controlled
        if joins:
            run.join_collectives(decide=self._since == 0)
        self._since, self._controlled = (self._since or 0) + 1, self._controlled + controlled
        run.step(number if controlled else loss, controlled=controlled, pool=self._pool)
        if self._since == run.steps_per_action:  # else the meeting was in the step: a control step ended
            self._meet(NOTHING)
        final = run.state.step_count == run.total_steps
        if joins and (self._since == 0 or final):
            run.validation.end_control_step(self._collective, final=final)

    def _number(self, loss: Any) -> Tensor | float:
        try:
            return float("nan") if self._run.paused else single_loss(loss)
        except ValueError:
            self._fault = 1 if loss is None else 2
            return float("nan")

    def _rejoin(self, uneven: bool) -> None:
        """Go on together after some ranks have run out of inputs: meet anew, all at the same place."""
        if uneven:
            counts = torch.zeros(self._collective.size, dtype=torch.float64)
            counts[self._collective.rank] = self._run.state.step_count
            self._run.state.step_count = int(self._collective.sum(counts).max().item())
            self._run.state.interrupted = self._run.state.steps is not None
            self._since = None

    def _open(self) -> None:
        """Meet for the first time in this run, before any other collective."""
        run = self._run
        params = (p for group in run.base.param_groups for p in group["params"])
        if any(getattr(p, "_fsdp_flattened", False) or hasattr(p, "_fqns") for p in params):
            raise TypeError(
                "base: expected parameters that are whole, as under DDP, or sharded by fully_shard (FSDP2); "
                "received those of FullyShardedDataParallel (FSDP1)"
            )
        if self._collective.rank > 0:
            run.log.stop_writing()  # one file for all ranks
        self._meet(NOTHING)
        begins = run.state.steps is None or run.state.interrupted
        self._since = 0 if begins else run.state.since_decision

    def _check(self, rows: Array) -> None:
        """Take in the rows that the ranks gave of themselves, [ranks, 4]."""
        self._rows, self._active = None, bool(rows[:, 2].all())
        error = _disagreement(rows, self._run.steps_per_action)
        if error is not None:
            self._run.interrupt()
            raise error
        self._num_groups = self._announced_groups

    def _pool(self, own: Measurement) -> Measurement:
        """Meet at the end of a control step.

        Returns:
          What one process with the whole model would have measured, in units of 1, with the mean losses; and this
          rank's own units.
        """
        sums = self._collective.own_share(_in_true_units(own.sums.double(), own.units), own.sharded)
        # Fewer losses than steps where one was skipped: what is sent has the same size nevertheless.
        losses = torch.zeros(self._run.steps_per_action).to(sums)
        given = torch.stack([torch.as_tensor(torch.nan if loss is None else loss).to(sums) for loss in own.losses])
        losses[: len(given)] = given / self._collective.size
        pooled = self._meet(torch.cat([sums.flatten(), losses]))
        pooled_sums = torch.cat([pooled[: sums.numel()].view_as(sums), torch.ones_like(sums[:2])])
        mean_losses: list[Tensor | float | None] = [*pooled[sums.numel() :][: len(given)].unbind()]
        norm = None if own.norm is None else pooled_sums[0, 0].sqrt().float()
        return replace(own, sums=pooled_sums, losses=mean_losses, norm=norm, units=own.sums[-2:].double())

    def _meet(self, body: Tensor) -> Tensor:
        """Exchange rows and add up bodies, [n]; this rank has none where it is paused."""
        expected = NUM_PRODUCTS * self._num_groups + self._run.steps_per_action if self._active else 0
        if len(body) in (0, expected):
            pooled = self._exchange(body if len(body) else torch.zeros(expected, dtype=torch.float64))
        else:  # The groups have changed. Bodies of different sizes would crash, so first see whether all have the same.
            self._exchange(torch.zeros(expected, dtype=torch.float64))
            agreed = self._rows is not None and _disagreement(self._read(self._rows), 0) is None
            pooled = self._exchange(body) if agreed else torch.full_like(body, torch.nan)
        self._since, self._controlled, self._fault = 0, 0, 0
        return pooled

    def _exchange(self, body: Tensor) -> Tensor:
        rows = torch.zeros(self._collective.size, 4, dtype=torch.float64)
        self._announced_groups = len(self._run.base.param_groups)
        own = [self._fault, self._controlled, not self._run.paused, self._digest()]
        rows[self._collective.rank] = torch.tensor(own)
        vector = self._collective.sum(torch.cat([rows.flatten().to(body.device), body]))
        self._rows = DeferredResult(vector[: rows.numel()], _unchanged)
        return vector[rows.numel() :].to(body.device)

    def _read(self, rows: DeferredResult[Array]) -> Array:
        return rows.read().reshape(self._collective.size, -1)

    def _digest(self) -> float:
        """Return a number that is the same on all ranks as long as all are at the same place and decided alike."""
        run = self._run
        place = (run.state.step_count, run.steps_per_action, run.total_steps, self._announced_groups)
        return float(zlib.crc32(repr(place).encode() + b"".join(v.tobytes() for v in run.state.values.values())))


def _unchanged(vector: Array) -> Array:
    return vector


def _in_true_units(sums: Tensor, units: Tensor | None) -> Tensor:
    """Return the products of `SketchMemory.sums`, [8, 1, G], not in units of this rank's largest coordinates."""
    one, (g, d) = torch.ones_like(sums[0]), sums[-2:]
    g_last, d_last = torch.full_like(sums[-2:], torch.nan) if units is None else units.to(sums)
    return sums[:-2] * torch.stack([g * g, d * d, g_last * g_last, d_last * d_last, g * g_last, d * d_last, g * d, one])


def _disagreement(rows: Array, steps: int) -> Exception | None:
    """Return what is wrong with the ranks' rows, [ranks, 4]: fault, controlled steps, whether it controls, digest."""
    fault, controlled, controls, digest = rows.T
    for code, kind in list(enumerate(FAULTS))[1:]:
        if (fault == code).any():
            who = _names(fault == code)
            return ValueError(
                f"step: expected loss=... of a single number from every rank in each of the last {steps} steps; "
                f"received {kind} from {who} of {len(rows)}"
            )
    if len({*controlled}) > 1 or len({*controls}) > 1:
        few = controlled < controlled.max() if len({*controlled}) > 1 else controls == 0
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
