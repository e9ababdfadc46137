"""Two processes that train one model, replicated (DDP) or sharded (FSDP2), decide as one would."""

import json

import numpy as np
import pytest

DECISIONS, STEPS = 40, 200
both = pytest.mark.parametrize("kind", ["ddp", "fsdp"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def reports(folder, run_ranks):
    """Start both processes once; what they did is looked at by every test."""
    return run_ranks("ranks.py", folder)


def same_on_both(reports, name):
    assert reports[0][name] == reports[1][name]
    return reports[0][name]


@both
def test_all_ranks_decide_identically_and_their_weights_stay_equal_bit_for_bit(reports, kind):
    run = same_on_both(reports, kind)
    assert run["equal"] == [True] * 4 and len(run["history"]) == DECISIONS
    rates = np.array([decision["rate"] for decision in run["history"]])
    assert len(np.unique(rates.round(7), axis=0)) > DECISIONS / 2  # there was something to decide


@both
def test_two_ranks_decide_as_one_process_with_the_whole_batch_and_the_whole_model(reports, kind):
    run, alone = reports[0][kind], reports[0]["alone"]
    for key in ("loss", "rate", "clip", "dampen"):
        one, two = (np.array([d[key] for d in h], float) for h in (alone["history"], run["history"]))
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6, err_msg=key)  # float32 sums in another order
    np.testing.assert_allclose(run["weights"], alone["weights"], atol=1e-4)


def test_ranks_meet_once_a_control_step(reports):
    opening_and_first_update = 2
    assert reports[0]["ddp"]["collectives"] == opening_and_first_update + DECISIONS
    clipped_steps = STEPS  # a norm of a sharded group, clipped below 1, is a sum over the ranks
    assert reports[0]["fsdp"]["collectives"] == opening_and_first_update + DECISIONS + clipped_steps


@both
def test_a_rank_without_a_loss_is_a_clear_error_on_every_rank(reports, kind):
    losses = same_on_both(reports, f"{kind} losses")
    start = "ValueError: step: expected loss=... of a single number from every rank in each of the last 5 steps"
    none, vector = "no loss", "a loss that is not a single number"
    assert losses["errors"] == [f"{start}; received {kind} from rank 1 of 2" for kind in (none, none, vector)]
    assert not losses["moved"], "an error in the first step comes before it"
    assert losses["equal"], "afterwards the run goes on"


@both
def test_a_rank_that_pauses_alone_is_a_clear_error_on_every_rank(reports, kind):
    message = "RuntimeError: pause: expected all ranks to pause and resume at the same step; rank 1 paused, not all"
    assert same_on_both(reports, f"{kind} pauses")["errors"] == [message] * 3


@both
def test_ranks_that_pause_and_resume_together_run_as_the_base_optimizer_in_between(reports, kind):
    pauses = same_on_both(reports, f"{kind} pauses")
    assert pauses["as_base"] and pauses["equal"]
    assert pauses["first_decision"] == 10  # resumed at 7: the ranks next meet at 10


def test_ranks_that_would_decide_otherwise_are_a_clear_error_on_every_rank(reports):
    for error in same_on_both(reports, "decisions")["errors"] + [same_on_both(reports, "groups on one")["error"]]:
        assert error.startswith("RuntimeError: ranks: expected the same steps, budget, parameter groups and decisions")
        assert error.endswith("found others on rank 1 than on rank 0")


def test_parameters_that_do_not_tell_that_they_are_parts_are_refused(reports):
    message = (
        "TypeError: base: expected parameters that are whole, as under DDP, or sharded by fully_shard (FSDP2); "
        "received those of FullyShardedDataParallel (FSDP1)"
    )
    assert same_on_both(reports, "first sharding")["errors"] == [message] * 2


def test_groups_may_be_added_on_all_ranks(reports):
    assert same_on_both(reports, "groups everywhere") == {"error": None, "groups": 4, "equal": True}


def test_replicas_that_decide_each_for_itself_drift_apart(reports):
    alone = same_on_both(reports, "each for itself")
    assert alone["collectives"] == 0 and not alone["equal"]


def test_between_control_steps_replicas_have_one_state_and_a_run_resumed_from_it_is_bit_identical(reports):
    whole = {"same_state": True, "as_uninterrupted": True, "equal": True}
    assert same_on_both(reports, "ddp checkpoints")["10"] == whole


def test_within_a_control_step_replicas_resumed_from_the_first_rank_s_state_stay_equal(reports):
    assert same_on_both(reports, "ddp checkpoints")["12"]["equal"]


def test_a_sharded_run_resumed_from_each_rank_s_own_state_is_bit_identical(reports):
    for report in reports:
        assert all(r["as_uninterrupted"] and r["equal"] for r in report["fsdp checkpoints"].values())


@both
def test_one_rank_writes_the_trace_for_all(reports, folder, kind):
    lines = (folder / f"{kind}.jsonl").read_text().splitlines()
    assert [json.loads(line).get("step") for line in lines] == [None, *range(0, STEPS, 5)]
