"""What holds for every test: one thread per process, and the same examples in every run."""

import pytest
import torch
from hypothesis import settings

from optenv.control.features import FEATURES
from optenv.control.knobs import KNOBS
from optenv.inner.optimizers import OPTIMIZERS

torch.set_num_threads(1)

# No deadline: the first call of a test pays for imports and caches. Derandomized: the gate gives one verdict per tree.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate")


@pytest.fixture
def movable_knobs():
    """From the name of a built-in optimizer to the knobs that it has something for."""

    def knobs(optimizer):
        has = set(OPTIMIZERS[optimizer].hyperparameters)
        return [name for name, knob in KNOBS.items() if not knob.moves or has & set(knob.moves)]

    return knobs


@pytest.fixture
def own_rows_are_forgotten():
    """Knobs and features that a test registers are not there for the tests that follow."""
    before = [(registry, dict(registry)) for registry in (KNOBS, FEATURES)]
    yield
    for registry, rows in before:
        registry.clear()
        registry.update(rows)
