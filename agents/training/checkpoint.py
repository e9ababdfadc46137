"""Checkpoints of a training, written in a single step; they can execute code, so read only those of your own runs."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.training.algorithms import Algorithm
from agents.training.run_folder import replace_file
from optenv.errors import needed_for
from optenv.files import reading

with needed_for("training with stable-baselines3"):
    from stable_baselines3.common.vec_env import VecNormalize

NAME = "checkpoint.pt"


def save_checkpoint(folder: Path, model: Any, env: VecNormalize, algorithm: Algorithm) -> None:
    """Write everything needed to go on exactly from here.

    The file replaces the last one in a single step, so that a process killed at any moment leaves
    the old checkpoint or the new one.
    """
    zipped, replay = io.BytesIO(), io.BytesIO()
    model.save(zipped)
    if algorithm.off_policy:
        model.save_replay_buffer(replay)
    content = {
        "model": zipped.getvalue(),
        "replay": replay.getvalue(),
        "observation": dict(vars(env.obs_rms)),
        "draws": env.venv.get_state(),  # type: ignore[attr-defined]
        "random": random_state(),
    }
    whole = io.BytesIO()
    torch.save(content, whole)
    replace_file(folder / NAME, whole.getvalue())


def load_checkpoint(folder: Path, env: VecNormalize, algorithm: Algorithm) -> Any:
    """Return the model of a checkpoint, with `env` and the random state set to go on from there.

    The checkpoint holds stable-baselines3's own format, which can execute code: resume only runs of
    your own.

    Raises:
      FileNotFoundError: if the folder has no checkpoint.
    """
    path = folder / NAME
    with reading(path, "a checkpoint to resume from"):
        content = torch.load(path, weights_only=False)
    for name, value in content["observation"].items():
        setattr(env.obs_rms, name, value)
    env.venv.set_state(content["draws"])  # type: ignore[attr-defined]
    # The model kept its last observations, so drawing the environments again must not count them twice.
    env.training = False
    env.reset()
    env.training = True
    model = algorithm.load_class().load(io.BytesIO(content["model"]), env=env, device="cpu", force_reset=False)
    if algorithm.off_policy:
        model.load_replay_buffer(io.BytesIO(content["replay"]))
    set_random_state(content["random"])
    return model


def random_state() -> dict[str, Any]:
    """Return the state of the global generators: stable-baselines3 draws from them, so an exact resume needs it."""
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}


def set_random_state(state: dict[str, Any]) -> None:
    """Let the global generators go on from what `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
