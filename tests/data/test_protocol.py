import dataclasses

import numpy as np
import pytest

from mint_keras.data import protocol as protocols
from mint_keras.data import synthetic
from mint_keras.data.protocol import Sources, make_protocol
from mint_keras.records import InputError, Sample, SampleTable, concatenate_tables, tabulate


def lab(source: str):
    return synthetic.sample_table(f"synthetic:1/{source}")


@pytest.fixture
def sources() -> Sources:
    externals = concatenate_tables([lab("news/100-119/5"), lab("phone/200-219/5")])
    return Sources(lab("web/0-29/5"), externals, lab("scan/300-309/5"), lab("web/30-49/5"))


def test_parts(sources: Sources) -> None:
    protocol = make_protocol(sources, num_train=60, num_test=40, seed=3)
    sizes = [int((protocol.part == part).sum()) for part in range(5)]
    assert sizes == [60, 60, 40, 40, 40]
    people = {part: set(protocol.table.people()[protocol.part == part]) for part in range(5)}
    for first in range(5):
        for second in range(first):
            assert not people[first] & people[second]
    externals = protocol.table.database[protocol.part == protocols.TRAIN_EXTERNALS]
    assert (externals == "news").sum() == (externals == "phone").sum()


def test_sizes_asked_for_are_given_where_there_are_enough_samples() -> None:
    fifty = Sources(lab("web/0-49/1"), lab("news/100-119/5"), lab("scan/300-309/5"), None)
    for asked, given in (((40, 10), (40, 10)), ((30, 20), (30, 20)), ((10, 40), (10, 40)), ((50, 50), (30, 20))):
        part = make_protocol(fifty, *asked, seed=3).part
        assert ((part == protocols.TRAIN_MEMBERS).sum(), (part == protocols.TEST_MEMBERS).sum()) == given


