"""The names of the heads, for command lines: building a head takes Keras, naming one does not."""

from typing import Literal

# A Literal beside the dict of `specs`, so that a wrong name is wrong usage (exit code 2) and --help lists the names; a
# test keeps the two equal.
HeadName = Literal[
    "vanilla", "cnn",
    "cnn_third", "cnn_x3", "cnn_x10", "cnn_counted_third", "cnn_counted", "cnn_counted_x3", "cnn_counted_x10",
    "resnet50", "resnet50_reduced", "vit", "vit_reduced",
]  # fmt: skip
