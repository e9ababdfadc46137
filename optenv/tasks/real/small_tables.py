"""Small tables that every run splits anew, so that twenty seeds are twenty splits."""

from __future__ import annotations

from functools import partial

from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real import tables
from optenv.tasks.real.fixed import Resplit
from optenv.tasks.real.r_tables import examples

BREAST_CANCER = partial(tables.examples, "breast_cancer")
WINE = partial(tables.examples, "wine")
DIABETES = partial(tables.examples, "diabetes")
# By the sex: species separate so well that the loss on a small test set falls to nothing.
PENGUINS = partial(examples, "palmerpenguins/penguins", "sex", without=("year",))
BOSTON = partial(examples, "MASS/Boston", "medv")
CONCRETE = partial(examples, "modeldata/concrete", "compressive_strength")
OLIVE = partial(examples, "dslabs/olive", "area", without=("region",))

TASKS = (
    PerceptronTask("breast_cancer_splits", Mlp(30, (), 2), cross_entropy, Resplit(BREAST_CANCER)),
    PerceptronTask("wine_splits", Mlp(13, (32,), 3), cross_entropy, Resplit(WINE), batch_size=16),
    PerceptronTask("diabetes_splits", Mlp(10, (32, 32), 1), F.mse_loss, Resplit(DIABETES)),
    PerceptronTask("penguins_splits", Mlp(10, (32,), 2), cross_entropy, Resplit(PENGUINS), batch_size=16),
    PerceptronTask("boston_splits", Mlp(13, (64, 64), 1), F.mse_loss, Resplit(BOSTON)),
    PerceptronTask("concrete_splits", Mlp(8, (64, 64), 1, activation="tanh"), F.mse_loss, Resplit(CONCRETE)),
    PerceptronTask("olive_splits", Mlp(8, (64,), 9, normed=1), cross_entropy, Resplit(OLIVE)),
)
