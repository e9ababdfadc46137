"""The callback for Lightning logs the knobs, and shows the losses of manual optimization."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import optenv
from optenv.control.controller import Neutral

lightning = pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


class Model(lightning.LightningModule):
    def __init__(self, automatic, **settings):
        super().__init__()
        self.settings, self.told = settings, []
        self.layer, self.automatic_optimization, self.losses = nn.Linear(2, 1), automatic, []

    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.losses.append(loss.item())
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self):
        base = torch.optim.SGD(optenv.layer_groups(self), lr=0.1)
        self.controlled = optenv.ControlledOptimizer(base, Neutral(), steps_per_action=1, **self.settings)
        return self.controlled

    def validation_step(self, batch, index):
        loss = (self.layer(batch[0]) - 1.0).square().mean()
        self.log("val_loss", loss)
        self.told.append((loss.item(), [p.detach().clone() for p in self.parameters()]))


@pytest.mark.parametrize("automatic", [True, False])
def test_losses_reach_the_controller_and_knobs_the_logger(automatic, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    from optenv.integrations.lightning import LightningControlCallback

    model = Model(automatic)
    trainer = lightning.Trainer(
        max_steps=3, accelerator="cpu", logger=CSVLogger(tmp_path), log_every_n_steps=1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, callbacks=[LightningControlCallback()],
    )  # fmt: skip
    trainer.fit(model, DataLoader(TensorDataset(torch.randn(24, 2)), batch_size=8))
    assert [d["loss"] for d in model.controlled.history[1:]] == pytest.approx(model.losses[:2])
    assert trainer.logged_metrics["control_rate/layer"] == pytest.approx(0.1)


def test_the_weights_of_the_least_validation_loss_are_in_place_at_the_end():
    from optenv.integrations.lightning import LightningControlCallback

    torch.manual_seed(0)
    model = Model(True, keep_best=True)  # which trains towards 0, while the validation loss is least at 1
    nn.init.constant_(model.layer.bias, 2.0)
    trainer = lightning.Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=[LightningControlCallback()],
    )  # fmt: skip
    data = DataLoader(TensorDataset(torch.randn(16, 2)), batch_size=16)
    trainer.fit(model, data, data)
    told = model.told[-8:]  # without those of the sanity check
    loss, weights = min(told, key=lambda pair: pair[0])
    assert loss < told[-1][0]
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), weights, strict=True))
