"""The optimizers of the playground, one row of data each: what they are, and which options they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch.optim import Optimizer

from agents.playground.validation import number, one_of, whole
from optenv.errors import needed_for
from optenv.registry import Registry, by_name

Value = float | int | bool | str


@dataclass(frozen=True)
class Option:
    """One hyperparameter that a person may set.

    Attributes:
      name: as on the page and in settings.
      default: its value until set; its type says what values it takes.
      low: least value of a number.
      high: greatest value of a number.
      why: one line on its effect.
      argument: of the optimizer's constructor; by default the name.
      place: in that argument's tuple, as for betas; None where the argument is the value itself.
      choices: of a word.
      needs: other options without which it has no effect, with values that give it one.
    """

    name: str
    default: Value
    low: float = 0.0
    high: float = 1.0
    why: str = ""
    argument: str = ""
    place: int | None = None
    choices: tuple[str, ...] = ()
    needs: tuple[tuple[str, Value], ...] = ()

    def check(self, value: Any) -> Value:
        """Return `value`.

        Raises:
          ValueError: if this option does not take it.
        """
        if self.choices:
            return one_of(self.name, value, self.choices)
        if isinstance(self.default, bool):
            return bool(whole(self.name, int(value) if isinstance(value, bool) else value, 0, 1))
        if isinstance(self.default, int):
            return whole(self.name, value, int(self.low), int(self.high))
        return float(number(self.name, value, self.low, self.high))


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer.

    Attributes:
      name: in settings and links.
      title: on the page.
      place: module and class, as "torch.optim:Adam"; loaded when it is first built.
      options: the first is the learning rate.
      why: what it is, in one line.
      formula: its update of weights w along gradients g.
      when: when to use it.
      source: who published it.
      fixed: arguments of the constructor that make it what it is.
      extra_rates: further arguments that take the learning rate too.
      second_order: whether it needs products of the Hessian, which training tasks do not give it.
    """

    name: str
    title: str
    place: str
    options: tuple[Option, ...]
    why: str
    formula: str
    when: str
    source: str
    fixed: tuple[tuple[str, Any], ...] = ()
    extra_rates: tuple[str, ...] = ()
    second_order: bool = False


def _lr(default: float) -> Option:
    return Option("lr", default, 1e-8, 1e3, "learning rate: the length of a step")


def _beta(place: int, default: float, why: str) -> Option:
    return Option(f"beta{place + 1}", default, 0.0, 0.99999, why, "betas", place)


def _decay(why: str = "pulls the weights towards 0, apart from the gradient") -> Option:
    return Option("weight_decay", 0.0, 0.0, 10.0, why)


def _eps(default: float = 1e-8) -> Option:
    return Option("eps", default, 1e-15, 10.0, "added to the denominator; large values make steps like SGD's")


_BETA1 = _beta(0, 0.9, "decay of the average of gradients")
_BETA2 = _beta(1, 0.999, "decay of the average of squared gradients")
_ADAM = (_lr(0.05), _BETA1, _BETA2, _eps(), _decay("adds decay times w to the gradient"))
_SINGLE = (("foreach", False),)  # one small tensor: the grouped code paths cost more than they save

