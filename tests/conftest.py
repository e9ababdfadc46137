"""What holds for every test: one thread per process, and the same examples in every run."""

import torch
from hypothesis import settings

torch.set_num_threads(1)

# No deadline: the first call of a test pays for imports and caches. Derandomized: the gate gives one verdict per tree.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate")
