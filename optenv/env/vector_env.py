"""OptControl-v0, natively batched: N training runs advance together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from optenv import tasks
from optenv.control.features import bounds, flatten
from optenv.control.knobs import check_movable
from optenv.env.checks import (
    check_action,
    check_autoreset,
    check_device,
    check_limit,
    check_mask,
    check_render_mode,
    check_seed,
    check_whole,
)
from optenv.env.episode_record import EpisodeRecord
from optenv.env.episodes import Episodes, earned
from optenv.env.settings import make_settings
from optenv.inner.rollout import Rollout
from optenv.rewards import get_reward

Array = np.ndarray
METADATA: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}


class OptControlVectorEnv(VectorEnv):
    """Train N inner runs at once; every `step` is one control step in all of them.

    Observation: `[6 run features | 6 features of group 1 | ...]`, float32; families pad to their
    widest member with zeros. Action: one number in [-1, 1] per group and knob, group by group; 0 is
    neutral. Reward: see `optenv.rewards`. An episode terminates when its budget is spent or its run
    diverges (`info["diverged"]`, reward -3); it is truncated after `max_episode_steps` control steps.
    """

    _ended: Array  # which rows' episodes have, [N] bool; from the first reset on

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        disable_env_checker: bool | None = None,
        **settings: Any,
    ):
        """Prepare N environments.

        Args:
          num_envs: N.
          max_episode_steps: control steps after which an episode is truncated; None, or -1, never does.
          autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
          render_mode: None, "rgb_array" or "ansi"; a twin is run beside every run to be drawn with it.
          disable_env_checker: as Gymnasium's `make` takes it; no checker is run here, whatever it says.
          **settings: see `EnvSettings`.

        Raises:
          ValueError: if a setting is unknown or out of range.
        """
        self.settings = make_settings(settings)
        check_device(self.settings.device)
        self.num_envs = check_whole("num_envs", num_envs)
        self._most_steps = check_limit(max_episode_steps) * self.settings.steps_per_action
        self.render_mode = check_render_mode(render_mode, METADATA["render_modes"])
        self.metadata = {**METADATA, "autoreset_mode": check_autoreset(autoreset_mode)}
        self.task = tasks.get(self.settings.task)
        self._lower_bounds = np.array([member.lower_bound for member in tasks.members(self.task)])
        self._reward = get_reward(self.settings.reward)
        make_runs = self.settings.prepare_runs()
        self._runs = make_runs(self.task)
        check_movable(self.settings.knobs, self._runs.optimizer, self._runs.hyperparameters)
        self._rollout = Rollout(self._runs, self.settings.interface, self.num_envs)
        self._twins = make_runs(self.task) if self._reward.needs_twin or render_mode is not None else None
        self._set_spaces()
        self._generators: list[np.random.Generator] = []
        self._records = [EpisodeRecord(row) for row in range(self.num_envs if render_mode is not None else 0)]

    def _set_spaces(self) -> None:
        low, high = bounds(self.max_groups, self.settings.interface.features)
        self.single_observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        shape = (self.max_groups * len(self.settings.knobs),)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, shape, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def max_groups(self) -> int:
        """Number of parameter groups; of the widest member, for a family."""
        return self._runs.max_groups

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict]:
        """Begin new episodes.

        Args:
          seed: one seed, from which row i takes `seed + i`, or one per row, or None to go on.
          options: `{"reset_mask": [N] bool}` resets only the marked rows.

        Returns:
          Observations, [N, 6 + 6 G], and infos.

        Raises:
          ValueError: if there is not one seed, or one mark, per row.
          gymnasium.error.ResetNeeded: if the first reset is not of all rows.
          gymnasium.error.ClosedEnvironmentError: if it was closed.
        """
        self._check_open("reset")
        rows = np.flatnonzero(check_mask(options, self.num_envs))
        if len(rows) < self.num_envs and not self._generators:
            raise gymnasium.error.ResetNeeded("reset: expected the first reset to be of all environments")
        self._seed(rows, check_seed(seed, self.num_envs))
        if len(rows):
            self._begin(rows)
        return self._observe(), self._infos()

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict]:
        """Advance every run by one control step.

        Args:
          actions: [N, G * knobs] in [-1, 1].

        Returns:
          Observations [N, 6 + 6 G], rewards [N], terminated [N], truncated [N], infos. Under NEXT_STEP, the step
          after the end of an episode begins the next one, whatever the action, and pays 0.

        Raises:
          ValueError: if actions have another shape or are NaN.
          gymnasium.error.ResetNeeded: if an episode had ended and was not reset.
          gymnasium.error.ClosedEnvironmentError: if it was closed.
        """
        self._check_running()
        fresh, steps = self._ended.copy(), self.settings.steps_per_action
        interval = self._rollout.step(np.where(fresh[:, None, None], 0.0, self._per_group(actions)), steps)
        if self._twins is not None:
            self._twins.run(self._episodes.rate, {}, steps)
        if fresh.any():  # all rows advance together, so that these have advanced in vain
            self._begin(np.flatnonzero(fresh))
        episodes, bounds = self._episodes, self._lower_bounds[self._episodes.member]
        trace = episodes.advance(np.where(fresh, 0, steps), *self._probe(np.arange(self.num_envs)), bounds)
        diverged = episodes.diverged(interval.loss, bounds) & ~fresh
        reward = np.where(fresh, 0.0, earned(self._reward, trace, diverged | fresh))
        terminated, truncated = diverged | (episodes.step >= episodes.total), episodes.step >= self._most_steps
        self._ended = terminated | truncated
        for record in self._records:
            if not fresh[record.row]:
                record.append(episodes, self._rollout.values)
        observation, infos = self._observe(), self._infos(diverged)
        if self._ended.any() and self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            observation, infos = self._autoreset(observation, infos)
        return observation, reward, terminated, truncated, infos

    def validation_loss(self) -> Array:
        """Return the loss of every run on its whole validation set, [N]."""
        self._check_begun("validation_loss")
        return self._runs.evaluate(np.arange(self.num_envs), "valid")

    def num_groups(self) -> Array:
        """Return the number of parameter groups of every run, [N]; a family's are known from the first reset on."""
        if self._runs.num_members == 1:
            return np.full(self.num_envs, self.max_groups)
        self._check_begun("num_groups")
        return self._runs.num_groups(self.num_envs)

    def group_names(self, row: int = 0) -> tuple[str, ...]:
        """Return the names of the parameter groups of one row's run.

        Raises:
          ValueError: if there is no such row.
        """
        self._check_begun("group_names")
        if row not in range(self.num_envs):
            raise ValueError(f"row: expected one of 0 to {self.num_envs - 1}; received {row!r}")
        return self._runs.group_names(row)

    def group_observation(self) -> Array:
        """Return every group's own view, [N, G, 12]: the run's features, then its own."""
        self._check_begun("group_observation")
        return self._rollout.observe()

    def render(self) -> tuple[Any, ...] | None:
        """Draw every run, as `render_mode` says: [H, W, 3] uint8 images or texts; None without a mode."""
        if self.render_mode is None:
            return None
        self._check_begun("render")
        from optenv.env.render import RENDERERS

        draw = RENDERERS[self.render_mode]
        return tuple(draw(record, self.group_names(record.row)) for record in self._records)

    def _seed(self, rows: Array, seeds: list[int | None]) -> None:
        self._generators = self._generators or [np.random.default_rng() for _ in seeds]
        for row in rows:
            if seeds[row] is not None:
                self._generators[row] = np.random.default_rng(seeds[row])

    def _begin(self, rows: Array) -> None:
        fresh = Episodes.draw([self._generators[i] for i in rows], self.settings, self._runs.num_members)
        if len(rows) == self.num_envs:
            self._episodes, self._ended = fresh, np.zeros(self.num_envs, bool)
        self._episodes.put(rows, fresh)
        if self._twins is not None:
            self._twins.start(rows, fresh.member, fresh.seed)
        self._rollout.begin(rows, fresh.member, fresh.seed, fresh.rate, fresh.total)
        self._ended[rows] = False
        self._episodes.measure_first(rows, *self._probe(rows))
        for record in self._records:
            if record.row in rows:
                record.begin(self._episodes, self._rollout.values)

    def _probe(self, rows: Array) -> tuple[Array, Array]:
        """Return the probe losses of the runs in `rows` and of their twins, [n] each; features see the first."""
        twin = self._twins.evaluate(rows, "probe") if self._twins is not None else np.full(len(rows), np.nan)
        probe = self._runs.evaluate(rows, "probe")
        if self.settings.reveal_validation:
            self._rollout.loop.take_validation(probe, rows)
        return probe, twin

    def _autoreset(self, observation: Array, infos: dict) -> tuple[Array, dict]:
        ended = self._ended.copy()
        final = {name: ended if name.startswith("_") else value for name, value in infos.items()}
        self._begin(np.flatnonzero(ended))
        last = {"final_obs": observation, "_final_obs": ended, "final_info": final, "_final_info": ended}
        return self._observe(), self._infos() | last

    def _check_open(self, method: str) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError(f"{method}: expected an open environment; this one was closed")

    def _check_begun(self, method: str) -> None:
        self._check_open(method)
        if not hasattr(self, "_ended"):
            raise gymnasium.error.ResetNeeded(f"{method}: expected reset() to be called first")

    def _check_running(self) -> None:
        self._check_begun("step")
        if self._ended.any() and self.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            rows = np.flatnonzero(self._ended).tolist()
            raise gymnasium.error.ResetNeeded(f"step: expected reset() of the rows {rows}, whose episodes have ended")

    def _per_group(self, actions: Array) -> Array:
        return check_action(actions, self.action_space.shape).reshape(self.num_envs, self.max_groups, -1)

    def _observe(self) -> Array:
        return flatten(self._rollout.observe(), self.settings.interface.features)

    def _infos(self, diverged: Array | None = None) -> dict[str, Any]:
        e = self._episodes
        values = {
            "loss": e.current.copy(),
            "lr": e.rate.copy(),
            "inner_steps": e.step.copy(),
            "diverged": np.zeros(self.num_envs, bool) if diverged is None else diverged,
        }
        return values | {f"_{name}": np.ones(self.num_envs, bool) for name in values}
