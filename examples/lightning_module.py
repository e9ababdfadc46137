"""Steer a LightningModule: nothing to it but `configure_optimizers`. `python examples/lightning_module.py`."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agents
import optenv


class Perceptron(lightning.LightningModule):
    """A perceptron that learns the product of two sines."""

    def __init__(self, controller: str, lr: float):
        """Remember what steers it."""
        super().__init__()
        self.controller, self.lr = controller, lr
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss, which Lightning's closure hands on to the optimizer."""
        inputs, targets = batch
        return nn.functional.mse_loss(self.layers(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Put the controller on top of AdamW; the budget is the trainer's."""
        base = torch.optim.AdamW(optenv.layer_groups(self), lr=self.lr)
        total_steps = int(self.trainer.estimated_stepping_batches)
        return optenv.ControlledOptimizer(base, agents.load(self.controller), total_steps=total_steps)


def main(controller: str = "ppo", max_steps: int = 300, lr: float = 1e-3, seed: int = 0) -> float:
    """Train; return the loss on the whole data set."""
    torch.manual_seed(seed)
    x = torch.rand(2048, 2) * 4 - 2
    y = torch.sin(3 * x[:, :1]) * torch.sin(2 * x[:, 1:])
    model = Perceptron(controller, lr)
    trainer = lightning.Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True))
    with torch.no_grad():
        return model.training_step((x, y), 0).item()


if __name__ == "__main__":
    print(f"loss: {main():.4f} under ppo, {main('neutral'):.4f} with AdamW alone")
