"""Worker processes of a rollout: what they hand back, and how they end."""

from multiprocessing import Pipe

import pytest
import torch

from agents.training import rollout_workers

WORK = {"a result": lambda self, drawn: 1, "an error": lambda self, drawn: 1 / 0}
every = pytest.mark.parametrize("work", WORK.values(), ids=WORK)


@pytest.fixture
def pipe(monkeypatch):
    """Both ends of a worker's pipe; its work is done in this process, whose threads stay as they are."""
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


@every
def test_a_worker_whose_caller_is_gone_ends_silently(pipe, monkeypatch, capfd, work):
    monkeypatch.setattr(rollout_workers.LocalWorker, "begin", work)
    ours, theirs = pipe
    ours.send(("begin", []))
    ours.close()
    rollout_workers._serve(theirs)
    assert capfd.readouterr() == ("", "")


def raising(error):
    def work(self, argument):
        raise error

    return work


def test_an_error_in_a_worker_is_handed_to_the_caller_and_an_interrupt_ends_it(pipe, monkeypatch):
    monkeypatch.setattr(rollout_workers.LocalWorker, "begin", raising(ConnectionError("of the work, not of the pipe")))
    monkeypatch.setattr(rollout_workers.LocalWorker, "step", raising(KeyboardInterrupt()))
    ours, theirs = pipe
    ours.send(("begin", []))
    ours.send(("step", None))
    rollout_workers._serve(theirs)
    assert isinstance(ours.recv(), ConnectionError) and not ours.poll()
