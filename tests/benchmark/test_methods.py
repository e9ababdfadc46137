"""What a benchmark runs: pairs of runs, a fair reference, rivals from their own packages."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import agents
from optenv import tasks
from optenv.benchmark.cells import Cell, code_mark, plan
from optenv.benchmark.costs import CostCell, state_bytes
from optenv.benchmark.methods import BASELINES, REFERENCE, calibrated, controller_method
from optenv.benchmark.nadamw import NADAMW
from optenv.benchmark.rivals import RIVALS, Rival, half_cosine, run_rival
from optenv.benchmark.run import SAMPLES, constant, run_schedule, sampled, warmup_cosine
from optenv.benchmark.scores import SCORES
from optenv.benchmark.suites import SUITES, Case, Suite, shortened
from optenv.benchmark.tuning import TUNING_RATES, TUNING_SEEDS, run_method, tune
from optenv.benchmark.whole import best_rate, calibration_cells
from optenv.env.torch_trainer import TorchRun
from optenv.inner.rollout import control_edges
from optenv.inner.trainer import BatchedTrainer, make_trainer

WINE = Case("wine", 12)
TINY = Suite("tiny", (WINE, Case("quadratic:0", 8)), (1e-3, 1e-2), 2)
present = pytest.mark.parametrize(
    "rival",
    [pytest.param(r, marks=pytest.mark.skipif(r.missing, reason=f"{r.package} is missing")) for r in RIVALS.values()],
    ids=lambda rival: rival.name,
)


def results(method, suite=TINY):
    return {(cell.task, cell.rates): cell.run() for cell in plan(suite, [method])}


def test_nadamw_is_torchs_nadam_with_decoupled_weight_decay_step_by_step():
    task, rate = tasks.get("wine"), np.array([1e-2])
    trainer = make_trainer(task, NADAMW)
    state = trainer.start(np.array([3], np.uint64))
    run = TorchRun(
        task,
        lambda groups: torch.optim.NAdam(groups, lr=1e-2, weight_decay=1e-2, decoupled_weight_decay=True),
        3,
        grouping="layer",
        device="cpu",
    )
    for steps in (1, 2, 9):
        trainer.run(state, rate, {}, steps)
        for _ in range(steps):
            run.next_gradient()
            run.optimizer.step()
        flat = trainer.layout.flatten({name: p.detach() for name, p in run.params.items()})
        torch.testing.assert_close(state.params[0], flat, rtol=1e-5, atol=1e-6)  # rounding of 12 float32 steps


@present
def test_a_rival_begins_with_the_weights_of_the_batched_runs_and_learns(rival):
    task, seeds = tasks.get("breast_cancer"), np.array([0, 5])
    own = run_rival(task, rival, seeds, 40, samples=3)
    batched = run_schedule(make_trainer(task), warmup_cosine, seeds, np.full(2, 1e-2), 40, samples=3)
    np.testing.assert_allclose(own.first, batched.first, rtol=1e-6)
    assert own.steps.tolist() == batched.steps.tolist() == [10, 20, 30, 40]
    assert own.valid.shape == batched.valid.shape
    assert (own.loss < own.first).all() and (own.valid[-1] == own.loss).all() and not own.test


def test_a_rival_meets_the_minibatches_of_the_batched_runs():
    # AdamW itself as a rival: the same weights, data and minibatches must give the same losses.
    adamw = Rival("adamw", "", "torch", "torch", lambda m, groups, total: m.optim.AdamW(groups, lr=1e-2), warmup_cosine)
    task, seeds = tasks.get("wine"), np.array([7, 8])
    own = run_rival(task, adamw, seeds, 30)
    batched = run_schedule(make_trainer(task, grouping="model"), warmup_cosine, seeds, np.full(2, 1e-2), 30)
    np.testing.assert_allclose(own.loss, batched.loss, rtol=1e-4)  # rounding of 30 float32 steps


def test_an_averaging_rival_is_judged_by_its_average_and_steps_on_with_its_own_weights():
    pytest.importorskip("dog")
    task, row = tasks.get("wine"), RIVALS["ldog"]
    averaged, raw = (run_rival(task, r, np.array([0]), 40, samples=3) for r in (row, replace(row, averaged=False)))
    assert averaged.loss != raw.loss
    assert averaged.loss == run_rival(task, row, np.array([0]), 40).loss  # however often the average was measured


def test_half_a_cosine_has_no_warm_up():
    assert half_cosine(np.array([0.0, 0.5])) == pytest.approx([1.0, 0.5])


def test_a_missing_package_is_reported_and_the_rest_runs(monkeypatch):
    absent = replace(RIVALS["ldog"], module="no_such_module_anywhere")
    assert absent.missing
    with pytest.raises(ImportError, match=r"ldog needs dog-optimizer, .* pip install .optcontrol.rivals."):
        absent.build([], 10)
    method = replace(BASELINES["ldog"], missing=absent.package)
    assert plan(TINY, [method, BASELINES["constant"]]) == plan(TINY, [BASELINES["constant"]])


def test_the_tuned_rate_is_interior_to_a_grid_that_moves_when_the_best_is_at_its_edge():
    # On this bowl Adam wants rates far above the grid's usual end.
    trainer = make_trainer(tasks.get("quadratic:0"))
    rate = tune(trainer, warmup_cosine, 20)["final"]
    assert rate > TUNING_RATES[-1]
    nearby = [
        run_schedule(trainer, warmup_cosine, np.array(TUNING_SEEDS), np.full(2, rate * f), 20).loss
        for f in (1 / 30, 1.0, 30.0)
    ]
    logs = [np.log(loss).mean() for loss in nearby]
    assert logs[1] < min(logs[0], logs[2])


def test_the_reference_is_rerun_on_fresh_seeds_at_the_rate_it_found():
    found = results(BASELINES[REFERENCE], replace(TINY, cases=(WINE,)))[("wine", ())]
    assert not set(found["seeds"]) & set(TUNING_SEEDS)
    trainer, rates = make_trainer(tasks.get("wine")), found["rates"]
    assert dict(zip(SCORES, rates, strict=True)) == tune(trainer, warmup_cosine, 12)
    for rate, loss in zip(rates, found["loss"], strict=True):
        again = run_schedule(trainer, warmup_cosine, np.arange(2), np.full(2, rate), 12).loss
        np.testing.assert_allclose(loss, again, rtol=1e-5)  # beside other runs


def test_methods_are_paired_by_seed_and_a_neutral_controller_is_the_constant_rate():
    neutral = controller_method("neutral", agents.load("neutral"))
    first, second = results(neutral), results(BASELINES["constant"])
    for key, result in first.items():
        assert result["loss"] == second[key]["loss"] and result["first"] == second[key]["first"]


def test_a_controller_in_hindsight_is_fitted_to_every_base_rate_by_itself():
    best = controller_method("best_static", agents.load("best_static"))
    cells = plan(TINY, [best])
    assert sorted(cell.rates for cell in cells if cell.task == "wine") == [(1e-3,), (1e-2,)]
    losses = {rates: result["loss"][0] for (task, rates), result in results(best).items() if task == "wine"}
    constant = results(BASELINES["constant"])["wine", (1e-3, 1e-2)]["loss"]
    assert np.mean(losses[1e-3,]) < np.mean(constant[0])  # a rate of 1e-3 is far too low for 12 steps


def test_results_are_curves_that_end_at_the_final_loss():
    result = Cell(WINE, BASELINES["constant"], (1e-2, 1e-3), (0, 1, 2)).run()
    assert np.shape(result["valid"]) == (len(result["steps"]), 2, 3) and result["steps"][-1] == 12
    np.testing.assert_allclose(result["valid"][-1], result["loss"], rtol=1e-6)
    assert np.shape(result["first"]) == (2, 3) and result["first"][0] == result["first"][1]


def test_the_test_loss_of_the_best_weights_is_that_of_the_sample_with_the_least_validation_loss():
    # Overfitting: the validation loss rises again.
    task, seeds, rates = tasks.get("small_classification:4"), np.arange(3), np.full(3, 3e-2)
    trainer = make_trainer(task)
    outcome = run_schedule(trainer, constant, seeds, rates, 120, samples=SAMPLES, test=True)
    losses = np.concatenate([outcome.first[None], outcome.valid])
    assert (outcome.validation(SCORES["best"]) == losses.min(axis=0)).all()
    assert (outcome.validation(SCORES["final"]) == outcome.loss).all()
    places = losses.argmin(axis=0)
    assert (0 < places).all() and (places < len(losses) - 1).all()
    state = trainer.start(seeds.astype(np.uint64))
    for sample, steps in enumerate(np.diff(outcome.steps, prepend=0).tolist(), start=1):
        trainer.run(state, rates, {}, steps)
        own = np.flatnonzero(places == sample)
        np.testing.assert_allclose(outcome.test["best"][own], trainer.evaluate(state, "test")[own], rtol=1e-5)
    np.testing.assert_allclose(outcome.test["final"], trainer.evaluate(state, "test"), rtol=1e-5)


def test_a_run_that_diverges_delivers_the_weights_it_had_before():
    outcome = run_schedule(
        make_trainer(tasks.get("wine"), "sgd"), constant, np.arange(2), np.full(2, 1e4), 40, test=True
    )
    assert np.isinf(outcome.loss).all() and np.isinf(outcome.test["final"]).all()
    assert (outcome.test["best"] == outcome.test["first"]).all()


def test_rates_are_chosen_by_validation_alone(monkeypatch):
    asked = []
    split = BatchedTrainer.split
    monkeypatch.setattr(BatchedTrainer, "split", lambda *given: asked.append(given[2]) or split(*given))
    tune(make_trainer(tasks.get("wine")), warmup_cosine, 8)
    calibration = calibration_cells(quick=True)[0]
    best_rate([calibration.run()], SCORES["best"])
    assert set(asked[: asked.index("test")]) == {"valid"} and asked.count("test") == 1  # of the cell's own runs


def test_a_reference_has_the_rate_of_each_score_and_one_rate_is_run_once(monkeypatch):
    ran = []

    def run(trainer, method, seeds, rates, total, **options):
        ran.append(len(seeds))
        return run_method(trainer, method, seeds, rates, total, **options)

    monkeypatch.setattr("optenv.benchmark.methods.run_method", run)
    for rates in ({"best": 1e-3, "final": 1e-2}, {"best": 1e-2, "final": 1e-2}):
        monkeypatch.setattr("optenv.benchmark.methods.tune", lambda *given, rates=rates: rates)
        found = results(BASELINES[REFERENCE], replace(TINY, cases=(WINE,)))[("wine", ())]
        assert found["rates"] == list(rates.values()) and np.shape(found["test_best"]) == (2, 2)
    assert ran == [4, 2] and found["test_final"][0] == found["test_final"][1]


def test_validation_is_sampled_evenly_and_always_at_the_end():
    assert sampled(control_edges(100, 10), 4).tolist() == [20, 40, 60, 80, 100]
    assert sampled(control_edges(3, 40), 19).tolist() == [1, 2, 3] and sampled(control_edges(7, 1), 5).tolist() == [7]


def test_a_cells_name_changes_with_whatever_its_result_depends_on():
    cell = Cell(WINE, BASELINES["constant"], (1e-2,), (0, 1))
    others = [
        replace(cell, case=replace(WINE, total=13)),
        replace(cell, case=replace(WINE, optimizer="sgd")),
        replace(cell, case=replace(WINE, options=(("weight_decay", 0.0),))),
        replace(cell, rates=(1e-3,)),
        replace(cell, seeds=(0, 2)),
        replace(cell, device="cuda"),
        replace(cell, method=BASELINES["warmup_cosine"]),
        replace(cell, method=replace(cell.method, mark="another file")),
    ]
    assert len({each.key for each in (cell, *others)}) == 1 + len(others)
    assert cell.key == Cell(WINE, BASELINES["constant"], (1e-2,), (0, 1)).key and cell.identity["code"] == code_mark()


def test_the_device_reaches_the_trainer(monkeypatch):
    seen = []

    def trainer(task, *arguments, device, **options):
        seen.append(device)
        return make_trainer(task, *arguments, **options)

    monkeypatch.setattr("optenv.benchmark.methods.make_trainer", trainer)
    for cell in plan(replace(TINY, cases=(WINE,)), [BASELINES["constant"], BASELINES["tuned"]], device="cuda"):
        cell.run()
    assert seen == ["cuda", "cuda"]


def test_calibration_picks_the_rate_that_is_best_over_all_its_tasks():
    cells = calibration_cells(quick=True)
    assert {cell.task.partition(":")[0] for cell in cells} == set(tasks.synthetic.NAMES)
    assert all(cell.rates == TUNING_RATES and cell.seeds == TUNING_SEEDS for cell in cells)
    rates = [1e-3, 1e-2, 1e-1]
    losses = {"a": [[1.0], [0.5], [2.0]], "b": [[9.0], [9.0], [1.0]]}
    least = {"a": [[1.0], [0.5], [2.0]], "b": [[9.0], [1.0], [1.0]]}
    given = [
        {
            "rates": rates,
            **dict.fromkeys(("valid", "offered"), [least[name], losses[name]]),
            "first": [[10.0]] * 3,
            "bound": 0.0,
        }
        for name in losses
    ]
    assert best_rate(given, SCORES["final"]) == 1e-1  # 1 x 9, 0.5 x 9 and 2 x 1
    assert best_rate(given, SCORES["best"]) == 1e-2  # 0.5 x 1
    assert calibrated((1e-2, 1e-1)).rates == (1e-2, 1e-1) and "0.01 with validation" in calibrated((1e-2, 1e-1)).why


def test_costs_are_over_adamws_and_counted_in_bytes_of_state():
    neutral = CostCell(controller_method("neutral", agents.load("neutral"))).run()
    assert 1.0 <= neutral["memory"] < 1.1  # AdamW's own state and the sketches
    assert 0.7 < neutral["step_time"] < 5.0  # a noisy machine
    tensor = torch.zeros(10)
    assert state_bytes({"a": [tensor, tensor], "b": (np.zeros(3),), "c": 1.0}) == 40 + 24


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_suite_names_tasks_that_exist_and_has_a_short_form(suite):
    for case in suite.cases:
        task = tasks.get(case.task)
        assert isinstance(task, tasks.Task) and case.task.partition(":")[0] in tasks.names("held_out")
        make_trainer(task, case.optimizer, case.grouping, **dict(case.options))
    quick = shortened(suite)
    assert max(case.total for case in quick.cases) <= 100 and quick.num_seeds <= 2 and len(quick.rates) <= 3
    assert [case.task for case in quick.cases] == [case.task for case in suite.cases]


def test_the_held_out_suite_is_what_was_promised():
    suite = SUITES["held_out"]
    small = {case.task.removesuffix("_splits") for case in SUITES["small_tables"].cases}
    assert len(suite.cases) + len(SUITES["real"].cases) >= 17 and suite.num_seeds >= 5
    assert not small & {case.task for case in suite.cases}  # tables that small need many splits
    assert suite.rates == (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    assert all(case.total == 10_000 for case in SUITES["long"].cases)
    assert {case.optimizer for case in SUITES["optimizers"].cases} == {"sgd", "lion"}
    assert SUITES["rates"].rates == (1e-6, 1.0)


@pytest.mark.parametrize(("registry", "name"), [(BASELINES, "tune"), (RIVALS, "prodigi"), (SUITES, "held")])
def test_unknown_names_are_refused(registry, name):
    with pytest.raises(ValueError, match=f"unknown .* '{name}'; expected one of"):
        registry[name]
