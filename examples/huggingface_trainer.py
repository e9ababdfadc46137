"""Steer Hugging Face's Trainer, here a tiny BERT on made-up sentences: `python examples/huggingface_trainer.py`."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import agents
import optenv
from optenv.integrations.huggingface import ControlCallback


def sentences(number: int, generator: torch.Generator) -> list[dict[str, torch.Tensor]]:
    """Return sentences of 8 out of 20 words; a sentence's label says whether most of its words are even."""
    words = torch.randint(1, 20, (number, 8), generator=generator)
    labels = ((words % 2).sum(1) < 4).long()
    return [{"input_ids": w, "labels": y} for w, y in zip(words, labels, strict=True)]


def main(
    controller: str = "auto", max_steps: int = 200, examples: int = 2000, lr: float = 1e-3, seed: int = 0
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
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                max_steps=max_steps,
                per_device_train_batch_size=32,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                seed=seed,
            ),
            train_dataset=sentences(examples, generator),
            eval_dataset=sentences(examples // 4, generator),
            optimizers=(optimizer, constant),
            callbacks=[ControlCallback()],  # Trainer itself calls `step` without a loss
        )
        trainer.train()
        return trainer.evaluate()["eval_loss"]


if __name__ == "__main__":
    print(f"loss on fresh sentences: {main():.3f} under auto, {main('neutral'):.3f} with AdamW alone")
