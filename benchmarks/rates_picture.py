"""The README's picture, final loss against base rate: `python benchmarks/rates_picture.py runs/benchmark`.

It reads the `runs.csv` of `optcontrol benchmark --suite real --controllers auto ppo --baselines constant` and draws the
geometric mean over tasks and seeds of the test loss over the tuned reference's.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from optenv.figures import draw, rate_picture

NAMES = {"auto": "AdamW under auto", "ppo": "AdamW under ppo", "constant": "AdamW, constant"}
TITLE = "ten tasks of real data"


def mean_ratios(runs: Path, score: str, suite: str = "real") -> dict[str, dict[float, float]]:
    """Return the geometric mean ratio of every method in `NAMES` by base rate.

    Raises:
      ValueError: if the file has no run of one of them.
    """
    logs: dict[str, dict[float, list[float]]] = {name: defaultdict(list) for name in NAMES}
    with runs.open() as file:
        for row in csv.DictReader(file):
            if (row["suite"], row["score"]) == (suite, score) and row["method"] in logs:
                logs[row["method"]][float(row["rate"])].append(np.log(float(row["ratio"])))
    if absent := [name for name, by_rate in logs.items() if not by_rate]:
        raise ValueError(f"{runs}: expected runs of {', '.join(NAMES)}; received none of {', '.join(absent)}")
    return {name: {rate: float(np.exp(np.mean(of))) for rate, of in by_rate.items()} for name, by_rate in logs.items()}


def main(runs: Path, score: str, picture: Path) -> None:
    """Draw the picture, and print what it shows."""
    ratios = mean_ratios(runs, score)
    rates = sorted(ratios["ppo"])
    curves = {NAMES[name]: [by_rate[rate] for rate in rates] for name, by_rate in ratios.items()}
    for name, curve in curves.items():
        print(f"{name:28}" + "".join(f"{value:7.2f}" for value in curve))
    label = "test loss over tuned AdamW's"
    drawn = rate_picture(rates, {TITLE: curves}, references={TITLE: 1.0}, loss_label=label, height=3.2, width=6.4)
    draw(drawn).savefig(picture, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the benchmark")
    parser.add_argument("--score", default="final", help="column `score` of runs.csv (default: %(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/real_rates.png"))
    options = parser.parse_args()
    main(options.folder / "runs.csv", options.score, options.picture)
