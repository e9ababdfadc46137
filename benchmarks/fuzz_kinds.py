"""What is fuzzed: every kind of file that is read, with a valid one, the ways to damage it, and what reads it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_inputs as inputs
import numpy as np

import agents
from agents.playground import settings as playground
from agents.plot import plot, read_scalars, run_trace
from agents.policies.loading import pretrained, pretrained_names
from agents.policies.optbrain.controller import OptBrainController
from agents.policies.optbrain.numpy_optimizer import NumpyOptBrain
from agents.training import reinforcement
from agents.training.garo import recipe as garo
from agents.training.hindsight import trials
from agents.training.opt2vec import recipe as opt2vec
from agents.training.opt2vec.meta_trainer import EfficientMetaLearningTrainer
from agents.training.run_folder import write_fields
from optenv.benchmark.cells import plan
from optenv.benchmark.methods import BASELINES
from optenv.benchmark.results import collect, summarise
from optenv.benchmark.run import DELIVERED
from optenv.benchmark.scores import SCORES
from optenv.benchmark.store import Store
from optenv.benchmark.suites import Case, Suite
from optenv.control.controller import Controller
from optenv.control.features import FEATURE_NAMES, FEATURES
from optenv.figures.run import run_picture
from optenv.tasks import idx
from optenv.wrapper.decision_log import JsonLines, TensorBoard

GROUPS = 3


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
      name: as in the table.
      make: writes valid files into a folder; returns their contents by name.
      changes: ways to damage one that know its format.
      load: reads the files of a folder, and uses what it has read.
      named: whether errors can name a file.
    """

    name: str
    make: Callable[[Path], dict[str, bytes]]
    changes: tuple[inputs.Change, ...]
    load: Callable[[Path], object]
    named: bool = True


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def steer(controller: Controller) -> None:
    """Let a controller decide on observations at both ends of their bounds and between; check its actions."""
    generator, knobs = np.random.default_rng(0), len(controller.interface.knobs)
    rows = [FEATURES[name] for name in controller.interface.features]
    low, high = np.array([row.low for row in rows]), np.array([row.high for row in rows])
    controller.reset(2, GROUPS)
    for k in range(12):
        share = (0.0, 1.0, generator.random((2, GROUPS, len(low))))[min(k, 2)]
        action = controller.act(np.broadcast_to(low + share * (high - low), (2, GROUPS, len(low))).astype(np.float32))
        assert action.shape == (2, GROUPS, knobs) and (np.abs(action) <= 1.0).all(), f"acts {action}"
        controller.learn(generator.random(2), np.zeros(2, bool))


def a_policy(name: str) -> Kind:
    """Return the kind of a shipped policy."""
    file = f"{name}.safetensors"
    return Kind(f"policy {name}", lambda _: {file: pretrained(name).read_bytes()}, (inputs.safetensors,),
                lambda at: steer(agents.load(at / file)))  # fmt: skip


def brains(folder: Path) -> dict[str, bytes]:
    """Return a saved controller, and a saved run."""
    folder.mkdir(parents=True)
    controller = OptBrainController()
    steer(controller)
    controller.save(folder / "controller.npz")
    brain = NumpyOptBrain(GROUPS)
    train(brain)
    brain.save(folder / "run.npz")
    return contents(folder)


def train(brain: NumpyOptBrain) -> None:
    """Let a brain steer a few steps; check its decisions."""
    generator = np.random.default_rng(0)
    for k in range(60):
        for scale, clip, dampen in brain.get_decisions(loss=1.0 / (1 + k)).values():
            assert 0.0 < scale <= 10.0 and 0.0 < clip <= 5.0 and 0.0 <= dampen <= 1.0
        for group in range(GROUPS):
            brain.record_grads(group, generator.normal(size=50))
        brain.finish_step()
        brain.learn(1.0)


def read_brains(at: Path) -> None:
    """Read both files in every way."""
    steer(agents.load(at / "controller.npz"))
    train(NumpyOptBrain(GROUPS, pretrained=at / "run.npz"))
    brain = NumpyOptBrain(GROUPS)
    brain.load(at / "run.npz")
    train(brain)


SUITE = Suite("fuzz", (Case("wine", 40), Case("diabetes", 40)), (1e-3, 1e-2), 2)
METHODS = [BASELINES["tuned"], BASELINES["constant"]]


@cache
def cells() -> list[Any]:
    """Return the cells of a small benchmark."""
    return plan(SUITE, METHODS)


