"""The paper's protocol, whole and scaled down, and ours."""

import numpy as np
import pytest

from mint_keras.data import cases, protocol
from mint_keras.records import InputError, SampleTable, concatenate_tables


def table(database: str, num_people: int, per_person: int, first: int = 0) -> SampleTable:
    people = np.repeat(np.arange(first, first + num_people), per_person).astype(str)
    ids = np.char.add(f"{database}/", np.arange(first * per_person, first * per_person + len(people)).astype(str))
    return SampleTable(ids, np.full(len(people), database), people, ids)


def sides(members: SampleTable, train: SampleTable, test: SampleTable | None) -> cases.Sides:
    return cases.Sides(cases.Pool(members, None), cases.Pool(train, test), None, protocol.UNSEEN_DATABASE)


@pytest.mark.parametrize(
    ("case", "train", "evaluate"),
    [
        ("baseline", {"ijbc", "fddb", "gandiffface"}, "adience"),
        ("a", {"ijbc", "fddb", "adience"}, "gandiffface"),
        ("b", {"ijbc", "gandiffface", "adience"}, "fddb"),
    ],
)
def test_the_papers_cases(case: str, train: set[str], evaluate: str) -> None:
    everything = concatenate_tables([table(name, 3, 2) for name in ("IJBC", "fddb", "mine", "adience")])
    first, second = cases.divide_externals(everything, case, {"mine": "gandiffface"})
    papers = {"IJBC": "ijbc", "mine": "gandiffface"}
    assert {papers.get(name, name) for name in first.database.tolist()} == train
    assert {papers.get(name, name) for name in second.database.tolist()} == {evaluate}
    with pytest.raises(InputError, match=r"received .*'mine'.*--stand-in"):
        cases.divide_externals(everything, case, {})
    with pytest.raises(InputError, match="received"):
        cases.divide_externals(everything.take(everything.database != "fddb"), case, {"mine": "fddb"})


def test_with_the_papers_databases_the_numbers_are_the_papers() -> None:
    whole = sides(table("ms1mv3", 9_000, 10), table("ijbc", 3_000, 30), table("adience", 2_658, 10))
    assert cases.plan(whole, "100k") == cases.Plan(50_000, 50_000, 26_580, 1.0)
    assert cases.plan(whole, "50k").num_train == 25_000
    small = cases.plan(whole, "1k")
    assert (small.num_train, small.num_test) == (500, 26_580)
    made = cases.compose(whole, cases.plan(whole, "100k"), seed=1)
    assert np.bincount(made.part).tolist() == [50_000, 50_000, 26_580, 26_580]


def test_scaled_down_sizes_keep_their_ratio() -> None:
    few_externals = sides(table("lfw", 800, 10), table("utkface", 4_000, 1), table("orl", 40, 10))
    plans = {size: cases.plan(few_externals, size) for size in cases.SIZES}
    assert {size: numbers.num_train for size, numbers in plans.items()} == {"100k": 4_000, "50k": 2_000, "1k": 40}
    assert plans["100k"] == cases.Plan(4_000, 4_000, 400, 0.08)
    few_members = sides(table("lfw", 300, 10), table("utkface", 60_000, 1), table("adience", 2_658, 10))
    numbers = cases.plan(few_members, "100k")
    assert 3_000 - numbers.num_train - numbers.num_test <= 1
    assert numbers.num_test / numbers.num_train == pytest.approx(26_580 / 50_000, abs=0.01)
    made = cases.compose(few_members, numbers, seed=2)
    counts = np.bincount(made.part)
    assert counts[0] == counts[1]
    assert counts[2] == counts[3]


def test_numbers_of_ones_own() -> None:
    some = sides(table("lfw", 300, 10), table("utkface", 5_000, 1), table("orl", 40, 10))
    numbers = cases.plan(some, "100k", num_train=100, num_test=50)
    assert (numbers.num_train, numbers.num_test) == (100, 50)
    assert np.bincount(cases.compose(some, numbers, 1).part).tolist() == [100, 100, 50, 50]


def test_one_database_gives_both_sides() -> None:
    both = cases.Sides(
        cases.Pool(table("web", 100, 10), None), cases.Pool(table("web", 80, 10, 100), None), None, "same_database"
    )
    made = cases.compose(both, cases.plan(both, "100k"), seed=1)
    people = made.table.people()
    parts = [set(people[made.part == part].tolist()) for part in range(4)]
    assert all(parts)
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[3]
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_small_sizes_lie_inside_large_ones_and_are_tested_on_the_same() -> None:
    some = sides(table("lfw", 800, 10), table("utkface", 4_000, 1), table("orl", 40, 10))
    large, small = (cases.compose(some, cases.plan(some, size), seed=5) for size in ("100k", "50k"))
    large_parts, small_parts = (
        [set(made.table.sample_id[made.part == part].tolist()) for part in range(4)] for made in (large, small)
    )
    assert small_parts[0] < large_parts[0]
    assert small_parts[1] < large_parts[1]
    assert small_parts[2:] == large_parts[2:]


def test_a_person_on_two_sides_is_refused() -> None:
    same = table("lfw", 10, 20)
    with pytest.raises(InputError, match="different people in train_members and train_externals"):
        cases.compose(sides(same, same, table("orl", 10, 5)), cases.Plan(50, 50, 20, 1.0), seed=1)
    twins = cases.Pool(table("ijbc", 10, 20), table("ijbc", 10, 20))
    held_out = cases.Sides(cases.Pool(same, None), twins, None, protocol.UNSEEN_DATABASE)
    with pytest.raises(InputError, match="train_externals and test_externals"):
        cases.compose(held_out, cases.Plan(50, 50, 20, 1.0), seed=1)


def test_too_few() -> None:
    with pytest.raises(InputError, match="Expected samples to train and to evaluate"):
        cases.compose(sides(table("a", 2, 1), table("b", 2, 1), table("c", 1, 1)), cases.Plan(1, 1, 0, 1.0), seed=1)
