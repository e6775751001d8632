"""The look network of an audit, and what it makes of one person under several names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import taps
from mint_keras.auditing import look as looks
from mint_keras.data import images, protocol, registration, samples, synthetic
from mint_keras.records import InputError, Labelled, Observations, SampleTable, Scores
from mint_keras.runs import run as runs
from mint_keras.scorers.look import Look
from mint_keras.statistics import identities, metrics

pytestmark = pytest.mark.usefixtures("loaded_once", "filled_to_eight")

PARTS = {
    "ann": protocol.TRAIN_MEMBERS,
    "bob": protocol.TEST_MEMBERS,
    "cid": protocol.TRAIN_EXTERNALS,
    "dee": protocol.TEST_EXTERNALS,
    "eve": protocol.HELD_OUT,
    "fay": protocol.TEST_MEMBERS,
}


def made() -> protocol.Protocol:
    """A protocol with two photos of everybody in `PARTS`."""
    who = np.repeat(list(PARTS), 2)
    names = np.array([f"photo{row:02d}" for row in range(len(who))])
    table = SampleTable(names, np.full(len(who), "web"), who, names)
    return protocol.Protocol(table, np.repeat(list(PARTS.values()), 2), protocol.UNSEEN_DATABASE, 1)


def parts_of(found: protocol.Protocol) -> dict[str, set[int]]:
    given = made().table.identity
    return {name: set(found.part[given == name].tolist()) for name in PARTS}


def test_without_groups_nothing_changes() -> None:
    given = made()
    found, said = looks.regroup(given, ())
    assert found is given
    assert said == ()


@pytest.mark.parametrize(
    ("group", "left_out"),
    [
        (("bob", "fay"), set()),  # of one part
        (("dee", "eve"), set()),  # nobody is a member, or was trained on
        (("bob", "eve"), {"bob", "eve"}),  # a member, and who is said to be none
        (("ann", "cid"), {"ann", "cid"}),
        (("ann", "bob"), {"bob"}),  # a head was trained on the person: not to be tested on
        (("cid", "dee"), {"dee"}),
        (("ann", "bob", "eve"), {"ann", "bob", "eve"}),
    ],
)
def test_names_of_one_person_are_one_and_on_no_two_sides(group: tuple[str, ...], left_out: set[str]) -> None:
    found, said = looks.regroup(made(), [[f"web/{name}" for name in group]])
    kept = {name: {protocol.left_out(part)} if name in left_out else {part} for name, part in PARTS.items()}
    assert parts_of(found) == kept
    people = found.table.people()
    given = made().table.identity
    assert set(people[np.isin(given, group)]) == {f"web/{group[0]}"}
    assert len(set(people)) == len(PARTS) - len(group) + 1
    assert said[0].startswith(f"{len(left_out)} of the joined names")


def test_whoever_is_left_out_changes_nothing_else_of_an_evaluation() -> None:
    """There are three times as many members: which of them are compared is drawn."""
    who = np.repeat([f"{row:03d}" for row in range(120)], 2)
    names = np.array([f"photo{row:03d}" for row in range(len(who))])
    part = np.where(np.arange(len(who)) < 180, protocol.TEST_MEMBERS, protocol.HELD_OUT)
    part[-2:] = protocol.TEST_EXTERNALS
    given = protocol.Protocol(SampleTable(names, np.full(len(who), "web"), who, names), part, "main", 1)
    before = given.evaluations()[protocol.SAME_DATABASE]
    chosen = who[before.rows]
    group = [f"web/{chosen[0]}", f"web/{chosen[-1]}"]  # a member and somebody who is said to be none
    found, _ = looks.regroup(given, [group])
    after = found.evaluations()[protocol.SAME_DATABASE]
    kept = before.where(~np.isin(chosen, (chosen[0], chosen[-1])))
    assert len(kept.rows) < len(before.rows)
    np.testing.assert_array_equal(after.rows, kept.rows)
    np.testing.assert_array_equal(after.is_member, kept.is_member)


def test_scores_follow_their_people() -> None:
    given = made()
    part = Scores("s", "t", "e", 1, given.table, given.part < 2, np.arange(12, dtype=np.float32))
    joined, _ = looks.regroup(given, [["web/bob", "web/fay"], ["web/dee", "web/ann"]])
    (found,) = looks.regrouped([part], joined)
    assert set(found.samples.people()) == {"web/bob", "web/cid", "web/eve"}
    kept = [row for row, name in enumerate(given.table.identity.tolist()) if name not in ("ann", "dee")]
    np.testing.assert_array_equal(found.logit, kept)
    np.testing.assert_array_equal(found.is_member, part.is_member[kept])


def test_a_person_of_another_database_keeps_the_name() -> None:
    given = made().table
    found = looks.renamed(given, {"web/bob": "web/ann", "web/eve": "scan/zoe"})
    assert set(found.people()) == {"web/ann", "web/cid", "web/dee", "web/eve", "web/fay"}


@pytest.fixture(scope="module")
def run(run_folder: Path) -> runs.Run:
    return runs.reopen(run_folder)


@pytest.fixture(scope="module")
def chosen(run: runs.Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[looks.Chosen, Path]:
    """A look network that was asked for, and the folder in which it is kept."""
    folder = tmp_path_factory.mktemp("chosen")
    return looks.choose(run.protocol, run.spec.audited, 0, Path("lab3"), folder), folder


def test_a_choice_is_kept_and_read(
    run: runs.Run, chosen: tuple[looks.Chosen, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, folder = chosen
    assert (found.name, found.folder) == ("lab3", Path("lab3"))
    monkeypatch.setattr(looks, "embed", None)  # nothing is looked at again
    again = looks.choose(run.protocol, run.spec.audited, 0, Path("lab3"), folder)
    assert again == found


def test_a_network_that_does_not_know_these_faces_is_no_control(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(path: Path, table: SampleTable, native: int) -> Observations:
        return Observations(table, {taps.OUTCOME: np.random.default_rng(1).normal(size=(len(table), 8))})

    monkeypatch.setattr(looks, "embed", lost)
    found = looks.choose(run.protocol, run.spec.audited, 0, None, tmp_path)
    assert found.folder is None
    assert found.groups == ()
    assert "does not tell people apart well enough" in found.said[0]
    assert found.said[-1] == "Who is who was not checked."


def test_the_audited_network_itself_is_refused(run: runs.Run, audited_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another network than the audited one"):
        looks.choose(run.protocol, run.spec.audited, 0, audited_folder, tmp_path)
    assert not (tmp_path / looks.FOLDER).exists()


def test_what_it_tells_apart_is_cross_fitted_and_kept(
    chosen: tuple[looks.Chosen, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sides of two databases, which are drawn in other ways: the network sees that."""
    network = chosen[0]
    table = samples.join([samples.list_samples(f"synthetic:1/{name}/100-119/2") for name in ("web", "scan")])
    photos = Labelled(np.arange(80), np.arange(80) < 40)
    found = looks.by_look(network, table, photos, "same_database", 1, tmp_path)
    assert (found.scorer, found.model, found.num_folds) == (Look.name, "lab3", 5)
    assert metrics.auc(found.is_member, found.logit) > 0.7
    monkeypatch.setattr(looks, "embed", None)
    again = looks.by_look(network, table, photos, "same_database", 1, tmp_path)
    np.testing.assert_allclose(again.logit, found.logit)
    assert again.num_folds == 5
    assert (tmp_path / looks.FOLDER / "same_database" / formats.SCORES).is_file()


