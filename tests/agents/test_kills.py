"""Commands that are killed end as those left alone; `benchmarks/kills.py` kills fifty times."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_killed_training_and_a_killed_comparison_lose_nothing_and_do_nothing_twice():
    script = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "kills.py")]
    asked = [*script, "--kills", "3", "--job", "opt2vec", "compare"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(asked, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 kills, each resumed" in ran.stdout
