"""Columns of texts, against the arrays of str that they stand for."""

import copy
import itertools
import pickle
import tracemalloc

import numpy as np
import pytest

from mint_keras import texts
from mint_keras.texts import Texts

STEMS = np.array(["a/", "b", "a", "b1", ""])


@pytest.fixture(params=["numbers", "none", "sparse", "large"])
def column(request: pytest.FixtureRequest) -> Texts:
    """Texts, some of which are equal although their stems differ: `b` and 12, `b1` and 2."""
    rng = np.random.default_rng(1)
    number = None if request.param == "none" else rng.integers(-1, 10**6 if request.param == "sparse" else 13, 300)
    if request.param == "large":
        number[:9] = 2**62 + np.arange(9)
    tails = None if number is None else np.array(["", ".jpg", "2", "", "x"])
    return Texts(STEMS, rng.integers(0, len(STEMS), 300), number, tails)


def test_numpy_gets_what_an_array_gives_it(column: Texts) -> None:
    array = np.asarray(column)
    assert column.tolist() == list(column) == array.tolist()
    assert (len(column), column.shape, column.dtype, column[-1], column[7]) == (
        300, (300,), array.dtype, array[-1], array[7]
    )  # fmt: skip
    for rows in (slice(3, 90, 2), np.array([5, 5, 299]), array == "b", np.array([], int)):
        assert isinstance(column[rows], Texts)
        np.testing.assert_array_equal(column[rows], array[rows])
    for function in (
        lambda given: np.isin(given, ["a/1", "b", "b12"]),
        lambda given: np.isin(array, given[:4]),
        lambda given: np.where(array == "b", given, "z"),
        lambda given: np.concatenate([given, array, given[5:9]]),
        lambda given: np.char.add(given, ":1"),
        lambda given: np.argsort(given, kind="stable"),
        lambda given: np.intersect1d(given, array[:50]),
        lambda given: np.repeat(given, 2),
        lambda given: given == array[::-1],
        lambda given: array != given[::-1],
        lambda given: given == "b",
        lambda given: given.astype(object),
        lambda given: pickle.loads(pickle.dumps(copy.deepcopy(given))),  # our own
    ):
        np.testing.assert_array_equal(function(column), function(array))


@pytest.mark.parametrize("wanted", [flags for flags in itertools.product((False, True), repeat=3) if any(flags)])
def test_unique_texts_are_those_of_an_array(column: Texts, wanted: tuple[bool, bool, bool]) -> None:
    asked = dict(zip(("return_index", "return_inverse", "return_counts"), wanted, strict=True))
    ours, theirs = np.unique(column, **asked), np.unique(np.asarray(column), **asked)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(np.unique(column), theirs[0])


@pytest.mark.parametrize("num_stems", [1, 3, 300])
@pytest.mark.parametrize("most", [0, 1, 126, 127, 128, 255, 32767, 2**31 - 1, 2**32, 2**53 + 1, 2**60])
def test_the_largest_number_of_a_type_is_no_other(most: int, num_stems: int) -> None:
    """One more than 127 would be -128 in a byte; beyond 2**53 floats have no odd numbers."""
    number = np.maximum(most - np.arange(9), -1)
    column = Texts(np.array([f"{k}_" for k in range(num_stems)]), np.arange(9) % num_stems, number)
    names, code = np.unique(column, return_inverse=True)
    assert names[code].tolist() == np.asarray(column).tolist()
    np.testing.assert_array_equal(names, np.unique(np.asarray(column)))


def test_equal_texts_are_found_however_they_are_kept(column: Texts) -> None:
    names, first, counts = np.unique(np.asarray(column), return_index=True, return_counts=True)
    assert texts.repeated(column) == names[counts > 1].tolist()
    assert texts.first_rows(column).tolist() == sorted(first.tolist())
    assert texts.repeated(column[texts.first_rows(column)]) == []


def test_pairs_are_those_of_arrays(column: Texts) -> None:
    array = np.asarray(column)
    for one, two in ((column, array), (array, column), (column, column), (array, array)):
        np.testing.assert_array_equal(texts.paired(one, two), [f"{a}/{a}" for a in array.tolist()])


def test_last_numbers_are_apart_and_nothing_is_lost() -> None:
    given = [
        "web/17",
        "web/007",
        "web/0",
        "",
        "7",
        "a" + 13 * "9",
        "a\u0663",
        "web/18",
        "Ann/17.jpg",
        "Ann/2.jpg",
        "\n3",
    ]
    column = texts.packed(given)
    assert column.tolist() == given
    assert column.stems.tolist().count("web/") == column.stems.tolist().count("Ann/") == 1
    assert np.unique(column).tolist() == sorted(given)
    assert texts.packed([]).tolist() == []
    with_files = np.concatenate([column, np.array(["x/1.jpg"]), texts.packed(["y/5.png"])])
    assert with_files[[8, -1, -2, 0]].tolist() == ["Ann/17.jpg", "y/5.png", "x/1.jpg", "web/17"]
    assert texts.paired(column, column).tolist() == [f"{text}/{text}" for text in given]


def test_a_million_names_take_megabytes() -> None:
    million = Texts(np.array(["glint360k/"]), np.zeros(10**6, int), np.arange(10**6))
    assert million.stem_of.nbytes + million.number.nbytes == 5 * 10**6
    joined = np.concatenate([million, np.array(["web/1.jpg"])])
    assert joined[-2:].tolist() == ["glint360k/999999", "web/1.jpg"]
    assert joined.stem_of.nbytes + joined.number.nbytes < 6 * 10**6
    assert len(million[:3].stems) == 1


def test_people_of_a_million_photos_take_a_few_bytes_each() -> None:
    """What a sort of numbers of eight bytes takes is six times as much."""
    rng = np.random.default_rng(1)
    people = Texts(np.array([f"{k}" for k in range(20_000)]), rng.integers(0, 20_000, 10**6))
    database = Texts(np.array(["glint360k"]), np.zeros(10**6, int))
    tracemalloc.start()
    names, counts = np.unique(texts.paired(database, people), return_counts=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(names), counts.sum(), str(names[0])) == (20_000, 10**6, "glint360k/0")
    assert peak < 24 * 10**6


def test_few_rows_do_not_carry_the_stems_of_all() -> None:
    column = Texts(np.array([f"person {k}" for k in range(1000)]), np.arange(1000))
    assert column[[900, 7, 900]].tolist() == ["person 900", "person 7", "person 900"]
    assert len(column[[900, 7, 900]].stems) == 2
    assert Texts(np.array(["a"]), np.zeros(2, int), np.array([-1, -1])).tolist() == ["a", "a"]