OPTIMIZERS: Registry[OptimizerRow] = by_name(
    "optimizer",
    (
        OptimizerRow(
            "gd", "GD", "torch.optim:SGD", (_lr(1e-3),),
            "gradient descent: straight down the gradient", "w <- w - lr g",
            "as the yardstick; on smooth, well-conditioned losses", "Cauchy 1847", _SINGLE,
        ),
        OptimizerRow(
            "sgd", "SGD", "torch.optim:SGD",
            (
                _lr(1e-3),
                Option("momentum", 0.9, 0.0, 0.9999, "share of the last step that is kept"),
                Option("dampening", 0.0, 0.0, 1.0, "holds the gradient back as it enters the momentum",
                       needs=(("momentum", 0.9),)),
                Option("nesterov", False, why="looks ahead along the momentum; without dampening",
                       needs=(("momentum", 0.9), ("dampening", 0.0))),
                _decay("adds decay times w to the gradient"),
            ),
            "gradient descent with momentum, a ball that rolls", "m <- momentum m + (1 - dampening) g; w <- w - lr m",
            "with a tuned rate and schedule, above all on vision models", "Polyak 1964; Sutskever et al. 2013", _SINGLE,
        ),
        OptimizerRow(
            "rmsprop", "RMSprop", "torch.optim:RMSprop",
            (
                _lr(0.01),
                Option("alpha", 0.99, 0.0, 0.99999, "decay of the average of squared gradients"),
                _eps(), Option("momentum", 0.0, 0.0, 0.9999, "share of the last step that is kept"),
                Option("centered", False, why="divides by the standard deviation instead of the root mean square"),
                _decay("adds decay times w to the gradient"),
            ),
            "steps in units of each weight's recent gradient size",
            "v <- alpha v + (1 - alpha) g^2; w <- w - lr g / (sqrt(v) + eps)",
            "on losses whose scale differs among weights or drifts, as in recurrent nets",
            "Tieleman and Hinton 2012", _SINGLE,
        ),
        OptimizerRow(
            "adagrad", "Adagrad", "torch.optim:Adagrad",
            (
                _lr(0.5), Option("lr_decay", 0.0, 0.0, 10.0, "shrinks the rate as 1 / (1 + decay t)"), _eps(1e-10),
                Option("initial_accumulator_value", 0.0, 0.0, 1e3, "what the sum of squares starts from"),
                _decay("adds decay times w to the gradient"),
            ),
            "steps that shrink with the sum of all squared gradients", "s <- s + g^2; w <- w - lr g / (sqrt(s) + eps)",
            "on sparse features; its rate only ever falls", "Duchi, Hazan and Singer 2011", _SINGLE,
        ),
        OptimizerRow(
            "adam", "Adam", "torch.optim:Adam", _ADAM,
            "momentum over the root mean square of the gradient", "m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; "
            "w <- w - lr m^ / (sqrt(v^) + eps), with m^ and v^ freed of their start at 0",
            "as the first try almost everywhere", "Kingma and Ba 2015", _SINGLE,
        ),
        OptimizerRow(
            "amsgrad", "AMSGrad", "torch.optim:Adam", _ADAM,
            "Adam whose denominator never shrinks",
            "Adam with max over time of v^ in the denominator",
            "where Adam's steps grow again late in training", "Reddi, Kale and Kumar 2018",
            (*_SINGLE, ("amsgrad", True)),
        ),
        OptimizerRow(
            "adamw", "AdamW", "torch.optim:AdamW", (*_ADAM[:-1], Option("weight_decay", 0.01, 0.0, 10.0, _decay().why)),
            "Adam with weight decay apart from the gradient", "w <- (1 - lr decay) w, then Adam's step",
            "as the standard for transformers, with warm-up and cosine", "Loshchilov and Hutter 2019", _SINGLE,
        ),
        OptimizerRow(
            "nadam", "NAdam", "torch.optim:NAdam",
            (*_ADAM, Option("momentum_decay", 4e-3, 0.0, 1.0, "how slowly beta1 warms up")),
            "Adam that looks ahead along its momentum", "Adam with b1 m^ + (1 - b1) g^ in the numerator",
            "in Adam's place at no cost; strong where rates are tuned", "Dozat 2016", _SINGLE,
        ),
        OptimizerRow(
            "sophia", "Sophia", "agents.playground.sophia:SeededSophia",
            (
                _lr(0.05), _beta(0, 0.96, "decay of the average of gradients"),
                _beta(1, 0.99, "decay of the average of Hessian diagonals"),
                Option("p", 1.0, 1e-6, 1e3, "largest entry of a step before the learning rate"),
                Option("update_period", 10, 1, 1000, "steps between two looks at the curvature"),
                Option("num_samples", 1, 1, 20, "random directions for each look"),
                Option("hessian_distribution", "gaussian", why="of those directions",
                       choices=("gaussian", "rademacher")),
                _decay(),
            ),
            "momentum over the Hessian's diagonal, each entry clipped",
            "h <- b2 h + (1 - b2) u (H u), u random; w <- w - lr clip(m / max(h, eps), p)",
            "on large language models, where a look at the curvature every few steps pays", "Liu et al. 2023",
            _SINGLE, second_order=True,
        ),
        OptimizerRow(
            "lion", "Lion", "pytorch_optimizer:Lion",
            (
                _lr(0.01), _beta(0, 0.9, "weight of the momentum in the step"), _beta(1, 0.99, "decay of the momentum"),
                _decay(), Option("cautious", False, why="leaves out coordinates where step and gradient disagree"),
            ),
            "the sign of a momentum: every weight moves by the same length",
            "w <- w - lr sign(b1 m + (1 - b1) g); m <- b2 m + (1 - b2) g",
            "with a third of Adam's rate and large batches; half of Adam's memory", "Chen et al. 2023", _SINGLE,
        ),
        OptimizerRow(
            "lars", "LARS", "pytorch_optimizer:LARS",
            (
                _lr(0.1), Option("trust_coefficient", 0.1, 0.0, 10.0, "length of a step in units of the weights' norm"),
                Option("momentum", 0.9, 0.0, 0.9999, "share of the last step that is kept"),
                Option("dampening", 0.0, 0.0, 1.0, "holds the gradient back as it enters the momentum",
                       needs=(("momentum", 0.9),)),
                Option("nesterov", False, why="looks ahead along the momentum", needs=(("momentum", 0.9),)),
                _decay("adds decay times w to the gradient"),
            ),
            "momentum whose step is a share of each layer's norm",
            "g <- trust |w| / (|g| + decay |w|) (g + decay w); m <- momentum m + g; w <- w - lr m",
            "on very large batches; near w = 0 its steps vanish", "You, Gitman and Ginsburg 2017", _SINGLE,
        ),
        OptimizerRow(
            "adan", "Adan", "pytorch_optimizer:Adan",
            (
                _lr(0.05), _beta(0, 0.98, "decay of the average of gradients"),
                _beta(1, 0.92, "decay of the average of gradient differences"),
                _beta(2, 0.99, "decay of the average of squares"), _eps(), _decay(),
                Option("max_grad_norm", 0.0, 0.0, 1e6, "clips the gradient's norm; 0 leaves it"),
            ),
            "Adam with Nesterov's look ahead, from differences of gradients",
            "m <- average of g; d <- average of g - g_last; n <- average of (g + b2 (g - g_last))^2; "
            "w <- w - lr (m + b2 d) / (sqrt(n) + eps)",
            "on transformers and vision models with large rates", "Xie et al. 2022", _SINGLE,
        ),
        OptimizerRow(
            "mars", "MARS", "pytorch_optimizer:MARS",
            (
                _lr(0.05), _beta(0, 0.95, "decay of the average of corrected gradients"),
                _beta(1, 0.99, "decay of the average of their squares"),
                Option("gamma", 0.025, 0.0, 10.0, "strength of the correction by the last gradient"),
                Option("mars_type", "adamw", why="what the corrected gradient is handed to",
                       choices=("adamw", "lion", "shampoo")),
                _eps(), _decay(),
                Option("cautious", False, why="leaves out coordinates where step and gradient disagree"),
            ),
            "Adam on gradients with their variance reduced",
            "c = g + gamma b1 / (1 - b1) (g - g_last), its norm at most 1; then AdamW on c",
            "on language models with noisy gradients", "Yuan et al. 2024", _SINGLE, extra_rates=("lr_1d",),
        ),
        OptimizerRow(
            "prodigy", "Prodigy", "pytorch_optimizer:Prodigy",
            (
                _lr(1.0), _BETA1, _BETA2, Option("d_coef", 1.0, 1e-3, 1e3, "multiplies the distance it estimates"),
                Option("d0", 1e-6, 1e-12, 1e3, "first estimate of the distance"), _decay(),
            ),
            "Adam that estimates its own rate from the distance travelled",
            "d <- max(d, estimate of |w0 - w*|); Adam's step times d",
            "where no rate is known; leave lr at 1", "Mishchenko and Defazio 2024", _SINGLE,
        ),
    ),
)  # fmt: skip
"""Every optimizer by name."""


