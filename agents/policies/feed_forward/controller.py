"""A trained feed-forward policy in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.policies.networks import FilePolicy, feed_forward, normalise
from optenv.control.features import flatten, num_run_features
from optenv.control.policy_file import PolicyFile

Array = np.ndarray
MOST_GROUPS = 10_000


class MlpController(FilePolicy):
    """A feed-forward policy shared by all groups: `[run features | own features] -> own knobs`."""

    kind = "mlp"
    needs_budget = True

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite.
        """
        super().__init__(file)
        self._network = feed_forward(file, len(file.interface.features))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the file: a network is a function, which cannot be."""
        return type(self), (self.file,)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Nothing to forget: the policy has no memory."""

    def act(self, observation: Array) -> Array:
        """Return the mean action of the policy, [N, G, knobs]."""
        return self._network(normalise(self.file, observation))


class FlatMlpController(FilePolicy):
    """A feed-forward policy that sees all groups at once, as the plain environment shows them: it fits their number.

    Attributes:
      groups: how many parameter groups it steers.
    """

    kind = "flat_mlp"
    needs_budget = True

    def __init__(self, file: PolicyFile):
        """Take the policy of a file.

        Raises:
          ValueError: if a tensor is missing, misshapen or not finite, or the number of groups is none.
        """
        super().__init__(file)
        self.groups = file.settings.get("groups")
        if type(self.groups) is not int or not 0 < self.groups <= MOST_GROUPS:
            raise ValueError(f"groups: expected a whole number from 1 to {MOST_GROUPS}; received {self.groups!r}")
        names = file.interface.features
        split = num_run_features(names)
        size = split + self.groups * (len(names) - split)
        self._network = feed_forward(file, size, observed=size, actions=self.groups * len(file.interface.knobs))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the file: a network is a function, which cannot be."""
        return type(self), (self.file,)

    def reset(self, num_runs: int, num_groups: int) -> None:
        """Begin runs; the policy has no memory.

        Raises:
          ValueError: if they have another number of groups.
        """
        if num_groups != self.groups:
            raise ValueError(
                f"controller: expected a run of {self.groups} parameter groups, those of the plain environment that it "
                f"was trained on; received {num_groups}. One trained on the per-group view (GroupVecEnv) steers any"
            )

    def act(self, observation: Array) -> Array:
        """Return the mean action of the policy, [N, G, knobs]."""
        seen = normalise(self.file, flatten(observation, self.interface.features))
        return self._network(seen).reshape(*observation.shape[:2], -1)
