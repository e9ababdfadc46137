"""Steer a LightningModule, and keep the weights that validate best: `python examples/lightning_module.py`."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agents
import optenv
from optenv.integrations.lightning import LightningControlCallback


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

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        """Log the validation loss under the name that the callback reads."""
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Put the controller on top of AdamW; the budget is the trainer's."""
        base = torch.optim.AdamW(optenv.layer_groups(self), lr=self.lr)
        total_steps = int(self.trainer.estimated_stepping_batches)
        return optenv.ControlledOptimizer(base, agents.load(self.controller), total_steps=total_steps, keep_best=True)


def points(number: int) -> TensorDataset:
    """Return points of a square and the product of two sines there."""
    x = torch.rand(number, 2) * 4 - 2
    return TensorDataset(x, torch.sin(3 * x[:, :1]) * torch.sin(2 * x[:, 1:]))


def main(controller: str = "auto", max_steps: int = 300, lr: float = 1e-3, seed: int = 0) -> float:
    """Train; return the loss on fresh points."""
    torch.manual_seed(seed)
    train, valid, test = points(2048), points(512), points(2048)
    model = Perceptron(controller, lr)
    trainer = lightning.Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LightningControlCallback(monitor="val_loss")],
    )
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(valid, batch_size=512))
    with torch.no_grad():
        return model.training_step(test.tensors, 0).item()


if __name__ == "__main__":
    print(f"loss: {main():.4f} under auto, {main('neutral'):.4f} with AdamW alone")
