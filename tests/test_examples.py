"""Every example runs, with a tiny budget."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
BUDGETS = {
    "embeddings": {"total_steps": 10, "most": 60},
    "deploy": {"controller": "neutral", "total_steps": 3},
    "plain_sb3": {"timesteps": 16},
    "gym_loop": {"num_inner_steps": 10},
    "own_task": {"num_inner_steps": 10},
    "own_controller": {"total_steps": 20},
    "own_reward": {"num_inner_steps": 10},
    "own_knob": {"timesteps": 256, "total_steps": 8},
    "own_feature": {"timesteps": 256, "total_steps": 8},
    "data_parallel": {"total_steps": 3},
    "huggingface_trainer": {"max_steps": 3, "examples": 64},
    "accelerate_loop": {"epochs": 1, "examples": 256},
    "lightning_module": {"max_steps": 3},
    "reward_shaping": {"timesteps": 1280, "names": ("final_loss",)},
    "ppo_from_scratch": {"task": "table_classification:3", "rollouts": 1, "runs": 4},
    "rllib_ppo": {"iterations": 1, "steps_per_iteration": 40, "env_runners": 0},
}
PACKAGES = {
    "huggingface_trainer": "transformers",
    "accelerate_loop": "accelerate",
    "lightning_module": "lightning",
    "rllib_ppo": "ray.rllib",  # wants a Gymnasium of its own choice, and so an environment of its own
}
# Lightning 2.6 with torch 2.13, and its advice on how many processes should load data.
of_lightning = pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
    r"ignore:The 'train_dataloader' does not have many workers:UserWarning",
)


@pytest.mark.usefixtures("own_rows_are_forgotten")
@of_lightning
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path):
    if path.stem in PACKAGES:
        pytest.importorskip(PACKAGES[path.stem], exc_type=ImportError)
    content = runpy.run_path(str(path))
    result = content["main"](**BUDGETS.get(path.stem, {}))
    assert result is None or result == result
