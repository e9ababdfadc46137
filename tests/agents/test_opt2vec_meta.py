"""The meta-gradient is the real one, it lowers the loss on unseen tasks, and a training resumes exactly."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from agents import EfficientMetaLearningTrainer
from agents.cli import main
from agents.policies.opt2vec.architecture import INTERFACE, make
from agents.policies.opt2vec.controller import WindowedMlpController
from agents.rules.auto import DECAY, PEAK
from agents.training.curriculum import members
from agents.training.opt2vec.meta_trainer import tempered
from agents.training.opt2vec.recipe import CHECKPOINT, CONTROLLER, Opt2VecSettings, read_settings, train
from agents.training.opt2vec.teacher import WindowTeacher, imitate_schedule
from agents.training.opt2vec.unroll import action_gradients, differentiable_steps, unroll
from optenv import tasks
from optenv.control.policy_file import PolicyFile
from optenv.inner.trainer import make_trainer

SHORT = replace(INTERFACE, first_update_norm=0.1, decisions=6)
SHAPE = {"embedding_dim": 8, "history_length": 4, "hidden": 8}


class Scripted(WindowedMlpController):
    """Acts as it is told to."""

    def play(self, script):
        self.script, self.time = script, 0
        return self

    def act(self, observation):
        super().act(observation)
        self.time += 1
        return self.script[self.time - 1]


def scripted(interface=SHORT):
    return Scripted(make(interface=interface, **SHAPE).file)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("name", ["quadratic:3", "synthetic_classification:2"])
def test_the_differentiable_steps_are_those_of_the_trainer(name, optimizer):
    trainer, rates = make_trainer(tasks.get(name), optimizer), np.array([1e-3, 1e-2])
    script = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 2, trainer.num_groups, len(SHORT.knobs)))
    runs = unroll(trainer, scripted().play(script), np.arange(2), rates, 18)
    before = runs.before[3]
    start = [before.params, *before.slots.values()]
    for tensor in start:
        tensor.requires_grad_()
    positions = torch.as_tensor(runs.positions[3], dtype=torch.float32)
    end = differentiable_steps(trainer, before, start, positions, runs.steps[3], rates, SHORT.knobs)
    expected = [runs.before[4].params, *runs.before[4].slots.values()]
    for mine, theirs in zip(end, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["quadratic:3", "synthetic_regression:6"])
def test_the_gradient_in_every_decision_is_that_of_finite_differences(name):
    trainer, rates, n = make_trainer(tasks.get(name), "adam"), np.full(2, 1e-3), 2
    script = np.random.default_rng(1).uniform(-0.3, 0.5, (6, n, trainer.num_groups, len(SHORT.knobs)))
    script[..., 2] = 0.0
    script[0, ..., 2] = -0.75  # away from its ends and from Adam's own, where the derivative is one-sided

    def log_loss(script):
        return np.log(unroll(trainer, scripted().play(script), np.arange(n), rates, 12).loss)

    runs = unroll(trainer, scripted().play(script), np.arange(n), rates, 12)
    exact = action_gradients(trainer, runs, rates, SHORT.knobs)
    for t, group, knob in ((0, 0, 0), (4, 0, 0), (3, 0, 1), (1, 0, 2)):
        moved, step = np.zeros_like(script), 0.02
        moved[t, :, group, knob] = step
        measured = (log_loss(script + moved) - log_loss(script - moved)) / (2 * step)
        # Runs are in single precision, and the difference is central: its error is of the order of step^2.
        assert np.allclose(exact[t, :, group, knob], measured, rtol=0.05, atol=2e-3)


def test_a_run_is_touched_by_its_own_decisions_alone():
    trainer = make_trainer(tasks.get("quadratic:3"), "adam")
    script = np.full((6, 2, trainer.num_groups, len(SHORT.knobs)), 0.1)
    alone, both = (
        action_gradients(
            trainer,
            unroll(trainer, scripted().play(script[:, :n]), np.arange(n), np.full(n, 1e-3), 12),
            np.full(n, 1e-3),
            SHORT.knobs,
        )
        for n in (1, 2)
    )
    assert np.allclose(alone[:, 0], both[:, 0], rtol=1e-3, atol=1e-5)


def test_gradients_are_tempered():
    gradients = np.zeros((3, 4, 1, 1))
    gradients[:, 1], gradients[:, 2], gradients[:, 3] = 1e-3, 1e9, np.nan
    found = tempered(gradients)
    norms = np.sqrt(np.square(found).sum(axis=(0, 2, 3)))
    assert norms[0] == 0.0 and norms[1] == pytest.approx(np.sqrt(3) * 1e-3 / 0.1, rel=0.02)
    assert 0.8 < norms[2] < 1.0 and norms[3] == 0.0


def meta_trainer(steps=0, **options):
    policy = make(interface=replace(INTERFACE, decisions=8), **SHAPE)
    names = [f"quadratic:{index}" for index in range(6)]
    given = {"runs_per_task": 2, "learning_rate": 0.02, "radius": 0.1, **options}
    trainer = EfficientMetaLearningTrainer(policy=policy, task_names=names, **given)
    trainer.meta_train(steps, num_tasks_per_step=2, inner_steps=2, progress=False)
    return trainer


@pytest.mark.parametrize("seed", [0, 1])
def test_meta_training_lowers_the_meta_loss_on_unseen_tasks_by_more_than_noise(seed):
    trainer, unseen, seeds = meta_trainer(seed=seed), ["quadratic:14", "quadratic:15"], range(100, 106)
    before = trainer.meta_loss(unseen, seeds, 2)
    trainer.meta_train(10, num_tasks_per_step=2, inner_steps=2, progress=False)
    gained = (before - trainer.meta_loss(unseen, seeds, 2)).ravel()  # paired: equal seeds, equal runs
    assert gained.mean() > 0.2
    assert gained.mean() > 4.0 * gained.std(ddof=1) / np.sqrt(gained.size)


def test_options_of_the_trainer_do_something():
    default = meta_trainer(1).policy.file.tensors["head_weight"]
    for options in (
        {"runs_per_task": 1},
        {"optimizer": "adamw"},
        {"hidden_budget_share": 1.0},
        {"seed": 1},
        {"learning_rate": 1e-4},
        {"radius": 1e-3},
    ):
        assert not np.array_equal(meta_trainer(1, **options).policy.file.tensors["head_weight"], default)
    plain = replace(INTERFACE, first_update_norm=None, decisions=4)
    losses = [
        EfficientMetaLearningTrainer(policy=make(interface=plain), rate=rate).meta_loss(["quadratic:3"], [0], 2)
        for rate in (1e-3, 1e-1)
    ]
    assert losses[0] != losses[1]
    with pytest.raises(ValueError, match="expected one of adam, adamw"):
        EfficientMetaLearningTrainer(optimizer="sgd")


def test_the_published_call_runs_on_the_train_split_with_its_default_architecture():
    trainer = EfficientMetaLearningTrainer(device="cpu", embedding_dim=16)
    assert {name.partition(":")[0] for name in members()} == set(tasks.synthetic.NAMES)
    assert not set(members()) & {"quadratic:14", "quadratic:15"} and len(members()) == 14 * len(tasks.synthetic.NAMES)
    assert trainer.policy.neutral_untrained
    losses = EfficientMetaLearningTrainer(device="cpu", task_names=["quadratic:0"], runs_per_task=1).meta_train(
        num_meta_steps=1, num_tasks_per_step=1, inner_steps=1, progress=False
    )
    assert len(losses) == 1 and np.isfinite(losses[0])


def test_a_diverged_run_leaves_the_policy_finite():
    policy = make(interface=SHORT, **SHAPE)
    tensors = {
        **policy.file.tensors,
        "head_bias": np.array([20.0, 0.0, 0.0], np.float32),
    }  # the rate rises e-fold each time
    wild = WindowedMlpController(
        PolicyFile(policy.kind, replace(SHORT, first_update_norm=100.0), tensors, policy.file.settings)
    )
    trainer = EfficientMetaLearningTrainer(policy=wild, task_names=["teacher_student:1"])
    trainer.meta_train(2, num_tasks_per_step=1, inner_steps=4, progress=False)
    assert all(np.isfinite(tensor).all() for tensor in trainer.policy.file.tensors.values())


def test_the_teacher_rises_then_falls_and_stays_up_where_the_budget_is_unknown():
    teacher, x = WindowTeacher(make(**SHAPE).file, np.random.default_rng(0)), np.zeros((1, 1, 12), np.float32)
    teacher.reset(1, 1)
    x[..., 0] = -1.0
    assert teacher.demonstrate(x)[1][0, 0].tolist() == [1.0, 0.0, -1.0]
    x[..., 11] = np.log10(PEAK / INTERFACE.first_update_norm)
    assert abs(teacher.demonstrate(x)[1][0, 0, 0]) < 1e-6
    x[..., 0] = 0.5
    window, wanted, actions = teacher.demonstrate(x)
    assert wanted[0, 0, 0] == pytest.approx(np.log((1.0 - 0.5 - 0.0125) / DECAY), abs=1e-6)
    assert window[0, 0].reshape(4, -1)[-1, 0] == 0.5 and 0.0 < abs(actions - wanted).max() <= 2.0


def test_the_head_start_acts_as_the_teacher():
    policy = imitate_schedule(make(interface=SHORT, **SHAPE), ["quadratic:0", "quadratic:1"], seed=0, fitting_steps=300)
    assert policy.file.notes["imitation_error"] < 0.03
    with pytest.raises(ValueError, match="relative control"):
        imitate_schedule(
            make(interface=replace(SHORT, control="absolute", first_update_norm=None)), ["quadratic:0"], seed=0
        )


TINY = Opt2VecSettings(
    tasks=("quadratic:0", "quadratic:1"),
    meta_steps=3,
    tasks_per_step=1,
    runs_per_task=1,
    inner_steps=(1,),
    imitated_inner_steps=(1,),
    fitting_steps=20,
    checkpoint_every=1,
    **SHAPE,
)


def test_an_interrupted_training_resumes_to_the_same_file(tmp_path, monkeypatch):
    whole = train(TINY, tmp_path / "whole", progress=False)
    step = EfficientMetaLearningTrainer.meta_step

    def interrupted(self, *arguments):
        if self.steps_taken == 2:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(EfficientMetaLearningTrainer, "meta_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    assert (tmp_path / "cut" / CHECKPOINT).is_file() and not (tmp_path / "cut" / CONTROLLER).exists()
    resumed = train(read_settings(tmp_path / "cut"), tmp_path / "cut", resume=True, progress=False)
    one, other = (PolicyFile.read(path) for path in (whole, resumed))
    assert all(np.array_equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert one.notes["meta_steps"] == other.notes["meta_steps"] == 3


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError):
        train(TINY, tmp_path / "none", resume=True, progress=False)
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "none2")


def plain(settings):
    return json.loads(json.dumps(asdict(settings)))


def test_the_command_line_trains_it_and_resumes_it(tmp_path, monkeypatch):
    from agents.training.opt2vec import recipe as training

    trained = []

    def recorded(settings, folder, *, resume):
        trained.append((settings, resume))
        folder.mkdir(exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(asdict(settings)))
        make(**SHAPE).save(folder / CONTROLLER)
        return folder / CONTROLLER

    monkeypatch.setattr(training, "train", recorded)
    monkeypatch.setattr("agents.compare.compared", lambda *arguments: "the report")
    asked = ["train", "--agent", "opt2vec", "--task", "quadratic:0", "--rollouts", "2", "--out", str(tmp_path / "run")]
    assert main(asked) == 0 and main(["train", "--resume", str(tmp_path / "run")]) == 0
    expected = plain(Opt2VecSettings(tasks=("quadratic:0",), meta_steps=2))
    assert [(plain(settings), resume) for settings, resume in trained] == [(expected, False), (expected, True)]
    assert main([*asked, "--optimizer", "adam", "sgd"]) == 2
