"""The brain as a controller: one learner per run, in every host."""

import numpy as np
import pytest
import torch

import agents
import optenv
from agents import OptBrain
from agents.check import check_controller, observations, play
from agents.policies.optbrain.brain import PATIENCE
from agents.policies.optbrain.controller import OptBrainController
from agents.policies.optbrain.credit import CAP
from optenv import tasks
from optenv.benchmark.run import constant, run_controller, run_schedule
from optenv.control.features import FEATURE_NAMES
from optenv.control.guard import authority_of
from optenv.control.knobs import KNOBS
from optenv.inner.trainer import make_trainer

RATE = 5e-3  # a tenth of what is best for this task in 400 steps


@pytest.fixture(scope="module")
def runs():
    """A bowl trained at far too low a rate: alone, and with a brain, three runs each."""
    trainer, rates = make_trainer(tasks.get("quadratic:14"), "adam"), np.full(3, RATE)
    alone = run_schedule(trainer, constant, np.arange(3), rates, 400).loss
    tuned = run_schedule(trainer, constant, np.arange(3), 10 * rates, 400).loss
    return trainer, rates, alone, tuned, run_controller(trainer, OptBrainController(), np.arange(3), rates, 400).loss


def test_it_conforms_to_the_contract_of_controllers():
    check_controller(lambda: agents.make("optbrain"))


def test_it_asks_a_guard_for_a_hundredth_to_ten_times_the_users_rate():
    assert authority_of(OptBrainController()) == (0.01, 10.0)


def test_from_neutral_it_closes_half_of_the_gap_to_a_good_rate_in_one_run(runs):
    _, _, alone, tuned, steered = runs
    closed = np.log(alone / steered).mean() / np.log(alone / tuned).mean()
    assert closed > 0.5


def test_where_there_is_nothing_to_learn_it_does_not_hurry_into_memorising():
    trainer, seeds, rates = make_trainer(tasks.get("small_classification:14"), "adam"), np.arange(1), np.full(1, 3e-5)
    alone = run_schedule(trainer, constant, seeds, rates, 1000).loss
    steered = run_controller(trainer, OptBrainController(), seeds, rates, 1000).loss
    # Where rates may rise at any time, these runs end at more than twice the loss.
    assert (steered < 1.05 * alone).all()


def test_every_run_has_a_learner_of_its_own(runs):
    trainer, rates, _, _, together = runs
    single = run_controller(trainer, OptBrainController(), np.array([1]), rates[:1], 400).loss
    assert single[0] == pytest.approx(together[1], rel=0.05)  # rounding differs with the size of the batch


def test_it_learns_in_a_run_without_any_reward_and_begins_the_next_one_neutral():
    controller, seen = OptBrainController(), observations(np.random.default_rng(0), 2, 3, 20)
    seen[..., FEATURE_NAMES.index("update_ratio")] = 0.0  # a hundredth of the weights, which is not bounded
    first = play(controller, seen)
    assert not first[:PATIENCE].any() and first.any()
    assert np.array_equal(play(controller, seen), first)


def test_weights_that_move_too_far_lower_the_scale_of_their_run_from_the_second_decision_on():
    seen = observations(np.random.default_rng(0), 2, 3, 20)[:4]
    seen[..., FEATURE_NAMES.index("descent")] = 0.0
    seen[..., FEATURE_NAMES.index("update_ratio")] = 0.0
    seen[1, 0, :, FEATURE_NAMES.index("update_ratio")] = np.log10(4.0 * CAP) / 2.0 + 1.0
    actions = play(OptBrainController(), seen)
    scales = KNOBS["scale"].absolute(actions[..., 0])
    assert not actions[0].any() and not actions[:, 1].any()
    assert scales[1, 0] == pytest.approx(0.25)
    assert scales[2, 0] == pytest.approx(1.0)  # they moved less again


def test_what_rewards_taught_is_saved_and_what_a_run_taught_is_not(tmp_path):
    controller, seen = OptBrainController(), observations(np.random.default_rng(0), 2, 3, 20)
    play(controller, seen)
    controller.save(tmp_path / "a.npz")
    assert np.array_equal(play(agents.load(tmp_path / "a.npz"), seen), play(OptBrainController(), seen))
    controller.learn(np.ones(2), np.zeros(2, bool))
    play(controller, seen)
    controller.learn(-np.ones(2), np.zeros(2, bool))
    controller.save(tmp_path / "b.npz")
    loaded = agents.load(str(tmp_path / "b.npz"))
    assert np.array_equal(play(loaded, seen), play(controller, seen))
    assert not np.array_equal(play(loaded, seen), play(OptBrainController(), seen))


def test_a_file_of_the_controller_begins_a_drop_in_and_one_of_a_drop_in_a_controller(tmp_path):
    OptBrainController(seed=4).save(tmp_path / "a.npz")
    brain = OptBrain(None, n_groups=2, pretrained=tmp_path / "a.npz")
    brain.save(tmp_path / "b.npz")
    assert isinstance(agents.load(tmp_path / "b.npz"), OptBrainController)


def test_a_damaged_file_is_named_by_load(tmp_path):
    (tmp_path / "c.npz").write_bytes(b"PK but no more")
    with pytest.raises(ValueError, match="c.npz: expected a brain file"):
        agents.load(tmp_path / "c.npz")


def test_under_controlled_optimizer_a_run_resumes_bit_for_bit(tmp_path):
    results = []
    for interrupted in (False, True):
        p = torch.nn.Parameter(torch.ones(30))
        optimizer = controlled(p)
        for step in range(300):
            if interrupted and step == 155:
                torch.save(optimizer.state_dict(), tmp_path / "state.pt")
                optimizer = controlled(p)
                optimizer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
            loss = (torch.linspace(0.1, 1.0, 30) * p.square()).sum()
            loss.backward()
            optimizer.step(loss=loss)
            optimizer.zero_grad()
        results.append(p.detach().clone())
    assert torch.equal(*results)
    assert optimizer.history[-1]["scale"][0] != 1.0


def controlled(p):
    return optenv.ControlledOptimizer(torch.optim.SGD([p], lr=1e-3), OptBrainController(), total_steps=500)


def test_it_learns_from_the_rewards_of_the_environment():
    env = optenv.OptControlVectorEnv(4, task="quadratic:14", optimizer="adam", num_inner_steps=40, steps_per_action=2)
    controller = OptBrainController()
    env.reset(seed=0)
    controller.reset(4, env.max_groups)
    for _ in range(60):
        action = controller.act(env.group_observation())
        _, reward, ended, _, _ = env.step(action.reshape(4, -1).astype(np.float32))
        controller.learn(reward, ended)
    actions = controller.act(env.group_observation())
    assert np.isfinite(actions).all() and actions.any()


def test_without_a_budget_descent_lowers_rates_to_seven_tenths_at_most():
    controller = OptBrainController()
    controller.reset(1, 2)
    observation = np.zeros((1, 2, len(FEATURE_NAMES)), np.float32)
    observation[..., [FEATURE_NAMES.index("progress"), FEATURE_NAMES.index("descent")]] = -1.0
    observation[..., FEATURE_NAMES.index("update_ratio")] = -5.0
    scales = [KNOBS["scale"].absolute(controller.act(observation)[..., 0]) for _ in range(100)]
    np.testing.assert_allclose(scales[-1], 0.7, rtol=1e-6)
