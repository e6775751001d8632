"""The paper's cells are the paper's: compared with its text where that lies beside the project."""

import re
from pathlib import Path

import pytest

from mint_keras import paper

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "paper"


@pytest.fixture(scope="module")
def text() -> str:
    files = sorted(FOLDER.glob("*.txt")) if FOLDER.is_dir() else []
    if not files:
        pytest.skip("the paper's text is not beside the project (../shared/paper)")
    return files[0].read_text()


def printed(text: str, number: int) -> list[list[str]]:
    """The tab-separated lines that follow a caption, without the header."""
    lines = text[text.index(f"**TABLE {number}.**") :].splitlines()
    first = next(place for place, line in enumerate(lines) if "\t" in line or line.startswith("Resolution"))
    rows = []
    for line in lines[first + 1 :]:
        if not line.strip():
            break
        rows.append(line.split("\t"))
    return rows


@pytest.mark.parametrize("number", paper.TABLES)
def test_cells_are_those_of_the_text(text: str, number: int) -> None:
    rows = printed(text, number)
    if number == 7:
        rows = [[row[0], *row[2:]] for row in rows]  # without the number of parameters
    if number == 8:  # printed twice, without a name
        assert rows[0] == rows[1]
        rows = [["accuracy", *rows[0]]]
    if number == 9:
        rows = [[re.sub(r"\$(\d+) \\times (\d+)\$", r"\1x\2", name), *values] for name, *values in rows]
    expected = {
        name: tuple("/".join(f"{value:.2f}" for value in entry) for entry in entries)
        for name, entries in paper.TABLES[number].cells.items()
    }
    assert {name: tuple(values) for name, *values in rows} == expected


def test_tables_are_whole() -> None:
    assert list(paper.TABLES) == list(range(1, 10))
    for table in paper.TABLES.values():
        assert all(len(entries) == len(table.columns) for entries in table.cells.values())


@pytest.mark.parametrize(
    ("phrase", "value"),
    [
        (r"dense layer with (\d+) neurons", paper.DENSE_UNITS),
        (r"L1 regularizer with a value of ([\d.]+\d)", paper.L1),
        (r"dropout layer with a value of ([\d.]+\d)", paper.DROPOUT),
        (r"convolutional layer with (\d+) filters", paper.NUM_FILTERS),
        (r"with a kernel = (\d+)", paper.KERNEL_SIZE),
        (r"training for (\d+) epochs with batches of 128 samples, each with an equal number of samples per class\. "
         r"Binary cross-entropy is", paper.VANILLA_EPOCHS),
        (r"training for (\d+) epochs with batches of 128 samples, each with an equal number of samples per class\. "
         r"Binary cross-entropy as", paper.CNN_EPOCHS),
        (r"epochs with batches of (\d+) samples", paper.BATCH_SIZE),
        (r"we use (\d+,\d+) samples from CIFAR-100", paper.CLASSIFICATION_TRAIN),
        (r"The additional (\d+,\d+) samples from CIFAR-100", paper.CLASSIFICATION_TEST),
    ],
)  # fmt: skip
def test_hyper_parameters_are_those_of_the_text(text: str, phrase: str, value: float) -> None:
    match = re.search(phrase, text)
    assert match
    assert float(match[1].replace(",", "")) == value