def a_store(folder: Path) -> dict[str, bytes]:
    """Return a store with made-up results."""
    generator = np.random.default_rng(0)
    with Store(folder / "cells.sqlite") as store:
        for cell in cells():
            rates = list(cell.rates or (1.0,) * len(SCORES))
            runs = len(rates), len(cell.seeds)
            made = {"rates": rates, "seeds": list(cell.seeds), "steps": [20, 40], "bound": 0.0}
            losses = {"loss": runs, "first": runs, "valid": (2, *runs), "offered": (2, *runs)}
            losses |= {f"test_{name}": runs for name in DELIVERED}
            made |= {name: generator.random(shape).tolist() for name, shape in losses.items()}
            store.put(cell, {**made, "seconds": 1.0})
    return contents(folder)


def row_of_store(rng: Any, content: bytes) -> bytes:
    """Change one row of a store, or its table."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content.replace(b"\2\2", b"\1\1", 1))  # out of the mode with a log beside the file
    rows = connection.execute("SELECT key, result FROM cells").fetchall()
    key, result = rng.choice(rows)
    changed: Any = rng.choice((inputs.json_changed(rng, json.loads(result)),) * 6 + (b"\xff\xfe", 7, result[:50]))
    command = "UPDATE cells SET result = ? WHERE key = ?"
    if rng.random() < 0.1:
        changed, key, command = rng.choice((
            ("method", "x", "ALTER TABLE cells RENAME TO others -- ? ?"),
            ("", "x", "ALTER TABLE cells DROP COLUMN result -- ? ?"),
            ("", "x", "DELETE FROM cells -- ? ?"),
        ))  # fmt: skip
    if isinstance(changed, str):
        changed = changed.encode(errors="surrogatepass").decode(errors="replace")
    connection.execute(command, () if "--" in command else (changed, key))
    connection.commit()
    return connection.serialize()


def read_store(at: Path) -> None:
    """Read all that a store holds, and sum it up where it is whole."""
    with Store(at / "cells.sqlite") as store:
        len(store)
        if not store.missing(cells()):
            for score in SCORES.values():
                summarise(collect(SUITE, METHODS, store, score))


FOLDERS: dict[str, tuple[Any, Any]] = {
    "reinforcement": (reinforcement, reinforcement.TrainSettings(tasks=("wine",), optimizers=("adamw", "sgd"))),
    "garo": (garo, garo.GaroSettings()),
    "opt2vec": (opt2vec, opt2vec.Opt2VecSettings(use_extended_features=False)),
}


def run_folders(folder: Path) -> dict[str, bytes]:
    """Return the settings of every kind of training."""
    for name, (_, settings) in FOLDERS.items():
        write_fields(folder / name, settings)
    return contents(folder)


def read_run_folders(at: Path) -> None:
    """Read the settings of every kind of training; they are of use where they can be written and read again."""
    for name, (module, _) in FOLDERS.items():
        settings = module.read_settings(at / name)
        write_fields(at / name, settings)
        assert asdict(module.read_settings(at / name)) == json_like(asdict(settings))


def json_like(value: Any) -> Any:
    """Return a value with the tuples inside it as lists, as JSON has them."""
    return {k: json.loads(json.dumps(v)) if isinstance(v, dict) else v for k, v in value.items()}


TRAINER = EfficientMetaLearningTrainer(task_names=["wine"], embedding_dim=4, history_length=2, hidden=4)


def checkpoints(folder: Path) -> dict[str, bytes]:
    """Return checkpoints of trainings: a meta-training, trials of peaks."""
    folder.mkdir(parents=True)
    for weight in TRAINER._twin.parameters():
        weight.grad = weight.detach().clone()
    TRAINER._adam.step()
    TRAINER.steps_taken = 1
    opt2vec._write(folder / opt2vec.CHECKPOINT, TRAINER.state_dict())
    inner = 2, len(trials.PEAKS), len(trials.WATCHED), trials.GROUPS
    shapes = (*inner, len(FEATURE_NAMES)), inner[:2], inner, inner[:2], (inner[0], inner[2])
    trials._write(folder / trials.TRIALS[0], trials.Trials(*(np.ones(shape, np.float16) for shape in shapes)))
    return contents(folder)


def damaged_checkpoint(rng: Any, content: bytes) -> bytes:
    """Damage a checkpoint by its format."""
    return (inputs.archive if content[:2] == b"PK" else inputs.safetensors)(rng, content)


def read_checkpoints(at: Path) -> None:
    """Read all checkpoints, and go on from them."""
    opt2vec.load_checkpoint(TRAINER, at)
    steer(TRAINER.policy)
    TRAINER._adam.step()
    found = trials._read(at / trials.TRIALS[0], len(FEATURE_NAMES))
    if found:
        trials.joined(*found, *found)


LINK = playground.FunctionSettings(start=(1.0, 2.0), options={"adam": {"lr": 0.5}}, controllers=("cosine",), l1=0.5)
PAGES = (LINK, playground.TrainingSettings(lr=0.01), playground.SweepSettings(count=5))


def links(folder: Path) -> dict[str, bytes]:
    """Return a link for every page, and their settings as files."""
    made = {f"{s.page}.link": playground.to_link(s).encode() for s in PAGES}
    return made | {f"{s.page}.json": json.dumps({"settings": s.to_dict(), "rows": [1]}).encode() for s in PAGES}


def damaged_settings(rng: Any, content: bytes) -> bytes:
    """Change settings, in a file or in what a link packs."""
    if content.startswith(b"{"):
        return inputs.json_file(rng, content)
    packed = playground.base64.urlsafe_b64decode(content + b"=" * (-len(content) % 4))
    changed = inputs.json_file(rng, playground.zlib.decompress(packed))
    if rng.random() < 0.05:
        return playground.base64.urlsafe_b64encode(b"\x78\x9c" + inputs.bomb(b"{", 2**29)[0] + b"1234")
    return playground.base64.urlsafe_b64encode(playground.zlib.compress(changed, 1)).rstrip(b"=")


def read_links(at: Path) -> None:
    """Open every link and file, and list what they compare."""
    for path in sorted(at.iterdir()):
        content = path.read_bytes()
        read = playground.from_file if path.suffix == ".json" else lambda c: playground.from_link(c.decode("latin1"))
        settings = read(content)
        assert playground.from_link(playground.to_link(settings)) == settings
        settings.methods()


def a_trace(folder: Path) -> dict[str, bytes]:
    """Return the trace of a run whose groups change."""
    sink, generator = JsonLines(folder / "trace.jsonl"), np.random.default_rng(0)
    for step in range(0, 200, 10):
        groups = [f"group {g}" for g in range(2 + step // 100)]
        values = {name: generator.random(len(groups)).tolist() for name in ("rate", "scale", "clip", "dampen")}
        sink.add({"step": step, "loss": None if step == 50 else 1.0 / (1 + step), **values}, groups)
    return contents(folder)


def read_trace(at: Path) -> None:
    """Read a trace, and make its picture; every twentieth is drawn."""
    path = at / "trace.jsonl"
    run_picture(run_trace(path))
    if int(at.name) % 20 == 0:
        plot(path)


def logs(folder: Path) -> dict[str, bytes]:
    """Return the logs of a training."""
    sink = TensorBoard(folder)
    for step in range(30):
        sink.add({"step": step, "loss": 1.0 / (1 + step), "rate": [0.1, 0.2]}, ["a", "b"])
    sink._writer.close()
    return contents(folder)


def images(folder: Path) -> dict[str, bytes]:
    """Return a folder of small images and their labels."""
    generator, made = np.random.default_rng(0), {}
    for part, count, end in (("train", 40, ".gz"), ("t10k", 20, "")):
        for name, shape in (("images-idx3", (count, 3, 4)), ("labels-idx1", (count,))):
            head = b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">u4").tobytes()
            content = head + generator.integers(0, 5, shape, np.uint8).tobytes()
            made[f"{part}-{name}-ubyte{end}"] = inputs.gzip.compress(content, 1) if end else content
    return made


def read_images(at: Path) -> None:
    """Read a folder of images."""
    data = idx.load.__wrapped__(str(at))
    for pixels, labels in (data.train, data.valid):
        assert pixels.shape[0] == labels.shape[0] and pixels.isfinite().all() and labels.max() < 256


KINDS = {
    kind.name: kind
    for kind in (
        *map(a_policy, pretrained_names()),
        Kind("brain", brains, (inputs.archive,), read_brains),
        Kind("store", a_store, (row_of_store,), read_store),
        Kind("run folder", run_folders, (inputs.json_file,), read_run_folders),
        Kind("checkpoints", checkpoints, (damaged_checkpoint,), read_checkpoints),
        Kind("settings link and file", links, (damaged_settings,), read_links, named=False),
        Kind("trace", a_trace, (inputs.json_lines,), read_trace),
        Kind("logs", logs, (inputs.bits_flipped,), read_scalars),
        Kind("images", images, (inputs.idx,), read_images),
    )
}
