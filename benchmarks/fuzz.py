"""Damaged files to everything that reads one: each has to be a single clear error, or to be read and be of use.

    python benchmarks/fuzz.py [--inputs 10000] [--seed 0] [--kind KIND ...]

A clear error is a ValueError or a FileNotFoundError itself, not one of a library's below them, of at most 1000
characters, that names the file (a settings link has no name). What is read in spite of the damage has to work: a
controller acts within its bounds on any observation, a store is summed up, a trace becomes a picture. Warnings, slow
inputs and every other exception count as "else". Every kind has a process of its own, whose peak of memory is that
above what the process held before the first input.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz_inputs import BYTES, path_damaged
from fuzz_kinds import KINDS, Kind

SECONDS = 60  # one input may take, on a busy machine
LONGEST = 1000
CLEAR = ("ValueError", "FileNotFoundError", "InvalidSetting")


class TooSlow(BaseException):
    """No handler of exceptions may catch it."""


def fuzz(kind: Kind, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Read `count` damaged files; return counts by outcome, examples of what is neither, and the peak in MB."""
    outcomes: Counter[str] = Counter()
    examples: list[str] = []
    signal.signal(signal.SIGALRM, _too_slow)
    files = kind.make(folder / "valid")
    start = peak_mb()
    for index in range(count):
        name, at = f"{kind.name}:{seed}:{index}", folder / str(index)
        outcome = one(kind, files, at, random.Random(name))
        shutil.rmtree(at)
        outcomes[outcome if outcome in ("error", "accepted") else "else"] += 1
        if outcome not in ("error", "accepted"):
            examples.append(f"{name} {outcome}")
    return {**outcomes, "examples": examples, "peak": round(peak_mb() - start, 1)}


def one(kind: Kind, files: dict[str, bytes], at: Path, rng: random.Random) -> str:
    """Damage one of the files, read them, and return "error", "accepted", or what else happened."""
    for name, content in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content)
    path = at / rng.choice(list(files))
    if rng.random() < 0.03 and kind.named:
        path_damaged(rng, path)
    else:
        change = rng.choice(BYTES) if rng.random() < 0.4 else rng.choice(kind.changes)
        path.write_bytes(change(rng, path.read_bytes()))
    return outcome_of(kind, at)


def outcome_of(kind: Kind, at: Path) -> str:
    """Read the files of a folder; return "error", "accepted", or what else happened."""
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kind.load(at)
    except (Exception, TooSlow) as error:
        text = str(error)
        if type(error).__name__ in CLEAR and len(text) <= LONGEST and (not kind.named or str(at) in text):
            return "error"
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {text[:200]} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.alarm(0)
    told = [f"{w.category.__name__}: {w.message}" for w in caught if w.category is not ResourceWarning]
    return told[0] if told else "accepted"


def _too_slow(*arguments: Any) -> None:
    raise TooSlow


def peak_mb() -> float:
    """Return the most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux: kB


def in_process(name: str, inputs: int, seed: int) -> dict[str, Any]:
    """Fuzz one kind in a process of its own, which may crash."""
    command = [sys.executable, __file__, "--child", name, "--inputs", str(inputs), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"else": inputs, "examples": [f"{name} ended with {done.returncode}: {done.stderr[-500:]}"], "peak": 0.0}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Fuzz all kinds, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(fuzz(KINDS[options.child], Path(folder), options.inputs, options.seed)))
        return
    each, examples, worst = -(-options.inputs // len(options.kind)), [], 0
    print("| file | inputs | clear errors | accepted, and of use | else | peak, MB |\n|---|---|---|---|---|---|")
    for name in options.kind:
        found = in_process(name, each, options.seed)
        counts = [found.get(outcome, 0) for outcome in ("error", "accepted", "else")]
        print(f"| {name} | {each} | {' | '.join(map(str, counts))} | {found['peak']:.0f} |", flush=True)
        examples += found["examples"]
        worst = max(worst, found["peak"])
    print(f"| all | {each * len(options.kind)} | | | {len(examples)} | {worst:.0f} |")
    print(*examples[:200], sep="\n")
    sys.exit(1 if examples else 0)


if __name__ == "__main__":
    main()