def test_the_seed_decides_everything(sources: Sources) -> None:
    one, two, other = (make_protocol(sources, 60, 40, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.table.sample_id, two.table.sample_id)
    assert not np.array_equal(one.table.sample_id, other.table.sample_id)
    np.testing.assert_array_equal(one.evaluations()["familiar"][0], two.evaluations()["familiar"][0])


def test_evaluations_compare_what_they_say(sources: Sources) -> None:
    protocol = make_protocol(sources, 60, 40, seed=3)
    evaluations = protocol.evaluations()
    sides = {
        "unseen_database": (protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS),
        "same_database": (protocols.TEST_MEMBERS, protocols.HELD_OUT),
        "familiar": (protocols.HELD_OUT, protocols.TEST_EXTERNALS),
    }
    assert list(evaluations) == list(sides)
    for name, (rows, is_member) in evaluations.items():
        assert is_member.sum() * 2 == len(rows)
        assert set(protocol.part[rows[is_member]]) == {sides[name][0]}
        assert set(protocol.part[rows[~is_member]]) == {sides[name][1]}


def test_evaluations_stay_balanced_when_samples_are_rejected(sources: Sources) -> None:
    protocol = make_protocol(sources, 60, 40, seed=3)
    keep = (protocol.part != protocols.TEST_EXTERNALS) | (np.arange(len(protocol.part)) % 2 == 0)
    rows, is_member = protocol.take(keep).evaluations()["unseen_database"]
    assert is_member.sum() * 2 == len(rows) < 80
    nobody = protocol.take(protocol.part != protocols.TEST_EXTERNALS)
    with pytest.raises(InputError, match="unseen_database"):
        nobody.evaluations()


def test_without_databases_to_evaluate_people_are_held_out(sources: Sources) -> None:
    protocol = make_protocol(Sources(sources.members, sources.externals, None, None), 60, 40, seed=3)
    assert list(protocol.evaluations()) == ["seen_databases"]
    people = protocol.table.people()
    train, test = (set(people[protocol.part == p]) for p in (protocols.TRAIN_EXTERNALS, protocols.TEST_EXTERNALS))
    assert test
    assert not train & test


def test_training_rows(sources: Sources) -> None:
    protocol = make_protocol(sources, 60, 40, seed=3)
    rows, is_member = protocol.training_rows()
    assert set(protocol.table.database[rows[is_member]]) == {"web"}
    assert set(protocol.table.database[rows[~is_member]]) == {"news", "phone"}


def test_a_member_on_the_other_side_is_refused(sources: Sources) -> None:
    with pytest.raises(InputError, match="held_out"):
        make_protocol(Sources(sources.members, sources.externals, None, lab("web/29-40/5")), 60, 40, seed=3)
    with pytest.raises(InputError, match="externals and held_out"):
        make_protocol(Sources(sources.members, lab("web/30-39/5"), None, sources.held_out), 60, 40, seed=3)
    with pytest.raises(InputError, match="externals"):
        make_protocol(Sources(sources.members, lab("web/0-9/5"), None, None), 60, 40, seed=3)


def test_a_database_on_both_sides_of_the_evaluation_is_refused(sources: Sources) -> None:
    with pytest.raises(InputError, match="phone"):
        make_protocol(Sources(sources.members, sources.externals, lab("phone/400-410/5"), None), 60, 40, seed=3)


def test_held_out_people_are_of_the_members_databases(sources: Sources) -> None:
    """Else what a model makes of databases would be taken for what it makes of its members."""
    strangers = concatenate_tables([lab("web/30-39/5"), lab("cctv/40-49/5")])
    with pytest.raises(InputError, match=r"database, web, received \['cctv'\].*web=PATH"):
        make_protocol(sources._replace(held_out=strangers), 60, 40, seed=3)
    protocol = make_protocol(sources, 60, 40, seed=3)
    database = np.where(protocol.part == protocols.HELD_OUT, "cctv", protocol.table.database)
    with pytest.raises(InputError, match=r"received \['cctv'\]"):
        protocols.check_people(
            dataclasses.replace(protocol, table=dataclasses.replace(protocol.table, database=database))
        )


def test_of_several_databases_as_many_photos_of_each_are_compared(sources: Sources) -> None:
    members = concatenate_tables([lab("web/0-29/5"), lab("cctv/60-69/5")])
    held_out = concatenate_tables([lab("web/30-33/5"), lab("cctv/70-89/5")])
    protocol = make_protocol(sources._replace(members=members, held_out=held_out), 60, 60, seed=3)
    rows, is_member = protocol.evaluations()["same_database"]
    counts = [np.unique(protocol.table.database[rows[side]], return_counts=True) for side in (is_member, ~is_member)]
    assert [names.tolist() for names, _ in counts] == [["cctv", "web"]] * 2
    np.testing.assert_array_equal(counts[0][1], counts[1][1])


def test_a_person_on_both_sides_under_two_spellings_is_refused_with_both() -> None:
    def table(database: str, *names: str) -> SampleTable:
        return tabulate(Sample(f"{database}/{name}/{k}", database, name, "") for name in names for k in range(4))

    members, externals = table("db", "Person Ax", "Person Bx", "Person Cx"), table("web", "Eve", "Fay", "Gus")
    others = dataclasses.replace(table("db", "Dan", "person_ax"), sample_id=np.array([f"o/{k}" for k in range(8)]))
    with pytest.raises(InputError, match=r"received 1 in both.*'db/Person Ax' and 'db/person_ax'\. If these"):
        make_protocol(Sources(members, externals, None, others), 4, 4, 1)
    # Numbers with zeros are other numbers, and whoever nobody knows is not known by a name.
    members, others = table("db", "12", "13", "?a-1"), table("db", "012", "?a_1")
    make_protocol(Sources(members, externals, None, others), 4, 4, 1)


def test_a_small_database_of_members_may_be_in_training_alone(sources: Sources) -> None:
    """Its held-out people are of a members' database all the same; there is then nobody to compare them with."""
    protocol = make_protocol(sources, 60, 40, seed=3)
    database = np.where(
        np.isin(protocol.part, (protocols.TRAIN_MEMBERS, protocols.HELD_OUT)), "web", protocol.table.database
    )
    database = np.where(protocol.part == protocols.TEST_MEMBERS, "cctv", database)
    table = dataclasses.replace(protocol.table, database=database)
    small = dataclasses.replace(protocol, table=table)
    protocols.check_people(small)
    assert list(small.evaluations()) == ["unseen_database", "familiar"]