def test_photos_that_cannot_be_read_are_said(run: runs.Run) -> None:
    table = samples.join([samples.list_samples("synthetic:1/web/0-1/1"), made().table])
    with pytest.raises(InputError, match="14 photos that can be read, received 2"):
        looks.embed(Path("lab2"), table, run.spec.native_resolution)


def test_a_person_of_two_databases_is_left_out_of_the_second() -> None:
    """People are of one database: under two names on one side, the person would be in two folds of a fit."""
    given = made()
    database = np.where(given.table.identity == "fay", "scan", "web")
    given = dataclasses.replace(given, table=dataclasses.replace(given.table, database=database))
    found, _ = looks.regroup(given, [["scan/fay", "web/bob"]])
    is_used = found.part >= 0
    assert set(given.table.identity[~is_used]) == {"bob"}  # the first of the group keeps its place


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "encoded again": lambda face: cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1),
    "shrunk": lambda face: cv2.resize(cv2.resize(face, (60, 60), interpolation=cv2.INTER_AREA), (112, 112)),
    "brighter": lambda face: np.clip(face * 1.15 + 5, 0, 255).astype(np.uint8),
    "turned": lambda face: registration.moved(face, turn=15),
}


def with_copies(change: str, num: int = 60, num_single: int = 40) -> Observations:
    """A photo and a changed copy of it of some people, and one photo of others."""
    faces = [synthetic.render(f"synthetic:1/web/{who}/0") for who in range(num + num_single)]
    shown = np.stack([one for face in faces[:num] for one in (face, CHANGES[change](face))] + faces[num:])
    who = np.array([f"{k:03d}" for k in [*np.repeat(np.arange(num), 2), *range(num, num + num_single)]])
    names = np.array([f"{row}" for row in range(len(who))])
    return Observations(SampleTable(names, np.full(len(who), "web"), who, names), {images.PIXELS: shown})


