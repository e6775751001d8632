"""The paper as data: every cell of its tables, the sizes of its protocol, its hyper-parameters.

Source: D. DeAlcala et al., "Is My Data in Your AI? Membership Inference Test (MINT) applied to Face Biometrics". A test
compares the cells with the paper's text where that is at hand.
"""

import dataclasses

FR_MODELS = ("FR Model 1", "FR Model 2", "FR Model 3")

# Hyper-parameters (Sec. IV-B3).
DENSE_UNITS, L1, DROPOUT = 128, 0.1, 0.5
NUM_FILTERS, KERNEL_SIZE = 64, 5
LEARNING_RATE = 1e-3
VANILLA_EPOCHS, CNN_EPOCHS = 20, 30
BATCH_SIZE = 128  # half of them members
# Appendix A: samples of each class that train a head, and that evaluate it.
CLASSIFICATION_TRAIN, CLASSIFICATION_TEST = 40_000, 10_000


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of the paper. All of them hold classification accuracies as fractions.

    Attributes:
        title: what it shows, in short.
        columns: what heads the columns, without the first.
        cells: for every row, under the name the paper gives it, one entry a column. An entry holds one accuracy, in
            Table 2 those of Cases A and B.
    """

    title: str
    columns: tuple[str, ...]
    cells: dict[str, tuple[tuple[float, ...], ...]]


def _single(rows: dict[str, tuple[float, ...]]) -> dict[str, tuple[tuple[float, ...], ...]]:
    return {name: tuple((value,) for value in values) for name, values in rows.items()}


TABLES: dict[int, Table] = {
    1: Table(
        "Vanilla MINT model, 100K samples",
        FR_MODELS,
        _single({
            "Conv Layer #1": (0.77, 0.80, 0.78),
            "Conv Layer #2": (0.74, 0.68, 0.68),
            "Conv Layer #3": (0.68, 0.59, 0.62),
            "Conv Layer #4": (0.69, 0.76, 0.75),
            "Model Outcome": (0.75, 0.78, 0.76),
            "Combination": (0.84, 0.84, 0.81),
        }),
    ),
    2: Table(
        "Vanilla MINT model, 100K samples, Case A / Case B",
        FR_MODELS,
        {
            "Conv Layer #1": ((0.84, 0.78), (0.83, 0.75), (0.86, 0.75)),
            "Conv Layer #2": ((0.68, 0.68), (0.65, 0.67), (0.63, 0.66)),
            "Conv Layer #3": ((0.54, 0.53), (0.51, 0.58), (0.53, 0.59)),
            "Conv Layer #4": ((0.53, 0.55), (0.77, 0.75), (0.71, 0.72)),
            "Model Outcome": ((0.73, 0.64), (0.86, 0.79), (0.84, 0.74)),
            "Combination": ((0.88, 0.78), (0.87, 0.82), (0.90, 0.80)),
        },
    ),
    3: Table(
        "Vanilla MINT model on the combination, by training size",
        FR_MODELS,
        _single({"100K": (0.84, 0.84, 0.81), "50K": (0.84, 0.82, 0.79), "1K": (0.66, 0.76, 0.75)}),
    ),
    4: Table(
        "CNN MINT model, 100K samples",
        FR_MODELS,
        _single({
            "Conv Layer #1": (0.86, 0.89, 0.90),
            "Conv Layer #2": (0.85, 0.86, 0.86),
            "Conv Layer #3": (0.83, 0.75, 0.76),
            "Conv Layer #4": (0.73, 0.74, 0.73),
            "Combination": (0.88, 0.90, 0.90),
        }),
    ),
    5: Table(
        "CNN MINT model on Conv Layer #1, by training size",
        FR_MODELS,
        _single({"100K": (0.86, 0.89, 0.90), "50K": (0.85, 0.89, 0.87), "1K": (0.73, 0.87, 0.87)}),
    ),
    6: Table(
        "MIA and the two MINT models",
        FR_MODELS,
        _single({
            "MIA [19]*": (0.75, 0.78, 0.76),
            "MINT Vanilla**": (0.84, 0.84, 0.81),
            "MINT CNN***": (0.86, 0.89, 0.90),
        }),
    ),
    7: Table(
        "MINT models on Conv Layer #1, by complexity: the CNN with a third, once, three and ten times its parameters",
        ("FR 1", "FR 2", "FR 3"),
        _single({
            "MINT CNN*": (0.79, 0.81, 0.82),
            "MINT CNN**": (0.86, 0.89, 0.90),
            "MINT CNN***": (0.86, 0.88, 0.90),
            "MINT CNN****": (0.85, 0.88, 0.88),
            "MINT ResNet50": (0.86, 0.89, 0.89),
            "MINT ViT": (0.86, 0.89, 0.90),
        }),
    ),
    8: Table(
        "CNN MINT model on Conv Layer #1 of classifiers of CIFAR-100, 80K samples",
        ("MobileNet", "ResNet50", "ResNet100", "DenseNet121", "DenseNet201", "Xception", "ViT"),
        _single({"accuracy": (0.98, 0.94, 0.94, 0.99, 0.99, 0.99, 0.94)}),
    ),
    9: Table(
        "CNN MINT model on Conv Layer #1 of a ResNet50, by resolution, 80K samples",
        ("ResNet50",),
        _single({"16x16": (0.56,), "32x32": (0.64,), "64x64": (0.94,), "128x128": (0.95,)}),
    ),
}  # fmt: skip
