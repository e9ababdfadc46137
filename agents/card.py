"""`optcontrol card FILE`: writes a model card beside a controller file, from what the file itself says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from agents.registry import CONTROLLER
from optenv.control.policy_file import PolicyFile

SIZE = "{:,} numbers in {} tensors"


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give `parser` the controller that a card is written for."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a controller file (.safetensors)")
    parser.add_argument("--overwrite", action="store_true", help="write over a card that is there")
    parser.set_defaults(run=_card)
    return parser


def _card(options: argparse.Namespace) -> None:
    path = write_card(options.file, overwrite=options.overwrite)
    print(f"The card is in {path}; what it was judged by is yours to add.")


def write_card(path: Path, *, overwrite: bool = False) -> Path:
    """Write the card of a controller file beside it: README.md for `controller.safetensors`, else the file's own name.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no controller file, or a card is there and not to be overwritten.
    """
    text = card(PolicyFile.read(path))
    target = path.with_name("README.md") if path.name == CONTROLLER else path.with_suffix(".md")
    if target.exists() and not overwrite:
        raise ValueError(f"{target}: expected no card yet; there is one, write over it with --overwrite")
    target.write_text(text)
    return target


def card(file: PolicyFile) -> str:
    """Return a model card in Markdown, with the metadata of the Hugging Face Hub at its head."""
    interface = file.interface
    start = "the base rate"
    if interface.first_update is not None:
        start = f"first updates of {interface.first_update:g} of the weights"
    if interface.first_update_norm is not None:
        start = f"first updates of norm {interface.first_update_norm:g}"
    rows: dict[str, Any] = {
        "kind": file.kind,
        "size": SIZE.format(sum(int(tensor.size) for tensor in file.tensors.values()), len(file.tensors)),
        "observes": ", ".join(interface.features),
        "sets": f"{', '.join(interface.knobs)}, {interface.control} control",
        "starts from": start,
        "decisions of a run": interface.decisions,
        **{f"trained: {name}": _short(value) for name, value in file.notes.items()},
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""\
---
library_name: optcontrol
tags: [optimizer, learning-rate, reinforcement-learning]
---
# An OptControl controller

It steers the learning rate, and the other knobs below, of any PyTorch optimizer. Reading the file executes nothing.

| | |
| --- | --- |
{table}

## Use

    import agents, optenv
    controller = agents.load("{CONTROLLER}")  # a path, the folder with it, or "hf:user/repository"
    optimizer = optenv.ControlledOptimizer(base, controller, total_steps=2000)
    loss.backward(); optimizer.step(loss=loss); optimizer.zero_grad()

## Results and limits

Not stated yet: say on which tasks it was judged, against what, and where it failed.
"""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")[:300]
