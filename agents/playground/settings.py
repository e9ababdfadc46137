"""The settings of each page: what a person may choose, checked in one place, and carried by links and files."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from agents.playground.optimizers import OPTIMIZERS, Value, check_options
from agents.playground.race import Entrant, Race, race, random_start
from agents.playground.validation import InvalidSetting, number, one_of, several_of, whole
from agents.registry import MAKERS, names
from optenv import tasks
from optenv.figures.picture import COLOR_MAPS
from optenv.files import read_json
from optenv.inner.layout import GROUPINGS
from optenv.inner.optimizers import OPTIMIZERS as BATCHED
from optenv.tasks.functions import FUNCTIONS

MAX_METHODS = 40
MAX_BYTES = 100_000
FUNCTION = {function.name: function for function in FUNCTIONS}
VIEWS = ("contour", "surface")
HEIGHTS = ("log", "linear")


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


def _ranged(default: float, low: float, high: float) -> Any:
    """Make a field that holds a number from `low` to `high`, a whole one if the default is."""
    return field(default=default, metadata={"range": (low, high)})


def _named(default: str | tuple[str, ...], kind: str, known: Callable[[], Iterable[str]]) -> Any:
    """Make a field that holds one of the known names of a kind, or several if the default does."""
    return field(default=default, metadata={"kind": kind, "known": known})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the settings of all pages have in common.

    Attributes:
      page: name of the page they belong to.
      seed: of everything random.
    """

    page: ClassVar[str] = ""
    seed: int = _ranged(0, 0, 2**31)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          ValueError: with a sentence for the page, if one is out of range or unknown.
        """
        for own in fields(self):
            value = getattr(self, own.name)
            if "range" in own.metadata:
                check: Callable[..., float] = whole if isinstance(own.default, int) else number
                check(own.name, value, *own.metadata["range"])
            elif "known" in own.metadata:
                find: Callable[..., Any] = one_of if isinstance(own.default, str) else several_of
                object.__setattr__(self, own.name, find(own.metadata["kind"], value, own.metadata["known"]()))

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
    function: str = _named("himmelblau", "function", FUNCTION.keys)
    start: tuple[float, float] | None = (-1.0, -4.0)
    optimizers: tuple[str, ...] = _named(("gd", "sgd", "adam", "lion", "sophia"), "optimizer", OPTIMIZERS.keys)
    options: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    controllers: tuple[str, ...] = _named((), "controller", controller_names)
    iterations: int = _ranged(200, 1, 5000)
    noise: float = _ranged(0.0, 0.0, 1e6)
    l1: float = _ranged(0.0, 0.0, 1e6)
    l2: float = _ranged(0.0, 0.0, 1e6)
    tolerance: float = _ranged(1e-3, 0.0, 1e6)
    view: str = _named("contour", "view", lambda: VIEWS)
    colors: str = _named("cividis", "colors", lambda: COLOR_MAPS)
    heights: str = _named("log", "heights", lambda: HEIGHTS)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        self._check_start()
        if not isinstance(self.options, Mapping) or not all(isinstance(v, Mapping) for v in self.options.values()):
            template = "{kind}: expected values by name; received {value!r}"
            raise InvalidSetting(template, kind="options", value=self.options)
        for name, options in self.options.items():
            check_options(OPTIMIZERS[name], options)

    def _check_start(self) -> None:
        if self.start is None:
            return
        if isinstance(self.start, str) or not isinstance(self.start, Sequence) or len(self.start) != 2:
            raise InvalidSetting("{kind}: expected two numbers; received {value!r}", kind="start", value=self.start)
        low_x, high_x, low_y, high_y = FUNCTION[self.function].bounds
        start = number("x", self.start[0], low_x, high_x), number("y", self.start[1], low_y, high_y)
        object.__setattr__(self, "start", start)

    def methods(self) -> list[Entrant]:
        """List what is compared.

        Raises:
          InvalidSetting: if there is nothing to compare, or too much.
        """
        penalties = [(0.0, 0.0)] + ([(self.l1, self.l2)] if self.l1 or self.l2 else [])
        methods = [
            Entrant(name, dict(self.options.get(name, {})), controller, *penalty)
            for name in self.optimizers
            for controller in ("", *self.controllers)
            for penalty in penalties
        ]
        if not methods:
            raise InvalidSetting("Nothing to compare yet: choose at least one optimizer.")
        if len(methods) > MAX_METHODS:
            raise InvalidSetting(
                "{count} methods are more than the {most} a picture can hold: choose fewer optimizers or controllers.",
                count=len(methods),
                most=MAX_METHODS,
            )
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
    optimizer: str = _named("adamw", "optimizer", base_names)
    controllers: tuple[str, ...] = _named(("neutral", "cosine", "ppo"), "controller", controller_names)
    steps: int = _ranged(200, 1, 5000)
    groups: str = _named("layer", "groups", lambda: GROUPINGS)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        one_of("task", str(self.task).partition(":")[0], task_names())
        if not isinstance(tasks.get(self.task), tasks.Task):
            raise InvalidSetting("{task} is a family of tasks: choose a member, such as {task}:0.", task=self.task)

    def methods(self) -> tuple[str, ...]:
        """List the controllers to run.

        Raises:
          InvalidSetting: if there are none.
        """
        if not self.controllers:
            raise InvalidSetting(
                "Nothing to run yet: choose at least one controller. “neutral” leaves the optimizer alone."
            )
        return self.controllers


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(RunSettings):
    """Settings of the page that trains.

    Attributes:
      lr: base learning rate.
      shown: the controller whose knobs are drawn.
    """

    page: ClassVar[str] = "training"
    lr: float = _ranged(1e-3, 1e-8, 100.0)
    shown: str = _named("", "controller", lambda: ("", *controller_names()))


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
    low: float = _ranged(1e-5, 1e-8, 100.0)
    high: float = _ranged(1e-1, 1e-8, 100.0)
    count: int = _ranged(9, 2, 41)
    num_seeds: int = _ranged(2, 1, 10)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        if self.low >= self.high:
            template = "The least learning rate, {low:g}, has to be below the greatest, {high:g}."
            raise InvalidSetting(template, low=self.low, high=self.high)

    def rates(self) -> list[float]:
        """List the base learning rates."""
        step = (self.high / self.low) ** (1 / (self.count - 1))
        return [self.low * step**k for k in range(self.count - 1)] + [self.high]


PAGES: dict[str, type[Settings]] = {cls.page: cls for cls in (FunctionSettings, TrainingSettings, SweepSettings)}


def from_dict(data: Any) -> Settings:
    """Return the settings that `Settings.to_dict` wrote; what is missing takes its default.

    Raises:
      ValueError: with a sentence for the page, if it is something else.
    """
    if isinstance(data, Mapping) and isinstance(data.get("settings"), Mapping):
        data = data["settings"]  # an export holds the settings beside its results
    if not isinstance(data, Mapping) or not isinstance(data.get("page"), str) or data["page"] not in PAGES:
        raise InvalidSetting("These are no settings of the playground.")
    kind = PAGES[data["page"]]
    known = {f.name for f in fields(kind)}
    for name in data:
        if name not in known | {"page"}:
            raise InvalidSetting("The settings hold {name!r}, which this page does not have.", name=name)
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items() if name in known}
    try:
        return kind(**values)
    except (TypeError, OverflowError) as error:
        raise InvalidSetting("These settings cannot be read: {error}.", error=error) from error


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
        data = read_json(content)
    except (ValueError, zlib.error) as error:
        raise InvalidSetting("This link is damaged; its settings cannot be read.") from error
    return from_dict(data)


def from_file(content: bytes) -> Settings:
    """Return the settings of an uploaded file: settings alone, or an export that holds them.

    Raises:
      ValueError: with a sentence for the page, if it holds none.
    """
    try:
        data = read_json(content)
    except ValueError as error:
        raise InvalidSetting("This file is no JSON; its settings cannot be read.") from error
    return from_dict(data)
