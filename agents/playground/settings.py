"""The settings of each page: what a person may choose, checked in one place, and carried by links and files."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from agents.playground.complaints import Complaint, number, one_of, several_of, whole
from agents.playground.optimizers import OPTIMIZERS, Value, check_options, get_optimizer
from agents.playground.race import Method, Race, race, random_start
from agents.registry import MAKERS, names
from optenv import tasks
from optenv.figures.picture import COLOR_MAPS
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import OPTIMIZERS as BATCHED
from optenv.tasks.functions import FUNCTIONS

MAX_METHODS = 40
MAX_BYTES = 100_000
FUNCTION = {function.name: function for function in FUNCTIONS}
VIEWS = ("contour", "surface")
HEIGHTS = ("log", "linear")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the settings of all pages have in common.

    Attributes:
      page: name of the page they belong to.
      seed: of everything random.
    """

    page: ClassVar[str] = ""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          ValueError: with a sentence for the page, if one is out of range or unknown.
        """
        whole("seed", self.seed, 0, 2**31)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in JSON's types, the page with them."""
        return {"page": self.page, **json.loads(json.dumps(asdict(self)))}


@dataclass(frozen=True, kw_only=True)
class FunctionSettings(Settings):
    """Settings of the page of functions.

    Attributes:
      function: which one.
      start: where all methods begin, or None for a random point.
      optimizers: those compared.
      options: what is set of them, by optimizer and option; the rest are defaults.
      controllers: each is put on top of each optimizer, beside the optimizer alone.
      iterations: steps of each.
      noise: standard deviation of the gradient noise, in units of the gradient.
      l1: weight of |x| + |y|; with it each method also runs without any penalty.
      l2: weight of (x^2 + y^2) / 2; likewise.
      tolerance: loss that counts as arrived.
      view: "contour" or "surface".
      colors: of the contours and the surface.
      heights: "log" or "linear".
    """

    page: ClassVar[str] = "functions"
    function: str = "himmelblau"
    start: tuple[float, float] | None = (-1.0, -4.0)
    optimizers: tuple[str, ...] = ("gd", "sgd", "adam", "lion", "sophia")
    options: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    controllers: tuple[str, ...] = ()
    iterations: int = 200
    noise: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    tolerance: float = 1e-3
    view: str = "contour"
    colors: str = "cividis"
    heights: str = "log"

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        one_of("function", self.function, FUNCTION)
        optimizers = several_of("optimizer", self.optimizers, OPTIMIZERS, len(OPTIMIZERS))
        controllers = several_of("controller", self.controllers, controller_names(), len(controller_names()))
        object.__setattr__(self, "optimizers", optimizers)
        object.__setattr__(self, "controllers", controllers)
        whole("iterations", self.iterations, 1, 5000)
        number("noise", self.noise, 0.0, 1e6)
        number("l1", self.l1, 0.0, 1e6)
        number("l2", self.l2, 0.0, 1e6)
        number("tolerance", self.tolerance, 0.0, 1e6)
        one_of("view", self.view, VIEWS)
        one_of("colors", self.colors, COLOR_MAPS)
        one_of("heights", self.heights, HEIGHTS)
        self._check_start()
        if not isinstance(self.options, Mapping) or not all(isinstance(v, Mapping) for v in self.options.values()):
            raise Complaint("{kind}: expected values by name; received {value!r}", kind="options", value=self.options)
        for name, options in self.options.items():
            check_options(get_optimizer(name), options)

    def _check_start(self) -> None:
        if self.start is None:
            return
        if isinstance(self.start, str) or not isinstance(self.start, Sequence) or len(self.start) != 2:
            raise Complaint("{kind}: expected two numbers; received {value!r}", kind="start", value=self.start)
        low_x, high_x, low_y, high_y = FUNCTION[self.function].bounds
        start = number("x", self.start[0], low_x, high_x), number("y", self.start[1], low_y, high_y)
        object.__setattr__(self, "start", start)

    def methods(self) -> list[Method]:
        """List what is compared.

        Raises:
          Complaint: if there is nothing to compare, or too much.
        """
        penalties = [(0.0, 0.0)] + ([(self.l1, self.l2)] if self.l1 or self.l2 else [])
        methods = [
            Method(name, dict(self.options.get(name, {})), controller, *penalty)
            for name in self.optimizers
            for controller in ("", *self.controllers)
            for penalty in penalties
        ]
        if not methods:
            raise Complaint("Nothing to compare yet: choose at least one optimizer.")
        if len(methods) > MAX_METHODS:
            raise Complaint(
                "{count} methods are more than the {most} a picture can hold: choose fewer optimizers or controllers.",
                count=len(methods), most=MAX_METHODS,
            )  # fmt: skip
        return methods

    def run(self) -> Race:
        """Run the race.

        Raises:
          ValueError: if there is nothing to compare, or an optimizer refuses its options.
        """
        function = FUNCTION[self.function]
        start = self.start or random_start(function, self.seed)
        return race(function, self.methods(), start, self.iterations, noise=self.noise, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class RunSettings(Settings):
    """What the pages that train have in common.

    Attributes:
      task: a registered task, or a member of a family ("synthetic_sequence:3").
      optimizer: the base optimizer.
      controllers: those compared; "neutral" is the base optimizer alone.
      steps: budget of each run in inner steps.
      groups: "layer" or "model".
    """

    task: str = "digits_mlp"
    optimizer: str = "adamw"
    controllers: tuple[str, ...] = ("neutral", "cosine", "ppo")
    steps: int = 200
    groups: str = "layer"

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        one_of("task", str(self.task).partition(":")[0], task_names())
        if not isinstance(tasks.get(self.task), tasks.Task):
            raise Complaint("{task} is a family of tasks: choose a member, such as {task}:0.", task=self.task)
        one_of("optimizer", self.optimizer, base_names())
        object.__setattr__(
            self, "controllers", several_of("controller", self.controllers, controller_names(), MAX_METHODS)
        )
        whole("steps", self.steps, 1, 5000)
        one_of("groups", self.groups, GROUPINGS)

    def methods(self) -> tuple[str, ...]:
        """List the controllers to run.

        Raises:
          Complaint: if there are none.
        """
        if not self.controllers:
            raise Complaint("Nothing to run yet: choose at least one controller. “neutral” leaves the optimizer alone.")
        return self.controllers


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(RunSettings):
    """Settings of the page that trains.

    Attributes:
      lr: base learning rate.
      shown: the controller whose knobs are drawn.
    """

    page: ClassVar[str] = "training"
    lr: float = 1e-3
    shown: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        number("lr", self.lr, 1e-8, 100.0)
        one_of("controller", self.shown, ("", *controller_names()))


@dataclass(frozen=True, kw_only=True)
class SweepSettings(RunSettings):
    """Settings of the page of learning rates.

    Attributes:
      low: least base learning rate.
      high: greatest.
      count: how many, evenly in the logarithm.
      num_seeds: paired runs at each.
    """

    page: ClassVar[str] = "learning_rate"
    low: float = 1e-5
    high: float = 1e-1
    count: int = 9
    num_seeds: int = 2

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        number("low", self.low, 1e-8, 100.0)
        number("high", self.high, 1e-8, 100.0)
        if self.low >= self.high:
            raise Complaint("The least learning rate, {low:g}, has to be below the greatest, {high:g}.",
                            low=self.low, high=self.high)  # fmt: skip
        whole("count", self.count, 2, 41)
        whole("num_seeds", self.num_seeds, 1, 10)

    def rates(self) -> list[float]:
        """List the base learning rates."""
        step = (self.high / self.low) ** (1 / (self.count - 1))
        return [self.low * step**k for k in range(self.count - 1)] + [self.high]


PAGES: dict[str, type[Settings]] = {cls.page: cls for cls in (FunctionSettings, TrainingSettings, SweepSettings)}


def controller_names() -> list[str]:
    """List the registered controllers that steer as they are, not only once fitted to their run in hindsight."""
    return [name for name in names() if not hasattr(MAKERS.get(name), "fit")]


def task_names() -> list[str]:
    """List the tasks and families, those that people train first; none that reads files of its user's choice."""
    return [*tasks.names("held_out"), *tasks.names("train")]


def base_names() -> list[str]:
    """List the base optimizers of training runs: the environment's own, then the playground's others."""
    others = [name for name, row in OPTIMIZERS.items() if name not in BATCHED and not row.second_order]
    return [*BATCHED, *others]


def from_dict(data: Any) -> Settings:
    """Return the settings that `Settings.to_dict` wrote; what is missing takes its default.

    Raises:
      ValueError: with a sentence for the page, if it is something else.
    """
    if isinstance(data, Mapping) and isinstance(data.get("settings"), Mapping):
        data = data["settings"]  # an export holds the settings beside its results
    if not isinstance(data, Mapping) or not isinstance(data.get("page"), str) or data["page"] not in PAGES:
        raise Complaint("These are no settings of the playground.")
    kind = PAGES[data["page"]]
    known = {f.name for f in fields(kind)}
    for name in data:
        if name not in known | {"page"}:
            raise Complaint("The settings hold {name!r}, which this page does not have.", name=name)
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items() if name in known}
    try:
        return kind(**values)
    except (TypeError, OverflowError) as error:
        raise Complaint("These settings cannot be read: {error}.", error=error) from error


def to_link(settings: Settings) -> str:
    """Return the settings as a short text for a link: what differs from the defaults, packed."""
    default, own = type(settings)().to_dict(), settings.to_dict()
    different = {name: value for name, value in own.items() if name == "page" or value != default[name]}
    packed = zlib.compress(json.dumps(different, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_link(text: str) -> Settings:
    """Return the settings of a link.

    Raises:
      ValueError: with a sentence for the page, if it is damaged.
    """
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        stream = zlib.decompressobj()
        content = stream.decompress(packed, MAX_BYTES)  # no more than this, however packed
        if not stream.eof:
            raise ValueError("cut short")
        data = json.loads(content)
    except (ValueError, zlib.error) as error:
        raise Complaint("This link is damaged; its settings cannot be read.") from error
    return from_dict(data)


def from_file(content: bytes) -> Settings:
    """Return the settings of an uploaded file: settings alone, or an export that holds them.

    Raises:
      ValueError: with a sentence for the page, if it holds none.
    """
    try:
        return from_dict(json.loads(content))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Complaint("This file is no JSON; its settings cannot be read.") from error
