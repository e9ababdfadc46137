"""Every vector wrapper that Gymnasium ships works on top, in every autoreset mode that it supports."""

from itertools import product

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TransformAction, TransformObservation, TransformReward, vector

SMALL = {"task": "synthetic_classification:1", "num_inner_steps": 10, "steps_per_action": 5}
NEEDS_A_WINDOW_OR_AN_EXTRA_PACKAGE = {"HumanRendering", "ArrayConversion", "JaxToNumpy", "JaxToTorch", "NumpyToTorch"}
FOR_IMAGES_OR_DICTIONARIES = {"GrayscaleObservation", "ResizeObservation", "FilterObservation"}


def doubled(values):
    return 2 * values


WRAPPERS = {
    "VectorizeTransformObservation": {"wrapper": TransformObservation, "func": doubled, "observation_space": None},
    "VectorizeTransformAction": {"wrapper": TransformAction, "func": doubled, "action_space": None},
    "VectorizeTransformReward": {"wrapper": TransformReward, "func": doubled},
    "DictInfoToList": {},
    "TransformObservation": {"func": doubled},
    "FlattenObservation": {},
    "ReshapeObservation": {"shape": (2, 6)},
    "RescaleObservation": {"min_obs": np.float32(-1.0), "max_obs": np.float32(1.0)},
    "DtypeObservation": {"dtype": np.float64},
    "NormalizeObservation": {},
    "TransformAction": {"func": doubled},
    "ClipAction": {},
    "RescaleAction": {"min_action": np.full(3, -2, np.float32), "max_action": np.full(3, 2, np.float32)},
    "TransformReward": {"func": doubled},
    "ClipReward": {"min_reward": -0.5, "max_reward": 0.5},
    "NormalizeReward": {},
    "RecordEpisodeStatistics": {},
}


def supports(name, mode):
    """Whether Gymnasium lets the wrapper have this mode."""
    if name == "NormalizeObservation":
        return mode is AutoresetMode.NEXT_STEP
    return mode is not AutoresetMode.SAME_STEP or not name.endswith("Observation")


def test_no_vector_wrapper_is_forgotten():
    elsewhere = NEEDS_A_WINDOW_OR_AN_EXTRA_PACKAGE | FOR_IMAGES_OR_DICTIONARIES | {"RecordVideo"}  # see test_checkers
    assert set(vector.__all__) == set(WRAPPERS) | elsewhere


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # Gymnasium's own, of infinite bounds
@pytest.mark.parametrize(("name", "mode"), [pair for pair in product(WRAPPERS, AutoresetMode) if supports(*pair)])
def test_every_vector_wrapper_works_on_top(name, mode):
    native = gymnasium.make_vec("OptControl-v0", num_envs=2, autoreset_mode=mode, **SMALL)
    by_gymnasium = gymnasium.make_vec(
        "OptControl-v0", num_envs=2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **SMALL
    )
    envs = [getattr(vector, name)(env, **WRAPPERS[name]) for env in (native, by_gymnasium)]
    assert envs[0].observation_space == envs[1].observation_space
    same_observations(*(env.reset(seed=0)[0] for env in envs))
    for _ in range(5):
        one, other = (env.step(np.full(env.action_space.shape, 0.25, np.float32)) for env in envs)
        same_observations(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], atol=1e-5)
        assert (one[2] == other[2]).all() and (one[3] == other[3]).all()
        same_infos(one[4], other[4])
        if mode is AutoresetMode.DISABLED and one[2].any():
            for env in envs:
                env.reset(options={"reset_mask": one[2].copy()})
    for env in envs:
        env.close()


def same_observations(one, other):
    assert one.dtype == other.dtype
    np.testing.assert_allclose(one, other, atol=1e-4)  # rows of a stacked product round differently


def same_infos(one, other):
    """Check that infos hold the same names, final observations included; the time that passed is left out."""
    if isinstance(one, list):
        for row, other_row in zip(one, other, strict=True):
            same_infos(row, other_row)
        return
    assert set(one) == set(other)
    for name in set(one) - {"t", "_t"}:
        if isinstance(one[name], dict):
            same_infos(one[name], other[name])
        elif name == "final_obs":
            ended = one["_final_obs"] if np.ndim(one[name]) > 1 else ...
            same_observations(np.stack(one[name][ended]), np.stack(other[name][ended]))
        else:
            np.testing.assert_allclose(np.asarray(one[name], float), np.asarray(other[name], float), atol=1e-4)
