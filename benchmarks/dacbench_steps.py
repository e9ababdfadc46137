"""Print how many steps per CPU second DACBench's SGD environment takes; run by a Python that has DACBench 0.5.6.

Its batch mode on a 784-64-10 perceptron, batch 64, with synthetic images in MNIST's shape instead of a download.
"""

from __future__ import annotations

import time

import torch
from dacbench.benchmarks import SGDBenchmark
from dacbench.envs import SGDInstance
from PIL import Image
from torch import nn
from torchvision import datasets

STEPS = 60


class SyntheticMnist(torch.utils.data.Dataset):
    """Noise with the interface of `torchvision.datasets.MNIST`."""

    def __init__(self, root, train=True, download=False, transform=None):
        """Draw 60,000 or, for testing, 10,000 images."""
        generator = torch.Generator().manual_seed(0)
        rows = 60_000 if train else 10_000
        self.images = torch.randint(256, (rows, 28, 28), generator=generator, dtype=torch.uint8).numpy()
        self.labels = torch.randint(10, (rows,), generator=generator).tolist()
        self.classes, self.transform = list(range(10)), transform

    def __len__(self):
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index):
        """Return one image and its label."""
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def make_model() -> nn.Module:
    """Build the perceptron with the outputs DACBench's loss expects."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10), nn.LogSoftmax(1))


def main() -> None:
    """Measure."""
    torch.set_num_threads(1)
    datasets.MNIST = SyntheticMnist
    benchmark = SGDBenchmark()
    options = {"weight_decay": 1e-2, "eps": 1e-8, "betas": (0.9, 0.999)}
    instance = SGDInstance(make_model, torch.optim.AdamW, options, "data", "MNIST", 64, 1.0, 0.8, 0)
    benchmark.config.update({"instance_set": {0: instance}, "epoch_mode": False, "cutoff": 10 * STEPS})
    env = benchmark.get_environment()
    env.reset()
    env.step(1e-3)
    start = time.process_time()
    for _ in range(STEPS):
        env.step(1e-3)
    print(STEPS / (time.process_time() - start))


if __name__ == "__main__":
    main()
