"""One person under several names, on simulated embeddings whose truth is known."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from sklearn.metrics import roc_auc_score

from mint_keras.records import InputError
from mint_keras.statistics import identities

CLUSTERED, WEAK, NOISE = 0.3, 1.0, 3.0  # spread of a person's photos, where people are 1 apart


def simulate(num: int, photos: int, spread: float, size: int = 64, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and the people on them; as of many networks, all faces have a direction in common."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(num), photos)
    embeddings = 1 + rng.normal(size=(num, size))[person] + spread * rng.normal(size=(len(person), size))
    return embeddings, np.array([f"person {number:04d}" for number in person])


def distinct(num: int) -> identities.Pictures:
    """Photos that are no copies, of whose pixels nothing is known."""
    return identities.Pictures(np.zeros((num, 1)), np.ones(num, bool))


def same_people(embeddings: np.ndarray, people: np.ndarray) -> identities.Merged:
    return identities.same_people(embeddings, people, distinct(len(people)))


def competence(embeddings: np.ndarray, people: np.ndarray) -> identities.Competence:
    return identities.competence(embeddings, people, distinct(len(people)))


def split(people: np.ndarray, share: float) -> np.ndarray:
    """Every second photo of the first people gets another name."""
    is_split = np.isin(people, np.unique(people)[: int(share * len(np.unique(people)))])
    return np.where(is_split & (np.arange(len(people)) % 2 == 1), np.char.add("alias of ", people), people)


def true_groups(found: identities.Merged) -> tuple[int, int]:
    """How many groups are one person's two names, and how many are not."""
    true = [{name.removeprefix("alias of ") for name in group} for group in found.groups]
    return sum(len(people) == 1 for people in true), sum(len(people) > 1 for people in true)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("spread", "least"), [(CLUSTERED, 100), (WEAK, 97)])
def test_people_under_two_names_are_found(spread: float, least: int, seed: int) -> None:
    embeddings, people = simulate(200, 6, spread, seed=seed)
    names = split(people, 0.5)
    found = same_people(embeddings, names)
    num_right, num_wrong = true_groups(found)
    assert num_right >= least
    assert num_wrong <= 6  # 2% of 300 names
    assert found.is_checked
    assert (found.num_names, found.num_split, found.num_copies) == (300, 300, 0)
    assert 0.7 < found.recall <= num_right / 100 + 0.02  # it is of names with half as many photos
    assert found.false_alarm <= 2 * 0.021 / 299
    clean = same_people(embeddings, people)
    assert len(clean.groups) <= 4
    # Twins are far more than a threshold from all pairs would bear, and hardly move it.
    assert found.threshold == pytest.approx(clean.threshold, abs=0.1)


def test_names_are_replaced_by_the_first_of_the_group() -> None:
    embeddings, people = simulate(60, 4, CLUSTERED)
    names = split(people, 0.1)
    found = same_people(embeddings, names)
    assert found.groups == tuple((f"alias of person {n:04d}", f"person {n:04d}") for n in range(6))
    expected = np.where(people < "person 0006", np.char.add("alias of ", people), people)
    np.testing.assert_array_equal(found.people, expected)
    assert "12 of 66 names belong to 6 people" in found.describe()


def test_three_names_of_one_person() -> None:
    embeddings, people = simulate(50, 6, CLUSTERED)
    names = np.where(people == "person 0007", np.char.add(people, np.tile([" a", " b", " c"], 100)), people)
    assert same_people(embeddings, names).groups == (tuple(f"person 0007 {one}" for one in "abc"),)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [8, 64])
def test_chance_does_not_snowball(size: int, seed: int) -> None:
    embeddings, people = simulate(200, 3, NOISE, size, seed)
    found = same_people(embeddings, people)
    assert max(map(len, found.groups), default=1) <= 3
    assert sum(map(len, found.groups)) <= 20
    assert not found.is_checked  # it found nothing, because it cannot
    assert found.recall < 0.2


