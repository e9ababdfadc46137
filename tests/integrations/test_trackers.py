"""Decisions are written into the trackers of others by their own functions."""

import sys
from types import SimpleNamespace

import pytest
import torch

import optenv
from optenv.control.controller import Neutral
from optenv.integrations.trackers import TRACKERS, tracker


def steer(trace):
    base = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(2))], "name": "only"}], lr=0.1)
    optimizer = optenv.ControlledOptimizer(base, Neutral(), total_steps=2, steps_per_action=1, trace=trace)
    for loss in (1.0, 0.5):
        base.param_groups[0]["params"][0].grad = torch.ones(2)
        optimizer.step(loss=loss)


def test_wandb_gets_every_decision_with_its_step(monkeypatch):
    logged = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(log=logged.append))
    steer(tracker("wandb"))
    assert {"control_rate/only": pytest.approx(0.1), "control/step": 1} in logged
    assert {"control/loss": 1.0, "control/step": 1} in logged


@pytest.mark.filterwarnings("default")  # of what MLflow imports
def test_mlflow_gets_every_decision_with_its_step(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    with mlflow.start_run() as run:
        steer(tracker("mlflow"))
    found = mlflow.tracking.MlflowClient().get_metric_history(run.info.run_id, "control_rate/only")
    assert [(point.step, round(point.value, 6)) for point in found] == [(0, 0.1), (1, 0.1)]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"needs {name}, and {name} is not installed: pip install {name}"):
        tracker(name)


def test_an_unknown_tracker_is_refused():
    with pytest.raises(ValueError, match="unknown tracker 'wandbb'.*Did you mean 'wandb'"):
        tracker("wandbb")
