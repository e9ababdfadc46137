"""Vector environments of a rollout, in worker processes or in this one."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from optenv.env import OptControlVectorEnv

Array = np.ndarray
Step = tuple[Array, Array, Array, list[dict[str, Any]]]
ROWS = 60
PEERS = 6


class RolloutEnvironment:
    """One vector environment seen group by group, padded with idle rows to `ROWS`.

    Idle rows observe zeros and earn nothing. Runs come in clusters of up to `PEERS` with equal seeds:
    the same weights, data and minibatches. Each is paid its reward less the mean reward of its
    peers, a baseline that its own actions do not touch and that removes the luck of the draw.
    """

    def __init__(self, settings: dict[str, Any], seed: int):
        """Make as many runs as fit and begin them."""
        groups = OptControlVectorEnv(1, **settings).max_groups
        self._env = OptControlVectorEnv(max(1, ROWS // groups), **settings)
        self._groups, self._used = groups, self._env.num_envs * groups
        self._left = settings["num_inner_steps"] // settings["steps_per_action"]
        self._cluster = np.arange(self._env.num_envs) // PEERS
        self._env.reset(seed=[seed + int(c) for c in self._cluster])

    def observe(self) -> Array:
        """Return the groups' views, [ROWS, features]."""
        rows = self._env.group_observation().reshape(self._used, -1)
        return np.concatenate([rows, np.zeros((ROWS - self._used, rows.shape[1]), np.float32)])

    def step(self, actions: Array) -> Step:
        """Advance by one control step; `actions` is [ROWS, knobs].

        A run that diverges begins anew within its environment, and is cut off when that ends.
        """
        _, reward, terminated, _, _ = self._env.step(actions[: self._used].reshape(self._env.num_envs, -1))
        reward = self._above_peers(reward)
        self._left -= 1
        over = self._left == 0
        cut = ~terminated & over
        idle = np.zeros(ROWS - self._used)
        ended = np.concatenate([np.repeat(terminated | cut, self._groups), idle + over]).astype(bool)
        observation = self.observe()
        infos: list[dict[str, Any]] = [{} for _ in range(ROWS)]
        for row in np.flatnonzero(ended):
            truncated = row < self._used and bool(cut[row // self._groups])
            infos[row] = {"terminal_observation": observation[row], "TimeLimit.truncated": truncated}
        return observation, np.concatenate([np.repeat(reward, self._groups), idle]).astype(np.float32), ended, infos

    def _above_peers(self, reward: Array) -> Array:
        size = np.bincount(self._cluster)[self._cluster]
        total = np.bincount(self._cluster, reward)[self._cluster]
        return reward - np.where(size > 1, (total - reward) / np.maximum(size - 1, 1), 0.0)


class LocalWorker:
    """Holds environments and steps them one after the other, in this process; the interface is that of a remote one."""

    def __init__(self) -> None:
        """Begin without environments."""
        self._envs: list[RolloutEnvironment] = []

    def begin(self, drawn: Sequence[tuple[dict[str, Any], int]]) -> Array:
        """Replace the environments by those drawn, (settings, seed) each; return their observations."""
        self._envs = [RolloutEnvironment(*row) for row in drawn]
        return np.concatenate([env.observe() for env in self._envs])

    def step(self, actions: Array) -> Step:
        """Advance every environment; `actions` is [environments * ROWS, knobs]."""
        parts = [env.step(a) for env, a in zip(self._envs, np.split(actions, len(self._envs)), strict=True)]
        observation, reward, ended, infos = zip(*parts, strict=True)
        return (
            np.concatenate(observation),
            np.concatenate(reward),
            np.concatenate(ended),
            [x for part in infos for x in part],
        )

    def send(self, method: str, argument: Any) -> None:
        """Call a method."""
        self._result = getattr(self, method)(argument)

    def receive(self) -> Any:
        """Return what the last call returned."""
        return self._result

    def close(self) -> None:
        """Nothing is held open."""


class RemoteWorker:
    """A `LocalWorker` in a process of its own."""

    def __init__(self) -> None:
        """Start the process."""
        context = get_context("spawn")  # a forked torch may hang
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()

    def send(self, method: str, argument: Any) -> None:
        """Begin a call of a method of the worker."""
        self._pipe.send((method, argument))

    def receive(self) -> Any:
        """Wait for the call and return its result; an exception there is raised here."""
        try:
            result = self._pipe.recv()
        except EOFError:
            raise RuntimeError("a worker process ended unexpectedly; was it killed, or out of memory?") from None
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        self._process.terminate()


def _serve(pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    worker = LocalWorker()
    while True:
        try:
            method, argument = pipe.recv()
            try:
                result = getattr(worker, method)(argument)
            except Exception as error:  # noqa: BLE001 - handed to the process that called
                result = error
            pipe.send(result)
        except (EOFError, ConnectionError, KeyboardInterrupt):  # whoever called is gone, or told to go
            return
