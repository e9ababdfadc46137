"""GARO's network in torch, to fit it: the same tensors as `GruController`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from agents.policies.garo.controller import EMITTED
from optenv.control.policy_file import PolicyFile

Array = np.ndarray
NAMES = {
    "gru_input": "recurrent.weight_ih_l0",
    "gru_hidden": "recurrent.weight_hh_l0",
    "gru_input_bias": "recurrent.bias_ih_l0",
    "gru_hidden_bias": "recurrent.bias_hh_l0",
    "weight0": "head.weight",
    "bias0": "head.bias",
}


class GruTwin(nn.Module):
    """From whole runs of normalised observations, [T, runs, features], to emissions, [T, runs, 3]."""

    def __init__(self, file: PolicyFile):
        """Take the weights of a policy file; its statistics are replaced by `prepare`."""
        super().__init__()
        self._file, width = file, file.tensors["gru_hidden"].shape[1]
        with torch.random.fork_rng(devices=[]):  # torch draws weights, which are replaced, from the global generator
            self.recurrent, self.head = nn.GRU(len(file.interface.features), width), nn.Linear(width, len(EMITTED))
        self.load_state_dict({own: torch.as_tensor(file.tensors[name]) for name, own in NAMES.items()})

    def prepare(self, seen: Array) -> Tensor:
        """Take the statistics of observations, [T, runs, features], and normalise them."""
        flat = seen.reshape(-1, seen.shape[-1])
        self._mean, self._std = flat.mean(axis=0), flat.std(axis=0) + 1e-2
        return torch.as_tensor(np.clip((seen - self._mean) / self._std, -10.0, 10.0)).float()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the emissions."""
        return self.head(self.recurrent(inputs)[0])

    def export(self) -> PolicyFile:
        """Return the fitted policy, with the statistics that it was fitted under."""
        own = self.state_dict()
        fitted = {name: own[key].numpy().copy() for name, key in NAMES.items()}
        return replace(self._file, tensors={**fitted, "mean": _single(self._mean), "std": _single(self._std)})


def _single(x: Array) -> Array:
    return x.astype(np.float32)
