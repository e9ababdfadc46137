"""Every example runs, with a tiny budget."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
BUDGETS = {
    "deploy": {"controller": "neutral", "total_steps": 3},
    "plain_sb3": {"timesteps": 16},
    "gym_loop": {"num_inner_steps": 10},
    "own_task": {"num_inner_steps": 10},
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path):
    content = runpy.run_path(str(path))
    result = content["main"](**BUDGETS.get(path.stem, {}))
    assert result is None or result == result
