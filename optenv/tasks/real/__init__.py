"""Tasks on real and computed data sets, none of which needs a network: held out, but for the families to train on."""

from torch.nn import functional as F

from optenv.tasks.layers import cross_entropy
from optenv.tasks.mlp import Mlp, PerceptronTask
from optenv.tasks.real import (
    characters,
    digits,
    large_tables,
    mnist,
    pictures,
    point_sets,
    prose,
    small_tables,
    tables,
    training,
)
from optenv.tasks.real.fixed import Fixed

# Four times the width: 512, where no training task is wider than 128, or that of the namesake.
WIDE = (
    PerceptronTask("digits_mlp_x4", Mlp(64, (512,), 10), cross_entropy, Fixed(digits.load)),
    PerceptronTask("digits_autoencoder_x4", Mlp(64, (128, 32, 128), 64), F.mse_loss, Fixed(digits.load_pixels)),
    PerceptronTask("breast_cancer_x4", Mlp(30, (512,), 2), cross_entropy, Fixed(tables.breast_cancer)),
    PerceptronTask("friedman_x4", Mlp(10, (512,), 1, activation="tanh", normed=1), F.mse_loss, Fixed(tables.friedman)),
)
# Of real size, with test sets of at least 1,000 examples.
LARGE = (*mnist.TASKS, *large_tables.TASKS, *prose.TASKS, *pictures.TASKS, *point_sets.TASKS)
TASKS = (*digits.TASKS, *tables.TASKS, *characters.TASKS, *WIDE, *LARGE, *small_tables.TASKS)
FAMILIES = training.FAMILIES
