import numpy as np
import pytest

from mint_keras.data import splits
from mint_keras.records import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_people_stay_on_one_side() -> None:
    people = rng().choice([f"p{k}" for k in range(20)], 200)
    first = splits.split_people(people, 0.3, rng(1))
    assert not set(people[first]) & set(people[~first])
    assert len(set(people[first])) == 6
    np.testing.assert_array_equal(first, splits.split_people(people, 0.3, rng(1)))
    assert not np.array_equal(first, splits.split_people(people, 0.3, rng(2)))


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_both_sides_get_somebody(fraction: float) -> None:
    first = splits.split_people(np.array(["a", "b", "b"]), fraction, rng())
    assert 0 < first.sum() < 3


def test_one_person_cannot_be_split() -> None:
    with pytest.raises(InputError, match="two identities"):
        splits.split_people(np.array(["a", "a"]), 0.5, rng())
    with pytest.raises(InputError, match="fraction"):
        splits.split_people(np.array(["a", "b"]), 1.5, rng())


def test_databases_take_turns() -> None:
    databases = np.repeat(["large", "middle", "small"], [500, 50, 5])
    rows = splits.choose_evenly(databases, 45, rng())
    counts = dict(zip(*np.unique(databases[rows], return_counts=True), strict=True))
    assert counts == {"large": 20, "middle": 20, "small": 5}
    assert len(set(rows.tolist())) == 45
    assert (np.diff(rows) > 0).all()


def test_choosing_more_than_there_is_gives_all() -> None:
    np.testing.assert_array_equal(splits.choose_evenly(np.array(["a", "b", "a"]), 9, rng()), [0, 1, 2])


def test_so_many_photos_of_each_person() -> None:
    people = np.array(["a"] * 5 + ["b"] * 2 + ["c"] * 3)
    ids = np.array([f"{k:02d}" for k in range(10)])
    rows = splits.choose_photos(people, ids, 3, 1)
    assert sorted(people[rows]) == ["a"] * 3 + ["c"] * 3
    order = np.random.default_rng(2).permutation(10)
    again = order[splits.choose_photos(people[order], ids[order], 3, 1)]
    assert set(again) == set(rows)
    assert len(splits.choose_photos(people, ids, 6, 1)) == 0


def test_balance() -> None:
    first, second = splits.balance(np.arange(10), np.arange(100, 103), rng())
    assert len(first) == len(second) == 3
    assert set(first) <= set(range(10))
    np.testing.assert_array_equal(second, [100, 101, 102])


def test_pairs() -> None:
    people = np.repeat([f"p{k}" for k in range(10)], 4)
    pairs, genuine = splits.make_pairs(people, 30, rng())
    same = people[pairs[:, 0]] == people[pairs[:, 1]]
    np.testing.assert_array_equal(same, genuine)
    assert genuine.sum() == (~genuine).sum() == 30
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == 60
    with pytest.raises(InputError, match="two samples"):
        splits.make_pairs(np.array(["a", "b", "c"]), 5, rng())


def test_permuted_membership_moves_whole_people() -> None:
    people = np.repeat([f"p{k}" for k in range(40)], np.arange(40) % 4 + 1)
    is_member = np.isin(people, [f"p{k}" for k in range(12)])
    permuted = splits.permute_membership(people, is_member, rng(1))
    assert not set(people[permuted]) & set(people[~permuted])
    assert len(set(people[permuted])) == 12
    np.testing.assert_array_equal(permuted, splits.permute_membership(people, is_member, rng(1)))
    assert not np.array_equal(permuted, splits.permute_membership(people, is_member, rng(2)))
    shares = [splits.permute_membership(people, is_member, rng(k))[is_member].mean() for k in range(200)]
    assert np.mean(shares) == pytest.approx(12 / 40, abs=0.03)  # whoever was a member is one as often as others


def test_permuted_membership_needs_people_on_one_side() -> None:
    with pytest.raises(InputError, match="received 1 on both"):
        splits.permute_membership(np.array(["a", "a", "b"]), np.array([True, False, True]), rng())


def test_whoever_is_unknown_is_on_one_side_or_no_split_is_made() -> None:
    people = np.array([f"flat/?{k}.jpg" for k in range(9)] + ["db/a", "db/b", "db/c"])
    for seed in range(5):
        first = splits.split_people(people, 0.5, rng(seed))
        assert len(set(first[:9])) == 1
    with pytest.raises(InputError, match="received 9 photos of unknown identity: one person could be on two sides"):
        splits.split_people(people[:9], 0.5, rng())
    with pytest.raises(InputError, match="received 9 of 12 of unknown identity"):
        splits.folds_of_people(people, np.arange(12) % 2 == 0, 2, 1)
