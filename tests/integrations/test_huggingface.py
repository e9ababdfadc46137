"""The callback for Hugging Face's Trainer hands on validation losses, and the best weights are in place at the end."""

import pytest
import torch
from torch import nn

import optenv
from optenv.control.controller import Neutral

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


class Model(nn.Module):
    """Trains its bias towards 0; what it is evaluated by is least at 1."""

    def __init__(self):
        super().__init__()
        self.bias, self.told = nn.Parameter(torch.tensor([2.0])), []

    def forward(self, x, labels=None):
        loss = (self.bias + 0.0 * x - float(not self.training)).square().mean()
        if not self.training:
            self.told.append((loss.item(), self.bias.item()))
        return {"loss": loss, "logits": self.bias + 0.0 * x}


def test_the_weights_of_the_least_validation_loss_are_in_place_at_the_end(tmp_path):
    from optenv.integrations.huggingface import ControlCallback

    model, data = Model(), [{"x": torch.zeros(1), "labels": torch.zeros(1)}] * 8
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer = optenv.ControlledOptimizer(base, Neutral(), steps_per_action=1, keep_best=True)
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=8, per_device_train_batch_size=8, per_device_eval_batch_size=8, eval_strategy="steps",
        eval_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, max_grad_norm=0.0,
    )  # fmt: skip
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = transformers.Trainer(
        model, arguments, train_dataset=data, eval_dataset=data, optimizers=(optimizer, constant),
        callbacks=[ControlCallback()],
    )  # fmt: skip
    trainer.train()
    loss, bias = min(model.told)
    assert loss < model.told[-1][0] and model.bias.item() == pytest.approx(bias, abs=0.0)
