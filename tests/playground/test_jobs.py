"""Jobs: watched, stopped, given up, and no trouble to each other."""

import threading
import time

import pytest

from agents.playground import jobs
from agents.playground.jobs import Job
from agents.playground.run_settings import TrainingSettings
from agents.playground.steering import train


def counting(gate=None, most=10**6):
    for k in range(most):
        if gate is not None:
            gate.wait(60.0)
        yield k
        time.sleep(0.001)


def test_events_can_be_watched_while_the_job_runs_and_stop_ends_it():
    job = Job(counting, "settings")
    while len(job.events()) < 3:
        time.sleep(0.005)
    assert job.state == "running" and job.active
    job.stop()
    job.join(60.0)
    assert job.state == "stopped" and not job.active
    assert job.events() == list(range(len(job.events()))) and job.settings == "settings"


def test_a_job_ends_by_itself_and_what_goes_wrong_is_kept():
    done = Job(lambda: counting(most=3), None)
    done.join(60.0)
    assert (done.state, done.events()) == ("done", [0, 1, 2])
    failed = Job(lambda: (1 // k for k in (1, 0)), None)
    failed.join(60.0)
    assert failed.state == "failed" and isinstance(failed.error, ZeroDivisionError) and failed.events() == [1]


def test_a_job_that_nobody_watches_is_given_up(monkeypatch):
    monkeypatch.setattr(jobs, "PATIENCE", 0.05)
    job = Job(counting, None)
    job.join(60.0)
    assert job.state == "stopped"


def test_jobs_beyond_the_machines_cores_wait_their_turn(monkeypatch):
    monkeypatch.setattr(jobs, "_turns", threading.BoundedSemaphore(1))
    gate = threading.Event()
    first = Job(lambda: counting(gate, 2), None)
    while first.state == "waiting":
        time.sleep(0.005)
    second, third = Job(lambda: counting(most=2), None), Job(counting, None)
    time.sleep(0.02)
    assert (second.state, third.state) == ("waiting", "waiting")
    third.stop()
    gate.set()
    for job in (first, second, third):
        job.join(60.0)
    assert (first.state, second.state, third.state) == ("done", "done", "stopped") and third.events() == []


def test_trainings_side_by_side_give_the_numbers_of_one_alone():
    settings = [TrainingSettings(task="wine", controllers=("neutral", "ppo"), steps=20, seed=s) for s in (0, 1)]

    def losses(events):
        return [(event.controller, event.step, float(event.loss[0])) for event in events]

    alone = [losses(train(s)) for s in settings]
    together = [Job(lambda s=s: train(s), s) for s in settings]
    for job, expected in zip(together, alone, strict=True):
        job.join(30.0)
        assert job.state == "done" and losses(job.events()) == expected
    assert alone[0] != alone[1]


@pytest.mark.parametrize("controllers", [("neutral", "cosine")])
def test_controllers_take_turns_so_that_all_curves_grow_together(controllers):
    events = list(train(TrainingSettings(task="wine", controllers=controllers, steps=10)))
    assert [event.controller for event in events[:6]] == [*controllers] * 3
