"""The training split: families of tasks whose architectures and data are drawn at random."""

from optenv.tasks.synthetic import (
    autoencoder,
    classification,
    quadratic,
    regression,
    sequence,
    small,
    table,
    teacher_student,
)

FAMILIES = (
    classification.FAMILY,
    regression.FAMILY,
    teacher_student.FAMILY,
    autoencoder.FAMILY,
    quadratic.FAMILY,
    sequence.FAMILY,
    small.CLASSIFICATION,
    small.REGRESSION,
    table.CLASSIFICATION,
    table.REGRESSION,
)
# What is trained and calibrated on where nothing else is named: it needs no data of other packages.
NAMES = tuple(family.name for family in FAMILIES)
