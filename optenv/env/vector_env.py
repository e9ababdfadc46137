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
from optenv.control.loop import ControlLoop
from optenv.env.checks import check_autoreset, check_mask, check_render_mode, check_seed, check_whole
from optenv.env.episodes import Episodes, pay
from optenv.env.history import History
from optenv.env.settings import make_settings
from optenv.rewards import get_reward

Array = np.ndarray
METADATA: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}


class OptControlVectorEnv(VectorEnv):
    """Train N inner runs at once; every `step` is one control step in all of them.

    Observation: `[6 run features | 6 features of group 1 | ...]`, float32; families pad to their
    widest member with zeros. Action: one number in [-1, 1] per group and knob, group by group; 0 is
    neutral. Reward: see `optenv.rewards`. An episode terminates when its budget is spent or its run
    diverges (`info["diverged"]`, reward -3); it is never truncated from within.
    """

    def __init__(self, num_envs: int = 1, *, autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
                 render_mode: str | None = None, **settings: Any):  # fmt: skip
        """Prepare N environments.

        Args:
          num_envs: N.
          autoreset_mode: SAME_STEP or DISABLED.
          render_mode: None, "rgb_array" or "ansi"; a twin is run beside every run to be drawn with it.
          **settings: see `EnvSettings`.

        Raises:
          ValueError: if a setting is unknown or out of range.
        """
        self.settings = make_settings(settings)
        self.num_envs = check_whole("num_envs", num_envs)
        self.render_mode = check_render_mode(render_mode, METADATA["render_modes"])
        self.metadata = {**METADATA, "autoreset_mode": check_autoreset(autoreset_mode)}
        self.task = tasks.get(self.settings.task)
        self._lower_bounds = np.array([member.lower_bound for member in tasks.members(self.task)])
        self._reward = get_reward(self.settings.reward)
        make_runs = self.settings.prepare_runs()
        self._runs = make_runs(self.task)
        self._twins = make_runs(self.task) if self._reward.needs_twin or render_mode is not None else None
        self._set_spaces()
        self._generators: list[np.random.Generator] = []
        self._histories = [History(row) for row in range(self.num_envs if render_mode is not None else 0)]

    def _set_spaces(self) -> None:
        low, high = bounds(self.max_groups)
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
        """
        rows = np.flatnonzero(check_mask((options or {}).get("reset_mask"), self.num_envs))
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
          Observations [N, 6 + 6 G], rewards [N], terminated [N], truncated [N] (always False), infos.

        Raises:
          ValueError: if actions have another shape or are NaN.
          gymnasium.error.ResetNeeded: if an episode had ended and was not reset.
        """
        self._check_running()
        values = self._loop.apply(self._per_group(actions))
        steps = self.settings.steps_per_action
        interval = self._runs.run(self._episodes.rate, values, steps)
        if self._twins is not None:
            self._twins.run(self._episodes.rate, {}, steps)
        self._loop.advance(interval)
        bounds = self._lower_bounds[self._episodes.member]
        trace = self._episodes.advance(steps, *self._probe(np.arange(self.num_envs)), bounds)
        diverged = self._episodes.diverged(interval.loss, bounds)
        reward = pay(self._reward, trace, diverged)
        self._ended = diverged | (self._episodes.step >= self._episodes.total)
        terminated = self._ended.copy()
        for history in self._histories:
            history.append(self._episodes, values)
        observation, infos = self._observe(), self._infos(diverged)
        if terminated.any() and self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            observation, infos = self._autoreset(np.flatnonzero(terminated), observation, infos)
        return observation, reward, terminated, np.zeros(self.num_envs, bool), infos

    def validation_loss(self) -> Array:
        """Return the loss of every run on its whole validation set, [N]."""
        return self._runs.evaluate(np.arange(self.num_envs), "valid")

    def num_groups(self) -> Array:
        """Return the number of parameter groups of every run, [N]."""
        return self._runs.num_groups(self.num_envs)

    def group_names(self, row: int = 0) -> tuple[str, ...]:
        """Return the names of the parameter groups of one row's run."""
        return self._runs.group_names(row)

    def group_observation(self) -> Array:
        """Return every group's own view, [N, G, 12]: the run's features, then its own."""
        return self._loop.observe()

    def render(self) -> tuple[Any, ...] | None:
        """Draw every run, as `render_mode` says: [H, W, 3] uint8 images or texts; None without a mode."""
        if self.render_mode is None:
            return None
        from optenv.env.render import RENDERERS

        draw = RENDERERS[self.render_mode]
        return tuple(draw(history, self.group_names(history.row)) for history in self._histories)

    def _seed(self, rows: Array, seeds: list[int | None]) -> None:
        self._generators = self._generators or [np.random.default_rng() for _ in seeds]
        for row in rows:
            if seeds[row] is not None:
                self._generators[row] = np.random.default_rng(seeds[row])

    def _begin(self, rows: Array) -> None:
        fresh = Episodes.draw([self._generators[i] for i in rows], self.settings, self._runs.num_members)
        loop = ControlLoop(self.settings.interface, fresh.total, self.max_groups)
        if len(rows) == self.num_envs:
            self._episodes, self._loop, self._ended = fresh, loop, np.zeros(self.num_envs, bool)
        self._episodes.put(rows, fresh)
        for runs in filter(None, (self._runs, self._twins)):
            runs.start(rows, fresh.member, fresh.seed)
        self._exists = np.arange(self.max_groups) < self.num_groups()[:, None]
        if self.settings.first_update is not None:
            loop.start_at(self._runs.first_update_ratio(self._episodes.rate, rows))
        self._loop.put(rows, loop)
        self._ended[rows] = False
        self._episodes.measure_first(rows, *self._probe(rows))
        for history in self._histories:
            if history.row in rows:
                history.begin(self._episodes, self._loop.values())

    def _probe(self, rows: Array) -> tuple[Array, Array]:
        """Return the probe losses of the runs in `rows` and of their twins, [n] each."""
        twin = self._twins.evaluate(rows, "probe") if self._twins is not None else np.full(len(rows), np.nan)
        return self._runs.evaluate(rows, "probe"), twin

    def _autoreset(self, rows: Array, observation: Array, infos: dict) -> tuple[Array, dict]:
        ended = np.zeros(self.num_envs, bool)
        ended[rows] = True
        final = {name: ended if name.startswith("_") else value for name, value in infos.items()}
        self._begin(rows)
        fresh, infos = self._observe(), self._infos()
        infos |= {"final_obs": observation, "_final_obs": ended, "final_info": final, "_final_info": ended}
        return np.where(ended[:, None], fresh, observation), infos

    def _check_running(self) -> None:
        if not hasattr(self, "_ended"):
            raise gymnasium.error.ResetNeeded("step: expected reset() to be called first")
        if self._ended.any():
            rows = np.flatnonzero(self._ended).tolist()
            raise gymnasium.error.ResetNeeded(f"step: expected reset() of the rows {rows}, whose episodes have ended")

    def _per_group(self, actions: Array) -> Array:
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"action: expected shape {self.action_space.shape}; received {actions.shape}")
        # Groups that only pad a narrow run stay neutral, and so observe zeros.
        return np.where(self._exists[:, :, None], actions.reshape(self.num_envs, self.max_groups, -1), 0.0)

    def _observe(self) -> Array:
        return flatten(self._loop.observe())

    def _infos(self, diverged: Array | None = None) -> dict[str, Any]:
        e = self._episodes
        values = {"loss": e.current.copy(), "lr": e.rate.copy(), "inner_steps": e.step.copy(),
                  "diverged": np.zeros(self.num_envs, bool) if diverged is None else diverged}  # fmt: skip
        return values | {f"_{name}": np.ones(self.num_envs, bool) for name in values}
