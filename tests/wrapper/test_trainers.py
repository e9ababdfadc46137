"""The loss reaches the optimizer, and a checkpoint its trainer, also where somebody else calls `step`."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn, optim

import optenv

EXAMPLES = Path(__file__).parents[2] / "examples"


def controlled(problem, controller, **settings):
    return optenv.ControlledOptimizer(optim.SGD(problem.groups, lr=0.1), controller, steps_per_action=1, **settings)


def test_observed_losses_add_up_as_gradients_do_until_the_step(problem, fixed):
    steering = controlled(problem, fixed(0.0))
    for losses in ([1.0], [0.25, torch.tensor(0.5)], [torch.tensor([2.0])]):
        problem.loss(0).backward()
        for loss in losses:
            steering.observe(loss)
        steering.step()
    steering.step(loss=7.0)
    steering.step(loss=0.0)
    assert [decision["loss"] for decision in steering.history] == [None, 1.0, 0.75, 2.0, 7.0]


def test_an_observed_loss_is_forgotten_with_the_gradients_and_gives_way_to_one_that_step_is_given(problem, fixed):
    steering = controlled(problem, fixed(0.0))
    steering.observe(3.0)
    steering.zero_grad()
    with pytest.raises(ValueError, match="expected loss="):
        steering.step()
    assert all(p.grad is None for p in problem.model.parameters())
    for step in (lambda: steering.step(loss=1.0), lambda: steering.step(lambda: torch.tensor(2.0))):
        steering.observe(3.0)
        step()
    steering.observe(4.0)
    steering.pause()
    steering.step()
    steering.resume()
    copy.deepcopy(steering).step(loss=5.0)
    steering.step()
    steering.step(loss=3.0)
    assert [decision["loss"] for decision in steering.history] == [None, 1.0, 2.0, 2.0]


def test_what_is_observed_is_a_single_number(problem, fixed):
    with pytest.raises(ValueError, match=r"expected a loss that is a single number; received shape \(2,\)"):
        controlled(problem, fixed(0.0)).observe(torch.zeros(2))


@pytest.fixture
def make_trainer(fixed, tmp_path):
    """A Trainer of the example, over a tiny model, that steps on two minibatches each."""
    transformers = pytest.importorskip("transformers")
    example = runpy.run_path(str(EXAMPLES / "huggingface_trainer.py"))

    def make():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
        model = transformers.BertForSequenceClassification(config)
        base = optim.AdamW(optenv.layer_groups(model), lr=1e-2)
        optimizer = optenv.ControlledOptimizer(base, fixed(0.2, control="relative"), steps_per_action=1)
        settings = transformers.TrainingArguments(
            str(tmp_path),
            max_steps=4,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            save_steps=2,
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = transformers.Trainer(
            model,
            settings,
            train_dataset=example["sentences"](64, torch.Generator().manual_seed(0)),
            optimizers=(optimizer, optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)),
            callbacks=[pytest.importorskip("optenv.integrations.huggingface").ControlCallback()],
        )
        trainer.controlled = optimizer
        return trainer

    return make


def test_a_trainer_s_optimizer_sees_the_losses_it_reports_and_resumes_from_its_checkpoints(make_trainer, tmp_path):
    whole = make_trainer()
    whole.train()
    reported = [float(log["loss"]) for log in whole.state.log_history if "loss" in log]
    observed = [decision["loss"] for decision in whole.controlled.history]
    assert observed[0] is None
    assert observed[1:] == pytest.approx(reported[:3], abs=1e-3)  # it reports four digits
    assert all(0 < log["control_scale/classifier"] for log in whole.state.log_history if "loss" in log)
    resumed = make_trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [decision["step"] for decision in resumed.controlled.history] == [2, 3]
    one, two = (nn.utils.parameters_to_vector(t.model.parameters()) for t in (whole, resumed))
    assert torch.equal(one, two)


def test_a_loop_of_accelerate_observes_the_loss_of_the_whole_update(problem, fixed):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    steering = controlled(problem, fixed(0.0))
    model, optimizer = accelerator.prepare(problem.model, steering)
    losses = []
    for step in range(6):
        with accelerator.accumulate(model):
            loss = problem.loss(step)
            accelerator.backward(loss)
            steering.observe(loss / 2)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    means = [(losses[0] + losses[1]) / 2, (losses[2] + losses[3]) / 2]
    assert [decision["loss"] for decision in steering.history[1:]] == pytest.approx(means)