def check_options(row: OptimizerRow, options: Mapping[str, Any]) -> dict[str, Value]:
    """Return every option's value: those given, and the defaults of the others.

    Raises:
      ValueError: if the optimizer has no such option, or it does not take the value.
    """
    known = by_name(f"option of {row.title}", row.options)
    for name in options:
        known[name]  # refuses an unknown one
    return {name: option.check(options.get(name, option.default)) for name, option in known.items()}


def build(row: OptimizerRow, params: Iterable[Any], options: Mapping[str, Any]) -> Optimizer:
    """Make the optimizer of a row.

    Args:
      row: which one.
      params: parameters or parameter groups, as for any `torch.optim.Optimizer`.
      options: values by name; the others are the defaults.

    Raises:
      ImportError: if its package is not installed.
      ValueError: if an option is unknown, out of range, or the optimizer refuses the combination.
    """
    values = check_options(row, options)
    arguments: dict[str, Any] = dict(row.fixed) | {name: values["lr"] for name in row.extra_rates}
    for option in row.options:
        name, value = option.argument or option.name, values[option.name]
        # The rows name the places of a tuple in order.
        arguments[name] = value if option.place is None else (*arguments.get(name, ()), value)
    return _class(row)(params, **arguments)


def _class(row: OptimizerRow) -> Any:
    module, _, name = row.place.partition(":")
    with needed_for(f"the optimizer {name}"):
        return getattr(import_module(module), name)
