"""Steer Hugging Face's Trainer, here a tiny BERT on made-up sentences: `python examples/huggingface_trainer.py`."""

import tempfile
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import agents
import optenv


class ControlledTrainer(Trainer):
    """A Trainer that shows its optimizer every loss: `Trainer` itself calls `step` without one.

    What `training_step` returns is the minibatch's share of the loss that the optimizer will step on,
    also under gradient accumulation and mixed precision; `observe` adds the shares up.
    """

    def __init__(self, *args: Any, optimizers: tuple, **kwargs: Any):
        """Remember the optimizer; the Trainer will wrap it."""
        super().__init__(*args, optimizers=optimizers, **kwargs)
        self.controlled = optimizers[0]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run a minibatch forward and backward, and observe its loss."""
        loss = super().training_step(*args, **kwargs)
        self.controlled.observe(loss)
        return loss


def sentences(number: int, generator: torch.Generator) -> list[dict[str, torch.Tensor]]:
    """Return sentences of 8 out of 20 words; a sentence's label says whether most of its words are even."""
    words = torch.randint(1, 20, (number, 8), generator=generator)
    labels = ((words % 2).sum(1) < 4).long()
    return [{"input_ids": w, "labels": y} for w, y in zip(words, labels, strict=True)]


def main(
    controller: str = "adaptive", max_steps: int = 200, examples: int = 2000, lr: float = 1e-3, seed: int = 0
) -> float:
    """Train; return the loss on fresh sentences."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = BertConfig(vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    model = BertForSequenceClassification(config)
    base = torch.optim.AdamW(optenv.layer_groups(model), lr=lr)
    optimizer = optenv.ControlledOptimizer(base, agents.load(controller), total_steps=max_steps)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)  # or a schedule of your own
    with tempfile.TemporaryDirectory() as folder:
        trainer = ControlledTrainer(
            model,
            TrainingArguments(
                folder, max_steps=max_steps, per_device_train_batch_size=32, save_strategy="no", logging_strategy="no",
                report_to=[], disable_tqdm=True, use_cpu=True, seed=seed,
            ),
            train_dataset=sentences(examples, generator),
            eval_dataset=sentences(examples // 4, generator),
            optimizers=(optimizer, constant),
        )  # fmt: skip
        trainer.train()
        return trainer.evaluate()["eval_loss"]


if __name__ == "__main__":
    print(f"loss on fresh sentences: {main():.3f} under adaptive, {main('neutral'):.3f} with AdamW alone")
