"""What all commands share: complaints of one line, checks of what was asked for, and exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

PROBE = bytes(2**12)  # a full disk still has room for an empty file
MOST_COUNT = 1_000_000
MOST_SEED = 2**32 - 1  # that all libraries accept
# Least and greatest of every option that is a number; those that are not here are positive and finite.
NUMBERS: dict[str, tuple[float, float]] = {
    "first_update_norm": (0.0, sys.float_info.max),
    "hindsight": (0, MOST_COUNT),
    "port": (1, 65_535),
    "rollouts": (1, MOST_COUNT),
    "seed": (0, MOST_SEED),
    "seeds": (1, 10_000),
    "steps": (1, 1_000_000_000),
    "workers": (1, 1000),
}
POSITIVE = (math.ulp(0.0), sys.float_info.max)


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors, which `run` tells in one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
          ValueError: always.
        """
        raise ValueError(message)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parse and run a command; whatever is wrong becomes one line on standard error.

    A command's `run` takes the parsed options; its `go_on` returns how to go on after an interruption.

    Returns:
      The exit status: 0; 2 where the user has something to mend; 1 where nobody reads on; 130 after Ctrl-C.
    """
    options: Any = argparse.Namespace(go_on=lambda _: "")
    try:
        try:
            options = parser.parse_args(arguments)
            options.run(options)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # while it can still be said that it failed
        return 0
    except BrokenPipeError:
        complaint, status = "standard output was closed before all was written", 1
    except (ValueError, OSError, ImportError) as error:
        complaint, status = one_line(error), 2
    except KeyboardInterrupt:
        complaint, status = "; ".join(filter(None, ["interrupted", options.go_on(options)])), 130
    _give_up_output()
    print(f"{parser.prog}: {complaint}", file=sys.stderr)
    return status


def one_line(error: BaseException) -> str:
    """Return an error's message as one line.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "here"))
    'here: No such file or directory'
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split()) or type(error).__name__


def _give_up_output() -> None:
    """Let what standard output did not take be lost, or the interpreter complains of it once more at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_version(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option --version."""
    try:
        number = version("optcontrol")
    except PackageNotFoundError:
        number = "(not installed)"
    parser.add_argument("--version", action="version", version=f"optcontrol {number}")


def among(names: Collection[str]) -> str:
    """Return names as help lists them."""
    return ", ".join(names).replace("%", "%%")


def check_numbers(options: argparse.Namespace) -> None:
    """Check that all numbers among the options are in range, see `NUMBERS`.

    Raises:
      ValueError: if one is not.
    """
    for name, value in vars(options).items():
        values = value if isinstance(value, list) else [value]
        numbers = [number for number in values if type(number) in (int, float)]
        low, high = NUMBERS.get(name, POSITIVE)
        if name != "jobs" and any(not low <= number <= high for number in numbers):
            bound = f" up to {high:,}" if name in NUMBERS else ""
            kind = "positive numbers" if low > 0 else "0, or positive numbers"
            received = value if isinstance(value, list) else numbers
            raise ValueError(f"--{name.replace('_', '-')}: expected {kind}{bound}; received {received}")


def check_unread(options: argparse.Namespace, usual: argparse.Namespace, read: Collection[str], subject: str) -> None:
    """Check that no option was given that `subject` does not read.

    Args:
      options: as parsed.
      usual: the same without arguments.
      read: names of those that are read.
      subject: what does not read the others.

    Raises:
      ValueError: if one differs from its default.
    """
    given = [name for name, value in vars(usual).items() if name not in read and getattr(options, name) != value]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{flags}: {subject} does not read it; leave it out")


def check_device(name: str, *, here: bool = True) -> str:
    """Return the name of a device.

    Args:
      name: "cpu", "cuda" or "cuda:N".
      here: whether this machine has to have it.

    Raises:
      ValueError: if it is another, or absent.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (":" in name and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"--device: expected cpu, cuda or cuda:N; received {name!r}")
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if here and kind == "cuda" and int(index or 0) >= number:
        raise ValueError(f"--device: expected cpu, or one of {number} CUDA devices of this machine; received {name!r}")
    return name


def check_folder(path: Path) -> None:
    """Make a folder, unless it is there, and write into it: what would fail after the work fails before it.

    Raises:
      ValueError: if something else has its name, nothing may be written there, or the disk is full.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(PROBE)
    except FileExistsError:
        raise ValueError(f"{path}: expected a folder; received a file") from None
    except OSError as error:
        raise ValueError(f"{path}: expected a folder to write in; {error.strerror}") from error
