"""Whatever happens to a controlled optimizer, its weights are those of the base under the same hyperparameters.

Random sequences of everything that users and trainers do, over many base optimizers and every controller. After each
the controlled training is held against its twin, see `twins`: the plain base optimizer, bit for bit.

`make test` runs `SEQUENCES` of them, always the same. The long run draws new ones:

    OPTCONTROL_SEQUENCES=2000 .venv/bin/python -m pytest tests/wrapper/test_properties.py -n 2
"""

import math
import os
import re
import warnings
import zlib

import pytest
import torch
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from optenv.control.guard import authority_of
from optenv.wrapper.param_groups import identical
from tests.wrapper.twins import (
    BASES,
    CONTROLLERS,
    ONE_RATE_FOR_ALL_GROUPS,
    SCHEDULES,
    TURNED,
    Training,
    Witness,
    advance,
    controlled,
    copied,
    dampen,
    follow,
    same,
    through_a_file,
)

ASKED = os.environ.get("OPTCONTROL_SEQUENCES")
SEQUENCES = int(ASKED or 50)
EACH = math.ceil(SEQUENCES / len(CONTROLLERS))
SETTINGS = settings(
    max_examples=EACH,
    stateful_step_count=25,
    deadline=None,
    derandomize=not ASKED,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
MOST_GROUPS = 4
WHOLE_HISTORY = 25  # decisions up to which `history` thins nothing, with so many groups and every knob
BEYOND = "the run goes on beyond total_steps"
SAID_ONCE = re.compile(r"total_steps|not finite|controller")
places = st.integers(0, 5)


def has_just_returned(training):
    """Say whether the controller decided in the last step to return to weights that were kept."""
    optimizer = training.optimizer
    restore = optimizer.controller.restore_weights
    return restore is not None and bool(restore[0]) and optimizer.history[-1]["step"] == optimizer.step_count - 1


class ControlledTraining(RuleBasedStateMachine):
    """A training and its twin; `name` is set by a subclass for each controller."""

    name = "neutral"
    retired = None

    @initialize(
        base=st.sampled_from([*BASES]),
        layers=st.integers(1, 3),
        total_steps=st.none() | st.integers(5, 60),
        every=st.sampled_from([1, 2, 3, 4, None]),
        paused=st.booleans(),
        learn=st.booleans(),
    )
    def begin(self, base, layers, total_steps, every, paused, learn):
        make_controller, self.one_rate = CONTROLLERS[self.name], base in ONE_RATE_FOR_ALL_GROUPS
        controller = make_controller()
        learn = learn and controller.learns
        make = controlled(BASES[base], make_controller, total_steps=total_steps, steps_per_action=every, learn=learn)
        self.steered, self.plain = (Training(layers, how, self.one_rate) for how in (make, BASES[base]))
        self.neutral, self.learns = controller.neutral_untrained, learn
        self.turned = set().union(*(TURNED[knob] for knob in controller.interface.knobs))
        self.free = controller.interface.sets_first_scale
        if paused:
            self.optimizer.pause()
        self.witness = Witness(self.steered)
        self.count, self.batch, self.since, self.decisions = 0, 0, 0, 0
        self.seen = [], set()  # groups and their parameters, as control saw them last
        self.factors = None  # of the rates, since the last decision, while the groups stay as they are
        self.begun = False
        self.kept = None  # weights that the controller has had kept, by parameter of the controlled training

    def both(self, change):
        change(self.steered)
        change(self.plain)

    @property
    def optimizer(self):
        return self.steered.optimizer

    # Steps

    def take(self, step, gradients, *, steered=True, steps=1):
        """Let `step` step the controlled optimizer, its twin after it, and check what was in force.

        Args:
          step: calls `step` of the controlled optimizer.
          gradients: returns the user's own, of the parameters in the order of the groups, as they were before the step.
          steered: whether the controller has a say in it while not paused; None: either way.
          steps: how many steps the base optimizer has to take; None: 0 or 1.
        """
        steered = False if self.optimizer.paused else steered
        before = {p: p.detach().clone() for p in self.steered.parameters()}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            step()
        if self.go_back_as_the_controller_does(before):  # the gradient was that of the weights given up
            steered, steps = None, 0
        assert all(p.grad is own for p, own in zip(self.steered.parameters(), self.users, strict=True))
        records = self.witness.drain()
        if steered and not all(g is None or g.isfinite().all() for g in gradients()):  # as where weights are lost
            steered, steps = None, None
        assert len(records) == steps if steps is not None else len(records) <= 1
        counted = self.optimizer.step_count > self.count  # as a step is that the guard skips
        self.check_warnings([str(w.message) for w in said], counted and self.count == self.optimizer.total_steps)
        for record in records:
            self.check_hyperparameters(record, steered)
            self.check_gradients(record, gradients(), steered)
            follow(self.plain, record, self.turned)
            factors = dampen(self.plain, record, self.steered.trained()[1])
            assert not self.is_base_alone(steered) or set(factors) <= {1.0}
        changed = not identical(self.steered.groups, self.seen[0])
        if counted and steered is not False and (changed or len(self.optimizer.history) > self.decisions):
            self.look()
        self.count += len(records)
        self.begun |= steered is True and bool(records)
        if steered is None:
            self.count = self.optimizer.step_count  # a skipped step counts
        self.check_decisions(len(records), steered)

    @torch.no_grad()
    def go_back_as_the_controller_does(self, before):
        """Keep the weights of before a step, or return to those kept, where it was decided so; say whether it was."""
        history, controller = self.optimizer.history, self.optimizer.controller
        if not history or history[-1]["step"] != self.count or len(history) == self.decisions < WHOLE_HISTORY:
            return False
        keep, restore = controller.keep_weights, controller.restore_weights
        returns = restore is not None and bool(restore[0]) and self.kept is not None
        if returns:
            for p, twin in zip(self.steered.parameters(), self.plain.parameters(), strict=True):
                if p in self.kept:
                    twin.copy_(self.kept[p])
                    self.plain.base.state.pop(twin, None)
        if keep is None:
            self.kept = None
        elif keep[0]:
            self.kept = before
        return returns

    def is_base_alone(self, steered):
        return steered is False or self.neutral

    def check_warnings(self, said, goes_beyond):
        assert any(BEYOND in message for message in said) == goes_beyond
        assert all(SAID_ONCE.search(message) for message in said), said

    def check_hyperparameters(self, record, steered):
        """Hold what was in force against the user's own, which the twin has between the steps."""
        turned = set() if self.is_base_alone(steered) else self.turned
        factors = []
        for then, own in zip(record["groups"], self.plain.hyperparameters(), strict=True):
            assert then.keys() == own.keys()
            assert all(same(then[k], own[k]) for k in own if k not in turned), (then, own)
            assert math.isfinite(float(then["lr"]))
            factors.append(float(then["lr"]) / float(own["lr"]) if float(own["lr"]) else None)
        if steered is False:
            return
        if steered is None and (set(factors) <= {1.0, None} or self.are_as_before(factors)):
            return
        history = self.optimizer.history
        if self.decisions >= WHOLE_HISTORY:
            self.factors = None
            return
        if history and history[-1]["step"] == self.count:
            decided = zip(history[-1]["scale"], history[-1].get("dampen") or [0.0] * len(factors), strict=True)
            for factor, (scale, dampening) in zip(factors, decided, strict=True):
                assert factor is None or factor == pytest.approx(scale * (1 - dampening), rel=1e-5)
        else:
            assert self.are_as_before(factors)
            self.check_that_new_groups_follow_the_others(record)
        self.factors = factors

    def check_that_new_groups_follow_the_others(self, record):
        """Hold the rates of new groups against the geometric mean of the others' effective rates."""
        scales, own = self.optimizer.knob_values.get("scale"), [float(group["lr"]) for group in self.plain.groups]
        if not self.free or scales is None or identical(self.steered.groups, self.seen[0]):
            return
        new = [self.seen[1].isdisjoint(group["params"]) for group in self.steered.groups]
        joined = [g for g, is_new in enumerate(new) if is_new]
        others = [math.log(own[g] * scales[g]) for g, is_new in enumerate(new) if not is_new and own[g]]
        if not others or not all(own[g] for g in joined):
            return  # the others are gone, or all at the base of a schedule
        low, high = authority_of(self.optimizer.controller)
        for g in joined:
            expected = min(max(math.exp(math.fsum(others) / len(others)), low * own[g]), high * own[g])
            assert float(record["groups"][g]["lr"]) == pytest.approx(expected, rel=1e-5)

    def look(self):
        """Note what control has seen: within a control step it looks at parameters only where groups changed."""
        self.seen = list(self.steered.groups), set(self.steered.parameters())

    def are_as_before(self, factors):
        """Say whether the rates are multiplied by what was decided last, where that is known."""
        pairs = zip(factors, self.factors or factors, strict=True)
        return all(None in pair or pair[0] == pytest.approx(pair[1], rel=1e-5) for pair in pairs)

    def check_gradients(self, record, gradients, steered):
        """A clip multiplies all gradients of a group by one factor of at most 1; the user's tensors stay."""
        if self.is_base_alone(steered) or "clip" not in self.optimizer.controller.interface.knobs:
            assert same(record["gradients"], gradients)
            return
        place = 0
        for group in self.steered.groups:
            held = slice(place, place + len(group["params"]))
            place = held.stop
            pairs = [(a, b) for a, b in zip(record["gradients"][held], gradients[held], strict=True) if b is not None]
            seen, own = ([pair[i].flatten() for pair in pairs] for i in (0, 1))
            if same(seen, own):
                continue
            seen, own = torch.cat(seen), torch.cat(own)
            factor = seen.norm() / own.norm()
            assert 0.0 < factor < 1.0
            torch.testing.assert_close(seen, own * factor, rtol=1e-5, atol=0.0)

    def check_decisions(self, steps, steered):
        """Check the number of steps, and that a decision falls where one is due."""
        assert self.optimizer.step_count == self.count
        decided = len(self.optimizer.history) - self.decisions
        self.decisions += decided
        if decided and (not steps or steered is None):  # as in a step that the guard skips: nothing tells of it
            self.factors = None
        if not steps or steered is None:
            self.since = self.since if steered else None
        elif not steered:
            assert decided == 0
            self.since = 0
        elif self.decisions < WHOLE_HISTORY:
            assert decided == (self.since == 0) if self.since is not None else decided in (0, 1)
            if decided:
                assert self.optimizer.history[-1]["step"] == self.count - 1
                self.since = 0
            if self.since is not None:
                self.since = (self.since + 1) % self.optimizer.steps_per_action
            if self.learns and self.count == self.optimizer.total_steps:
                self.since = 0  # the last control step of the budget ends with it, for its lesson

    def gradients(self):
        """Return a function that returns the present gradients."""
        self.users = [p.grad for p in self.steered.parameters()]
        now = copied(self.users)
        return lambda: now

    def backward(self, set_to_none=True, scale=1.0):
        self.optimizer.zero_grad(set_to_none=set_to_none)
        loss = self.steered.model.loss(self.batch)
        self.batch += 1
        if loss.requires_grad:
            (scale * loss).backward()
        return loss

    @rule(
        form=st.sampled_from(["tensor", "float", "one number in a list", "closure", "observed"]),
        times=st.integers(1, 5),
        set_to_none=st.booleans(),
    )
    def steps(self, form, times, set_to_none):
        for _ in range(times):
            if form == "closure":
                self.step_with_closure(set_to_none)
                continue
            loss = self.backward(set_to_none)
            given = {"tensor": loss, "float": loss.item(), "one number in a list": loss.reshape(1)}
            if form == "observed":
                self.optimizer.observe(loss)
            named = {"loss": given[form]} if form in given else {}
            self.take(lambda named=named: self.optimizer.step(**named), self.gradients())

    def step_with_closure(self, set_to_none):
        seen = []

        def closure():
            loss = self.backward(set_to_none)
            seen.append(self.gradients())
            return loss

        self.take(lambda: self.optimizer.step(closure), lambda: seen[-1]())
        assert len(seen) == 1

    @rule(loss=st.sampled_from([math.nan, math.inf, -math.inf]))
    def step_with_a_loss_that_is_not_finite(self, loss):
        self.backward()
        self.take(lambda: self.optimizer.step(loss=loss), self.gradients())

    @rule(form=st.sampled_from(["no gradients", "gradients", "closure"]))
    def step_without_a_loss(self, form):
        if not (self.optimizer.paused or self.begun or form == "closure"):
            return  # an error, since no loss was ever told
        if form == "no gradients" and not any(float(group["lr"]) for group in self.steered.groups):
            return  # so torch.distributed.checkpoint makes the state of an optimizer: no step of the run
        self.backward()
        if form != "gradients":
            self.optimizer.zero_grad()
        closures = [lambda: None] if form == "closure" else []
        self.take(lambda: self.optimizer.step(*closures), self.gradients(), steered=None)

    @rule(bad=st.sampled_from([math.nan, math.inf]))
    def step_with_a_gradient_that_is_not_finite(self, bad):
        loss = self.backward()
        gradients = [p.grad for p in self.steered.parameters() if p.grad is not None]
        if not gradients or self.optimizer.paused:  # the base alone would step, and no weight be a number any more
            return
        gradients[-1].view(-1)[0] = bad
        self.take(lambda: self.optimizer.step(loss=loss), self.gradients(), steered=None, steps=0)

    @rule(bad=st.sampled_from([None, math.nan, math.inf]))
    def step_of_a_scaler(self, bad):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        scaler.scale(torch.zeros(()))  # which sets it up
        loss = self.backward(scale=8.0)
        gradients = [p.grad for p in self.steered.parameters() if p.grad is not None]
        if not gradients:
            return
        if bad is not None:
            gradients[-1].view(-1)[0] = bad
        scaler.unscale_(self.optimizer)
        self.take(lambda: scaler.step(self.optimizer, loss=loss), self.gradients(), steps=1 if bad is None else 0)

    # Rates

    @rule(name=st.sampled_from(list(SCHEDULES)), of_base=st.booleans())
    def attach_a_schedule(self, name, of_base):
        self.both(lambda training: training.attach(name, of_base))

    @precondition(lambda self: self.steered.schedule is not None)
    @rule(times=st.integers(1, 3))
    def schedule_steps(self, times):
        for training in (self.steered, self.plain):
            with warnings.catch_warnings():  # torch's own where the first step of the optimizer was skipped
                warnings.filterwarnings("ignore", message="(?s).*lr_scheduler")
                for _ in range(times):
                    training.schedule.step()

    @rule(place=places, rate=st.sampled_from([0.0, 1e-6, 0.004, 0.1]))
    def set_a_rate_by_hand(self, place, rate):
        def change(training):
            one = training.groups[place % len(training.groups)]
            for group in training.groups if self.one_rate else [one]:
                group["lr"] = torch.tensor(rate) if isinstance(group["lr"], torch.Tensor) else rate

        self.both(change)

    # Groups and parameters

    @precondition(lambda self: len(self.steered.groups) < MOST_GROUPS and not self.one_rate)
    @rule(options=st.sampled_from([{}, {"lr": 1e-4}, {"lr": 0.05, "weight_decay": 0.02}]))
    def add_a_group(self, options):
        self.both(lambda training: training.add_layer(options))
        if self.factors is not None:
            self.factors.append(None)

    @precondition(lambda self: len(self.steered.groups) > 1 and not self.one_rate)
    @rule(place=places)
    def remove_a_group(self, place):
        place %= len(self.steered.groups)
        self.both(lambda training: training.remove_group(place))
        if self.factors is not None:
            del self.factors[place]

    @precondition(lambda self: not self.one_rate)
    @rule(group=places, place=places)
    def replace_a_parameter(self, group, place):
        group %= len(self.steered.groups)
        self.both(lambda training: training.replace_parameter(group, place % 2))
        if self.factors is not None:
            self.factors[group] = None  # with its last parameter it becomes another group

    @rule(group=places, place=places, frozen=st.booleans())
    def freeze_or_unfreeze_a_parameter(self, group, place, frozen):
        group %= len(self.steered.groups)
        self.both(lambda training: training.freeze(group, place % 2, frozen))

    # The control itself

    @rule()
    def pause(self):
        self.optimizer.pause()

    @rule()
    def resume(self):
        self.optimizer.resume()

    # Checkpoints and copies

    @rule()
    def save_and_load(self):
        self.look()
        self.both(Training.reload)
        self.kept = None  # no checkpoint has them

    @rule()
    def load_the_state_of_the_base_alone(self):
        self.optimizer.load_state_dict(through_a_file(self.steered.base.state_dict()))
        self.plain.reload()
        self.count, self.since, self.factors, self.begun = 0, 0, None, False
        self.kept = None

    @rule(
        how=st.sampled_from([Training.deep_copy, Training.through_pickle, Training.through_checkpoint]),
        goes_on=st.sampled_from(["copy", "original"]),
        together=st.integers(0, 6),
    )
    def copy_and_go_on_with_one(self, how, goes_on, together):
        if not self.plain.can_be_copied():
            how = Training.through_checkpoint
        if how is Training.through_checkpoint:
            self.look()
        other, plain = how(self.steered), how(self.plain)
        if goes_on == "copy":
            pairs = list(zip(self.steered.parameters(), other.parameters(), strict=True))
            held = None if how is Training.through_checkpoint else self.kept
            self.kept = None if held is None else {new: held[old] for old, new in pairs if old in held}
            groups = list(other.groups) if identical(self.steered.groups, self.seen[0]) else []
            self.seen = groups, {new for old, new in pairs if old in self.seen[1]}
            self.steered, self.plain, other = other, plain, self.steered
            self.witness, self.decisions = Witness(self.steered), len(self.optimizer.history)
        for _ in range(together):
            advance(other, self.batch)
            self.steps("tensor", 1, True)
            if how is Training.through_checkpoint and any(map(has_just_returned, (other, self.steered))):
                break  # to weights that no checkpoint has
            assert same(other.trained(), self.steered.trained())
        self.check_that_the_retired_stands_still()
        self.retired = other, other.whole_state()

    def check_that_the_retired_stands_still(self):
        if self.retired is not None:
            other, state = self.retired
            assert same(other.whole_state(), state)

    def teardown(self):
        self.check_that_the_retired_stands_still()

    @invariant()
    def weights_and_state_are_those_of_the_twin(self):
        assert same(self.steered.trained(), self.plain.trained())

    @invariant()
    def between_steps_every_hyperparameter_is_the_users_own(self):
        assert same(self.steered.hyperparameters(), self.plain.hyperparameters())
        assert self.optimizer.param_groups is self.steered.base.param_groups


@pytest.mark.parametrize("name", CONTROLLERS)
def test_weights_are_those_of_the_base_under_the_same_hyperparameters(name):
    machine = type("ControlledTraining", (ControlledTraining,), {"name": name})
    if not ASKED:
        machine = seed(zlib.crc32(name.encode()))(machine)  # else all controllers would see the same sequences
    run_state_machine_as_test(machine, settings=SETTINGS)