@pytest.mark.parametrize("change", CHANGES)
def test_copies_show_nobody_that_a_network_knows_faces(change: str) -> None:
    """A network of chance alone knows a photo again that was saved again, shrunk, made brighter or turned."""
    seen = with_copies(change)
    coarse = np.stack([cv2.resize(face, (12, 12), interpolation=cv2.INTER_AREA) for face in seen[images.PIXELS]])
    chance = coarse.reshape(len(seen), -1).astype(float) @ np.random.default_rng(1).normal(size=(432, 64))
    as_if = identities.Pictures(np.zeros((len(seen), 1)), np.ones(len(seen), bool))
    assert identities.competence(chance, seen.people(), as_if).is_competent
    small = looks.pictures(seen)
    found = identities.competence(chance, seen.people(), small)
    assert not found.is_competent
    if change == "turned":  # too much to lie on its original; but it takes no network to know it
        assert "small pictures tell people apart, too" in found.describe()
    else:
        assert (found.num_people, found.low) == (0, None)
    with pytest.raises(InputError, match="tells these people apart"):
        identities.best_merged({"chance": chance}, seen.people(), small)


def test_photos_of_their_own_show_it_still() -> None:
    """Of drawn faces, which are more alike than photos, small pictures do not tell who is who."""
    table = samples.list_samples("synthetic:1/web/0-79/3")
    small = looks.pictures(table)
    assert small.is_distinct.mean() > 0.8
    person = np.random.default_rng(1).normal(size=(80, 32))
    knows = np.repeat(person, 3, axis=0) + 0.3 * np.random.default_rng(2).normal(size=(240, 32))
    found = identities.competence(knows, table.people(), small)
    assert found.is_competent
    assert found.by_pictures is not None
    assert found.by_pictures < 0.9


def test_photos_that_cannot_be_read_again_decide_nothing() -> None:
    seen = with_copies("shrunk", 2, 0)
    with pytest.raises(InputError, match="can be read"):
        looks.pictures(Observations(seen.table, {}))
    few = SampleTable(*(np.append(column[:3], "x") for column in list(seen.table.columns().values())[:4]))
    with pytest.raises(InputError, match="can be read"):
        looks.pictures(few)
