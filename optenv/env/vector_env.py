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
from optenv.env.cohorts import Cohorts
from optenv.env.episodes import DIVERGENCE_PENALTY, Episodes
from optenv.env.history import History
from optenv.env.settings import EnvSettings
from optenv.inner.optimizers import base_values, get_rule
from optenv.inner.trainer import BatchedTrainer
from optenv.rewards import get_reward

Array = np.ndarray
AUTORESET_MODES = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


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
          render_mode: None, "rgb_array" or "ansi"; both draw the first run.
          **settings: see `EnvSettings`.

        Raises:
          ValueError: if a setting is unknown or out of range.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs: expected at least 1; received {num_envs!r}")
        self.settings = make_settings(settings)
        self.num_envs = num_envs
        self.render_mode = _check_render_mode(render_mode)
        self.metadata = {**METADATA, "autoreset_mode": _check_autoreset(autoreset_mode)}
        self.task = tasks.get(self.settings.task)
        self._reward = get_reward(self.settings.reward)
        self._runs = Cohorts(self.task, self._build_trainer)
        twin = self._reward.needs_twin or render_mode is not None
        self._twins = Cohorts(self.task, self._build_trainer) if twin else None
        self._set_spaces()
        self._generators: list[np.random.Generator] = []
        self._history = History()

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

    def _build_trainer(self, task: tasks.Task) -> BatchedTrainer:
        s = self.settings
        rule = get_rule(s.optimizer)
        base = base_values(rule, dict(s.optimizer_options or {}))
        return BatchedTrainer(task, rule, base, grouping=s.groups, device=s.device, compile=s.compile)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict]:
        """Begin new episodes.

        Args:
          seed: one seed, from which row i takes `seed + i`, or one per row, or None to go on.
          options: `{"reset_mask": [N] bool}` resets only the marked rows.

        Returns:
          Observations, [N, 6 + 6 G], and infos.
        """
        self._seed(seed)
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"reset_mask: expected {self.num_envs} booleans; received {mask!r}")
        self._begin(np.flatnonzero(mask))
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
        reward, diverged = self._pay(interval.loss)
        self._ended = diverged | (self._episodes.step >= self._episodes.total)
        terminated = self._ended.copy()
        self._history.append(self._episodes, values)
        observation, infos = self._observe(), self._infos(diverged)
        if terminated.any() and self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            observation, infos = self._autoreset(np.flatnonzero(terminated), observation, infos)
        return observation, reward, terminated, np.zeros(self.num_envs, bool), infos

    def validation_loss(self) -> Array:
        """Return the loss of every run on its whole validation set, [N]."""
        return self._runs.evaluate(self.num_envs, "valid")

    def num_groups(self) -> Array:
        """Return the number of parameter groups of every run, [N]."""
        return self._runs.num_groups(self.num_envs)

    def group_names(self, row: int = 0) -> tuple[str, ...]:
        """Return the names of the parameter groups of one row's run."""
        return self._runs.group_names(row)

    def group_observation(self) -> Array:
        """Return every group's own view, [N, G, 12]: the run's features, then its own."""
        return self._loop.observe()

    def render(self) -> Any:
        """Draw the first run: an [H, W, 3] uint8 image or a text, as `render_mode` says."""
        from optenv.env.render import RENDERERS

        return None if self.render_mode is None else RENDERERS[self.render_mode](self._history, self.group_names(0))

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        if seed is None and self._generators:
            return
        seeds = list(seed) if isinstance(seed, Sequence) else [None if seed is None else seed + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: expected one number, or one per environment ({self.num_envs}); received {len(seeds)}")
        old = self._generators or [np.random.default_rng() for _ in seeds]
        self._generators = [g if s is None else np.random.default_rng(s) for g, s in zip(old, seeds, strict=True)]

    def _begin(self, rows: Array) -> None:
        fresh = Episodes.draw([self._generators[i] for i in rows], self.settings, self._runs.num_members)
        loop = ControlLoop(self.settings.interface, fresh.total, self.max_groups)
        if len(rows) == self.num_envs:
            self._episodes, self._loop, self._ended = fresh, loop, np.zeros(self.num_envs, bool)
        elif not hasattr(self, "_episodes"):
            raise gymnasium.error.ResetNeeded("the first reset must be of all environments")
        self._episodes.put(rows, fresh)
        for runs in filter(None, (self._runs, self._twins)):
            runs.start(rows, fresh.member, fresh.seed)
        if self.settings.first_update is not None:
            loop.start_at(self._runs.first_update_ratio(self._episodes.rate, rows))
        self._loop.put(rows, loop)
        self._ended[rows] = False
        self._episodes.measure_first(rows, *self._probe())
        if 0 in rows:
            self._history = History()
            self._history.append(self._episodes, self._loop.values())

    def _probe(self) -> tuple[Array, Array]:
        nothing = np.full(self.num_envs, np.nan)
        twin = self._twins.evaluate(self.num_envs, "probe") if self._twins is not None else nothing
        return self._runs.evaluate(self.num_envs, "probe"), twin

    def _pay(self, interval_loss: Array) -> tuple[Array, Array]:
        bound = self._lower_bounds()
        trace = self._episodes.advance(self.settings.steps_per_action, *self._probe(), bound)
        diverged = self._episodes.diverged(interval_loss, bound)
        with np.errstate(all="ignore"):
            reward = self._reward.function(trace)
        return np.where(diverged | ~np.isfinite(reward), -DIVERGENCE_PENALTY, reward), diverged

    def _lower_bounds(self) -> Array:
        bounds = np.array([self._runs.trainer(m).task.lower_bound for m in range(self._runs.num_members)])
        return bounds[self._episodes.member]

    def _autoreset(self, rows: Array, observation: Array, infos: dict) -> tuple[Array, dict]:
        ended = np.zeros(self.num_envs, bool)
        ended[rows] = True
        final = {name: value for name, value in infos.items() if not name.startswith("_")}
        self._begin(rows)
        fresh, infos = self._observe(), self._infos()
        infos |= {"final_obs": observation, "_final_obs": ended, "final_info": final, "_final_info": ended}
        return np.where(ended[:, None], fresh, observation), infos

    def _check_running(self) -> None:
        if not hasattr(self, "_ended"):
            raise gymnasium.error.ResetNeeded("step: expected reset() to be called first")
        if self._ended.any():
            raise gymnasium.error.ResetNeeded(f"step: the episodes in rows {np.flatnonzero(self._ended).tolist()} have ended")

    def _per_group(self, actions: Array) -> Array:
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"action: expected shape {self.action_space.shape}; received {actions.shape}")
        return actions.reshape(self.num_envs, self.max_groups, -1)

    def _observe(self) -> Array:
        return flatten(self._loop.observe())

    def _infos(self, diverged: Array | None = None) -> dict[str, Any]:
        e = self._episodes
        values = {"loss": e.current.copy(), "lr": e.rate.copy(), "inner_steps": e.step.copy(),
                  "diverged": np.zeros(self.num_envs, bool) if diverged is None else diverged}  # fmt: skip
        return values | {f"_{name}": np.ones(self.num_envs, bool) for name in values}


METADATA: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}


def make_settings(settings: dict[str, Any]) -> EnvSettings:
    """Build the settings from keyword arguments.

    Raises:
      ValueError: if a keyword is unknown or a value out of range.
    """
    from optenv.errors import unknown_name

    known = EnvSettings.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise unknown_name("environment setting", name, known)
    return EnvSettings(**settings)


def _check_autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    mode = AutoresetMode(mode)
    if mode not in AUTORESET_MODES:
        raise ValueError(f"autoreset_mode: expected SAME_STEP or DISABLED; received {mode.name}")
    return mode


def _check_render_mode(mode: str | None) -> str | None:
    from optenv.errors import unknown_name

    if mode is not None and mode not in METADATA["render_modes"]:
        raise unknown_name("render_mode", mode, METADATA["render_modes"])
    return mode