def test_linkage_in_parts_is_linkage_of_all() -> None:
    embeddings, people = simulate(150, 8, WEAK, 24)
    found = same_people(embeddings, split(people, 0.5))
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    units -= units.mean(axis=0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    names = np.unique(split(people, 0.5))
    means = np.stack([units[split(people, 0.5) == name].mean(axis=0) for name in names])
    label = hierarchy.fcluster(hierarchy.linkage(means, "average", "cosine"), 1 - found.threshold, "distance")
    groups = [tuple(names[label == one]) for one in np.unique(label) if np.count_nonzero(label == one) > 1]
    assert found.groups == tuple(sorted(groups))
    assert len(groups) > 10


def test_a_chain_is_not_one_person() -> None:
    embeddings, people = simulate(100, 2, CLUSTERED)
    embeddings -= 1
    plane = 8 * np.linalg.qr(np.random.default_rng(2).normal(size=(64, 2)))[0].T
    angles = np.radians(45 * np.arange(6))  # each alike to the next, and not to the one after it
    chain = np.cos(angles)[:, None] * plane[0] + np.sin(angles)[:, None] * plane[1]
    names = np.append(people, [f"step {number}" for number in range(6)])
    found = same_people(np.concatenate([embeddings, chain]), names)
    assert found.threshold < np.cos(np.radians(46))
    assert {len(group) for group in found.groups} == {2}
    assert len(found.groups) >= 2


def test_many_photos_of_some_do_not_speak_for_names_with_one() -> None:
    embeddings, people = simulate(130, 20, 2.0)
    is_kept = (people < "person 0030") | (np.arange(len(people)) % 20 == 0)
    assert same_people(embeddings[is_kept], people[is_kept]).recall < 0.3
    assert same_people(embeddings, people).recall > 0.9


class TestCopies:
    @pytest.mark.parametrize("factor", [1.0, 3.0])
    def test_they_always_link(self, factor: float) -> None:
        embeddings, people = simulate(40, 4, NOISE)
        rows = [np.flatnonzero(people == f"person {number:04d}") for number in (3, 8, 20)]
        embeddings[rows[1][0]] = factor * embeddings[rows[0][0]].astype(np.float16)
        embeddings[rows[2][0]] = embeddings[rows[1][1]]
        found = same_people(embeddings, people)
        assert found.num_copies == 2
        assert ("person 0003", "person 0008", "person 0020") in found.groups

    def test_in_flat_folders(self) -> None:
        embeddings, people = simulate(100, 1, CLUSTERED)
        embeddings[17] = embeddings[60]
        found = same_people(embeddings, people)
        assert found.groups == (("person 0017", "person 0060"),)
        assert (found.threshold, found.recall, found.false_alarm, found.is_checked) == (None, None, None, False)
        assert "cannot be found: 0 names have two photos" in found.describe()

    def test_all_faces_in_one_direction_are_no_copies(self) -> None:
        embeddings, people = simulate(100, 2, NOISE)
        embeddings = 1 + 1e-3 * embeddings  # cosines above 0.99999, as of untrained networks
        assert same_people(embeddings, people).num_copies == 0


def test_few_names_with_two_photos_and_many_with_one() -> None:
    embeddings, people = simulate(200, 2, CLUSTERED)
    is_kept = (people < "person 0040") | (np.arange(len(people)) % 2 == 0)
    names = np.where(people == "person 0150", np.char.add(people, np.tile([" a", " b"], 200)), people)
    is_kept |= people == "person 0150"
    found = same_people(embeddings[is_kept], names[is_kept])
    assert found.groups == (("person 0150 a", "person 0150 b"),)
    assert found.num_split == 40
    fewer = (people >= "person 0021") & is_kept
    assert same_people(embeddings[fewer], names[fewer]).num_split == 19
    assert same_people(embeddings[fewer], names[fewer]).threshold is None


def test_the_order_of_photos_does_not_matter() -> None:
    embeddings, people = simulate(100, 5, 1.5)
    names, order = split(people, 0.3), np.random.default_rng(1).permutation(500)
    found, again = same_people(embeddings, names), same_people(embeddings[order], names[order])
    assert again.groups == found.groups
    assert (again.threshold, again.recall) == pytest.approx((found.threshold, found.recall))
    assert 0.1 < found.recall < 0.9
    np.testing.assert_array_equal(again.people, found.people[order])


def test_photos_of_one_occasion_leave_room() -> None:
    """Photos of one name that are almost copies do not hide a name whose photos were taken on another day."""
    embeddings, people = simulate(100, 2, 0.01)
    embeddings[1] += 0.6 * np.random.default_rng(2).normal(size=64)
    names = np.where(np.arange(200) == 1, "alias of person 0000", people)
    assert same_people(embeddings, names).groups == (("alias of person 0000", "person 0000"),)


def test_thousands_of_names() -> None:
    embeddings, people = simulate(3000, 3, CLUSTERED)
    found = same_people(embeddings, split(people, 0.02))
    assert true_groups(found) == (60, 0)


class TestCompetence:
    def test_is_the_auc(self) -> None:
        embeddings, people = simulate(300, 2, 2.0)
        found = competence(embeddings, people)
        units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        units -= units.mean(axis=0)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        cosines, pairs = units @ units.T, np.triu_indices(600, 1)
        same = people[pairs[0]] == people[pairs[1]]
        assert found.auc == pytest.approx(roc_auc_score(same, cosines[pairs]), abs=0.005)
        assert found.auc - 0.04 < found.low < found.auc
        assert (found.num_people, found.num_pairs) == (300, 300)
        assert not found.is_competent
        assert "does not tell people apart" in found.describe()

    def test_everybody_counts_once(self) -> None:
        embeddings, people = simulate(40, 2, CLUSTERED)
        rng = np.random.default_rng(1)
        names = np.append(people, np.full(200, "a name for anybody"))
        found = competence(np.concatenate([embeddings, 1 + rng.normal(size=(200, 64))]), names)
        assert found.auc == pytest.approx(1 - 0.5 / 41, abs=0.01)

    def test_photos_that_follow_each_other_are_no_proof(self) -> None:
        embeddings, people = simulate(100, 4, NOISE)
        embeddings[1::2] = embeddings[::2] + 0.01  # two photos of each of two occasions
        found = competence(embeddings, people)
        # Of six pairs of a person's photos two are of one occasion, where chance decides on the others.
        assert found.auc < 0.8

    def test_the_interval_covers(self) -> None:
        truth = competence(*simulate(1500, 2, 2.0, seed=100)).auc
        low = [competence(*simulate(40, 2, 2.0, seed=seed)).low for seed in range(100)]
        assert 90 <= sum(one < truth for one in low) < 100  # 97.5% expected

    def test_competent_or_unknown(self) -> None:
        assert competence(*simulate(20, 2, CLUSTERED)).is_competent
        few = competence(*simulate(19, 2, CLUSTERED))
        assert (few.auc, few.low, few.num_people, few.is_competent) == (None, None, 19, False)
        assert "19 people have two photos" in few.describe()
        flat = competence(*simulate(50, 1, CLUSTERED))
        assert (flat.num_people, flat.num_pairs, flat.is_competent) == (0, 0, False)

    @pytest.mark.parametrize("spread", [0.0, 1e-8])
    def test_a_network_that_gives_the_same_for_all_is_not(self, spread: float) -> None:
        embeddings, people = simulate(50, 2, CLUSTERED)
        embeddings = 0.3 + spread * embeddings
        assert competence(embeddings, people).auc == 0.5
        found = same_people(embeddings, people)
        assert (found.groups, found.num_copies, found.is_checked) == ((), 0, False)


@pytest.mark.parametrize("function", [same_people, competence])
def test_what_is_not_a_photo_is_refused(function) -> None:
    embeddings, people = simulate(30, 2, CLUSTERED)
    with pytest.raises(InputError, match="of 59 photos"):
        function(embeddings, people[:-1])
    with pytest.raises(InputError, match=r"\(60,\)"):
        function(embeddings[:, 0], people)
    with pytest.raises(InputError, match="received"):
        function(embeddings[:0], people[:0])
    embeddings[3, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        function(embeddings, people)


def test_copies_say_nothing_of_what_a_network_knows() -> None:
    """Any network knows a copy again: people whose photos are copies do not make it a judge of looks."""
    once = np.random.default_rng(1).normal(size=(60, 32))  # a network that knows nobody
    people = np.repeat([f"web/{row:02d}" for row in range(60)], 2)
    found = competence(np.repeat(once, 2, axis=0), people)
    assert found.low is None
    assert not found.is_competent
    other = once + np.random.default_rng(2).normal(size=once.shape)
    found = competence(np.stack([once, other], axis=1).reshape(120, 32), people)
    assert (found.num_people, found.num_pairs) == (60, 60)


def test_copies_of_photos_are_nobody_who_would_be_found_under_two_names() -> None:
    embeddings, people = simulate(60, 2, 0.1)  # everybody's second photo is the first one, saved again
    once = distinct(120)._replace(is_distinct=np.arange(120) % 2 == 0)
    assert same_people(embeddings, people).is_checked
    assert competence(embeddings, people).is_competent
    found = identities.same_people(embeddings, people, once)
    assert (found.num_split, found.recall, found.is_checked) == (0, None, False)
    assert identities.competence(embeddings, people, once)[:3] == (None, None, 0)
    # A photo that two names share is found whichever of a name's copies it is.
    shown, names = embeddings[[*range(120), 117]], np.append(people, "other")
    once = identities.Pictures(np.zeros((121, 1)), np.append(once.is_distinct, True))
    assert identities.same_people(shown, names, once).groups == (("other", "person 0058"),)


@pytest.mark.parametrize(("spread", "least"), [(CLUSTERED, 18), (WEAK, 18)])
def test_people_who_share_a_name_are_told_apart(spread: float, least: int) -> None:
    embeddings, people = simulate(200, 6, spread)
    shared = np.where(people >= "person 0180", np.char.replace(people, "person 01", "person 00"), people)
    found = identities.several_people(embeddings, shared)
    mixed = {name for name, cosine in found.cosine.items() if cosine < found.threshold}
    planted = {f"person {number:04d}" for number in range(80, 100)}
    assert len(mixed & planted) >= least
    assert len(mixed - planted) <= 2
    assert found.recall == pytest.approx(0.99, abs=0.011)
    assert f"{len(mixed)} of 180 names look like several people" in found.describe()
    for name in sorted(mixed & planted)[:5]:  # the parts are the two people
        rows = shared == name
        assert set(zip(people[rows].tolist(), found.part[rows].tolist(), strict=True)).__len__() == 2
    assert (found.part[~np.isin(shared, list(mixed))] == 0).all()


def test_the_largest_part_keeps_the_name() -> None:
    embeddings, people = simulate(60, 5, CLUSTERED)
    people[people == "person 0001"] = "person 0000"
    people[np.flatnonzero(people == "person 0000")[:2]] = "person 0002"
    found = identities.several_people(embeddings, people)
    assert found.part[people == "person 0002"].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert found.part[people == "person 0000"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_few_people_cannot_be_checked_for_several() -> None:
    embeddings, people = simulate(10, 3, CLUSTERED)
    found = identities.several_people(embeddings, people)
    assert found.threshold is None
    assert not found.part.any()
    assert "10 names have two photos or more, 20 are needed" in found.describe()


def test_photos_without_names_fall_into_people() -> None:
    embeddings, people = simulate(100, 4, CLUSTERED)
    order = np.random.default_rng(2).permutation(len(people))
    person, threshold = identities.unnamed_people(embeddings[order])
    pairs = {(name, number) for name, number in zip(people[order].tolist(), person.tolist(), strict=True)}
    assert len(pairs) == len(np.unique(person)) == 100
    assert 0 < threshold < 1
    assert person[0] == 0
