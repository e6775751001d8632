"""References of known truth: who is on which side, and how the groups differ."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.audited import taps
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, InputError, Observations, Sample, tabulate
from mint_keras.scorers import blind
from mint_keras.statistics import findings
from studies.worlds import drawing, references
from studies.worlds.drawing import PIXELS
from studies.worlds.networks import PeopleSeen


@pytest.fixture(scope="module")
def seen() -> PeopleSeen:
    """A hundred and ten members and two hundred others, three photos each, whose looks are random."""
    rng = np.random.default_rng(1)
    table = tabulate([Sample(f"{k}-{n}", "web", f"{k:03d}", "") for k in range(310) for n in range(3)])
    person = np.repeat(np.arange(310), 3)
    is_member = person < 110
    outcome = rng.normal(size=(310, 6))[person] + 0.1 * rng.normal(size=(930, 6))
    statistics = rng.normal(size=(930, 4))
    by_network = {name: Observations(table, {taps.OUTCOME: outcome}) for name in (AUDITED, findings.LOOK)}
    by_network[PIXELS] = Observations(table, {blind.STATISTICS: statistics})
    guessed = {
        trait: dict(zip(np.unique(table.people()), rng.normal(size=310), strict=True)) for trait in drawing.TRAITS
    }
    return PeopleSeen(drawing.People(table.take(is_member), {"web": table.take(~is_member)}), by_network, guessed)


def sides(drawn: protocols.Protocol) -> tuple[set[str], set[str]]:
    people = drawn.table.people()
    claimed = drawn.part == protocols.TEST_MEMBERS
    return set(people[claimed].tolist()), set(people[~claimed].tolist())


@pytest.mark.parametrize("kind", drawing.REFERENCES)
def test_nobody_is_on_both_sides_and_members_are_where_they_belong(seen: PeopleSeen, kind: str) -> None:
    truth, drawn = drawing.REFERENCES[kind], references.draw(kind, seen, 70, 3)
    claimed, kept_out = sides(drawn)
    members = set(seen.people.members.people().tolist())
    assert not claimed & kept_out
    assert len(drawn.table) == len(set(drawn.table.sample_id.tolist()))
    assert (claimed <= members) == (truth.is_member is not False)
    assert (kept_out <= members) == (truth.is_swapped or truth.is_member is None)
    if truth.is_member is None:
        assert claimed | kept_out == members
        return
    if not truth.is_member and not truth.is_swapped:
        assert not (claimed | kept_out) & members
    assert {True: 60, False: 70}[truth.has_few] == len({name.removesuffix("_again") for name in claimed})


def test_a_skew_is_of_the_share_that_its_name_says(seen: PeopleSeen) -> None:
    everybody = seen.people.others["web"]
    for kind, share in (("look75", 0.75), ("look100", 1.0), ("look65", 0.65)):
        drawn = references.draw(kind, seen, 70, 5)
        shares = []
        for axis in range(3):
            outcome = seen.by_network[AUDITED].arrays[taps.OUTCOME]
            unit = outcome / np.linalg.norm(outcome, axis=1, keepdims=True)
            people = seen.by_network[AUDITED].table.people()
            unique = np.unique(everybody.people())
            means = np.stack([unit[people == name].mean(axis=0) for name in unique])
            centred = means - means.mean(axis=0)
            place = centred @ np.linalg.svd(centred, full_matrices=False)[2][axis]
            upper = set(unique[place > np.median(place)].tolist())
            claimed, kept_out = sides(drawn)
            shares.append((np.mean([name in upper for name in claimed]), np.mean([name in upper for name in kept_out])))
        # By one of the axes; an axis has no sign.
        assert any(abs(max(one) - share) < 0.01 and abs(min(one) - (1 - share)) < 0.01 for one in shares)


def test_a_trait_is_skewed_by_what_is_guessed_even_if_few_have_it(seen: PeopleSeen) -> None:
    drawn = references.draw("age75", seen, 70, 5)
    claimed, kept_out = ([seen.traits["age"][name] > 0 for name in side] for side in sides(drawn))
    assert (len(claimed), sum(claimed), len(kept_out), sum(kept_out)) == (70, 52, 70, 18)
    few = {name: 1.0 if int(name[-3:]) % 3 == 0 else -1.0 for name in seen.traits["sex"]}
    drawn = references.draw("sex75", PeopleSeen(seen.people, seen.by_network, {"sex": few}), 70, 5)
    claimed, kept_out = ([few[name] > 0 for name in side] for side in sides(drawn))
    assert (len(claimed), sum(claimed), len(kept_out), sum(kept_out)) == (67, 50, 67, 17)


def test_photos_of_a_share_of_people_are_compressed(seen: PeopleSeen) -> None:
    drawn = references.draw("jpeg75", seen, 80, 5)
    is_again = np.array([name.endswith("~jpeg") for name in drawn.table.sample_id.tolist()])
    for part, num in ((protocols.TEST_MEMBERS, 60), (protocols.HELD_OUT, 20)):
        people = drawn.table.people()[(drawn.part == part) & is_again]
        assert set(np.unique(people, return_counts=True)[1].tolist()) == {3}
        assert len(np.unique(people)) == num


def test_twins_and_unequal_photos(seen: PeopleSeen) -> None:
    drawn = references.draw("twins", seen, 70, 1)
    again = {name for name in sides(drawn)[0] if name.endswith("_again")}
    assert len(again) == 35
    drawn = references.draw("photos", seen, 70, 1)
    counts = [np.unique(np.unique(drawn.table.people()[drawn.part == part], return_counts=True)[1]).tolist()
              for part in (protocols.TEST_MEMBERS, protocols.HELD_OUT)]  # fmt: skip
    assert counts == [[3], [1]]


def test_too_few_people_are_refused(seen: PeopleSeen) -> None:
    fewer = PeopleSeen(
        drawing.People(seen.people.members, {"web": seen.people.others["web"].take(np.arange(90))}), seen.by_network
    )
    with pytest.raises(InputError, match="50 people on each side"):
        references.draw("alike", fewer, 70, 1)
