"""What is said of faces and persons, by hand."""

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from mint_keras.edge import judgement
from mint_keras.edge.bundle import FieldCalibration
from mint_keras.edge.judgement import Judgement, ScoredFace
from mint_keras.faces import quality
from mint_keras.records import SampleTable, Scores
from mint_keras.statistics import conformal, domain
from tests.edge.field import WORDING, reference

NUM = len(quality.FEATURES)
INSIDE, OUTSIDE = (0.0,) * NUM, (0.0, 0.0, 0.0, 100.0, *(0.0,) * (NUM - 4))
DOMAIN = domain.Domain(np.zeros(NUM), np.ones(NUM), np.eye(NUM), 10.0)
TEN = {"news": list(range(1, 10)), "web": list(range(1, 20))}


def calibration(is_valid: bool = True, fitted: domain.Domain | None = None) -> FieldCalibration:
    pairs = {2: reference({"news": [0.0, 1.0, 2.0]}, is_valid), 4: reference({"news": [0.0, 1.0, 2.0]}, is_valid)}
    return FieldCalibration(reference(TEN, is_valid), pairs, fitted, WORDING)


def scored(
    logits: Sequence[float], people: Sequence[str] = (), features: Sequence[tuple] = (), of: int = 1
) -> tuple[Scores, list[ScoredFace]]:
    num = len(logits)
    people = people or [f"p{k}" for k in range(num)]
    ids = np.array([f"{person}/{k}.jpg" for k, person in enumerate(people)])
    photos = SampleTable(ids, np.full(num, "db"), np.array(people), ids)
    features = features or [INSIDE] * num
    faces = [ScoredFace(k, 1, of, None, None, False, logits[k], features[k]) for k in range(num)]
    table = judgement.table_of(photos, faces)
    return Scores("cnn", "conv1", "field", 1, table, None, np.array(logits, np.float32)), faces


def faces_of(scores: Scores, faces: list[ScoredFace], found: FieldCalibration | None) -> list[Judgement]:
    return judgement.judge(scores, faces, found)[0]


def persons_of(scores: Scores, faces: list[ScoredFace], found: FieldCalibration | None) -> list[Judgement]:
    return judgement.judge(scores, faces, found)[1]


def test_shares_and_p_values_take_the_database_where_they_are_largest() -> None:
    found = faces_of(*scored([9.0, 5.0, 0.0, 30.0]), calibration())
    assert [one.share_above for one in found] == pytest.approx([11 / 19, 15 / 19, 1, 0])
    assert [one.p_value for one in found] == pytest.approx([12 / 20, 16 / 20, 1, 1 / 10])


def test_selection_is_benjamini_and_hochbergs() -> None:
    found = faces_of(*scored([30.0, 30.0, 0.0]), calibration())
    assert [one.is_selected for one in found] == [False, False, False]  # 0.1 > 0.1 * 2 / 3
    found = faces_of(*scored([30.0, 30.0]), calibration())
    assert [one.is_selected for one in found] == [True, True]


def test_faces_outside_of_the_domain_are_not_judged() -> None:
    (odd, plain) = faces_of(*scored([30.0, 30.0], features=[OUTSIDE, INSIDE]), calibration(True, DOMAIN))
    assert (odd.p_value, odd.is_selected) == (None, False)
    assert odd.abstained == f"unlike the calibration's faces ({quality.FEATURES[3]})"
    assert (plain.p_value, plain.abstained) == (pytest.approx(0.1), "")
    assert plain.is_selected is False  # the odd one still counts among the two


def test_a_failed_validity_gives_shares_only() -> None:
    (found,) = faces_of(*scored([30.0]), calibration(False))
    assert (found.share_above, found.p_value, found.is_selected) == (0, None, None)


def test_without_calibration() -> None:
    (found,) = faces_of(*scored([30.0]), None)
    assert (found.share_above, found.p_value, found.abstained) == (None, None, "the bundle is not calibrated")


class TestPersons:
    people = ("a", "a", "a", "b", "b", "c")
    logits = (5.0, 5.0, 5.0, 0.5, 1.5, 9.0)

    def test_means_of_as_many_photos_as_the_calibration_has(self) -> None:
        one, other = persons_of(*scored(self.logits, self.people), calibration())
        assert (one.name, one.face, one.of, one.logit) == ("db/a", 2, 3, 5.0)
        assert one.p_value == pytest.approx(1 / 4)
        assert (other.name, other.logit) == ("db/b", pytest.approx(1.0))
        assert other.p_value == pytest.approx(3 / 4)
        assert other.share_above == pytest.approx(2 / 3)

    def test_the_selection_is_among_people(self) -> None:
        """Persons a and b by their photos, c by a face: 1/4, 3/4 and 12/20, none small enough."""
        scores, faces = scored([5.0, 5.0, 5.0, 0.5, 1.5, 9.0], self.people)
        of_faces, of_persons = judgement.judge(scores, faces, calibration())
        assert [one.is_selected for one in of_faces] == [None] * 5 + [False]
        assert {one.abstained for one in of_faces[:5]} == {"judged with the person's other photos"}
        assert [one.is_selected for one in of_persons] == [False, False]
        people = {2: reference({"news": np.linspace(0, 1, 99).tolist()}, True)}
        many = FieldCalibration(reference({"news": np.linspace(0, 1, 9).tolist()}, True), people, None, WORDING)
        of_faces, of_persons = judgement.judge(scores, faces, many)  # 0.01 and 0.01 of persons, 0.1 of the face
        assert [one.is_selected for one in of_persons] == [True, True]
        assert of_faces[5].is_selected is True
        assert of_faces[0].is_selected is None

    def test_photos_unlike_the_calibrations_do_not_count(self) -> None:
        features = [INSIDE, INSIDE, OUTSIDE, OUTSIDE, INSIDE, INSIDE]
        one, other = persons_of(*scored(self.logits, self.people, features), calibration(True, DOMAIN))
        assert (one.face, one.p_value) == (2, pytest.approx(1 / 4))
        assert (other.p_value, other.abstained) == (None, "fewer than two photos like the calibration's")

    def test_group_photos_are_nobodys(self) -> None:
        assert persons_of(*scored(self.logits, self.people, of=2), calibration()) == []

    def test_without_p_values(self) -> None:
        one, _ = persons_of(*scored(self.logits, self.people), calibration(False))
        assert (one.p_value, one.is_selected, one.share_above) == (None, None, 0)
        one, _ = persons_of(*scored(self.logits, self.people), None)
        assert (one.logit, one.abstained) == (5.0, "the bundle is not calibrated")


def test_records_of_one_person_stay_one_person() -> None:
    ids = np.array([f"{k}.jpg" for k in range(4)])
    photos = SampleTable(ids, np.full(4, "db"), np.array(["a", "b", "c", "d"]), ids, np.array(["x", "x", "", "x"]))
    faces = [ScoredFace(k, 1, 2 if k == 3 else 1, None, None, False, 0.0, INSIDE) for k in range(4)]
    # Nobody knows who of several faces the person is.
    assert judgement.table_of(photos, faces).people().tolist() == ["db/x", "db/x", "db/c", "db/d#1"]


def test_one_photo_of_a_person_counts_where_persons_are_not_judged() -> None:
    scores, faces = scored([5.0, 30.0, 30.0, 0.0], ["a", "a", "a", "b"])
    people = {2: reference({"news": [0.0, 1.0, 2.0]}, False)}
    found, persons = judgement.judge(scores, faces, FieldCalibration(reference(TEN, True), people, None, WORDING))
    assert persons[0].p_value is None
    assert [one.is_selected for one in found] == [False, None, None, False]  # the first, not the highest
    assert [one.mistakes is None for one in found] == [False, True, True, False]
    assert [one.abstained for one in found] == ["", *["another photo of the person counts"] * 2, ""]


class TestMistakes:
    def test_of_faces(self) -> None:
        many = FieldCalibration(reference({"news": np.linspace(0, 1, 99).tolist()}, True), {}, None, WORDING)
        found = faces_of(*scored([9.0] * 4 + [0.5, 0.1]), many)
        assert [one.mistakes for one in found] == [1, 1, 1, 1, 2, 3]

    def test_of_faces_and_persons_together(self) -> None:
        """Of both as many as are wrong among faces and among persons: each is bounded with half of the 5%."""
        alike = reference({"news": np.linspace(0, 1, 99).tolist()}, True)
        people = [name for name in "abcdef" for _ in range(2)] + list("uvwxyz")
        scores, faces = scored([9.0] * 18, people)
        of_faces, of_persons = judgement.judge(scores, faces, FieldCalibration(alike, {2: alike}, None, WORDING))
        p = np.full(6, 0.01)
        half = conformal.most_mistakes(p, [99], p, conformal.ALPHA / 2)[0]
        assert {one.mistakes for one in of_persons} == {2 * half}
        assert {one.mistakes for one in of_faces[12:]} == {2 * half}
        assert {one.mistakes for one in of_faces[:12]} == {None}

    def test_nothing_without_p_values(self) -> None:
        for found in (None, calibration(False)):
            assert faces_of(*scored([30.0]), found)[0].mistakes is None


def test_copies_of_one_photo_vary_as_one_photo_does() -> None:
    """Of nobody who was used a share of 1% has a p-value of 0.01 or less, however often a photo was saved again."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (2, 24, 24)).astype(np.uint8)  # two photos, and noise of what was saved again
    people = np.repeat([f"p{k}" for k in range(200)], 4)
    logits = np.repeat(rng.normal(size=(200, 2)), 2, axis=1).ravel() + 0.05 * rng.normal(size=800)
    means = {num: {"news": rng.normal(size=(999, num)).mean(axis=1).tolist()} for num in (1, 2, 4)}
    found = FieldCalibration(
        reference(means[1], True), {num: reference(means[num], True) for num in (2, 4)}, None, WORDING
    )
    scores, faces = scored(logits.tolist(), people.tolist())
    as_if = persons_of(scores, faces, found)
    assert np.mean([one.p_value <= 0.01 for one in as_if]) > 0.03
    shown = np.clip(np.tile(np.repeat(small, 2, axis=0), (200, 1, 1)) + rng.normal(0, 3, (800, 24, 24)), 0, 255)
    faces = [
        dataclasses.replace(face, rough=base64.b64encode(one.astype(np.uint8).tobytes()).decode())
        for face, one in zip(faces, shown, strict=True)
    ]
    of_faces, of_persons = judgement.judge(scores, faces, found)
    assert {one.face for one in of_persons} == {2}
    assert np.mean([one.p_value <= 0.01 for one in of_persons]) < 0.03
    assert [one.is_copy for one in of_faces[:4]] == [False, True, False, True]
    assert not any(one.is_selected for one in of_persons)
    # Somebody else in the folder is seen with copies (4 of 10) and without (1 of 2).
    scores, ten = scored([0.0] * 10, ["a"] * 10)
    for num, same in ((6, [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]), (1, [0, *[1] * 9])):
        looks = [(1.0, 0.0)] * num + [(0.0, 1.0)] * (10 - num)
        noise = rng.integers(0, 256, (10, 576)).astype(np.uint8)[same]
        kept = zip(ten, looks, [base64.b64encode(one.tobytes()).decode() for one in noise], strict=True)
        shown_so = [dataclasses.replace(face, look=look, rough=rough) for face, look, rough in kept]
        assert persons_of(scores, shown_so, found)[0].is_several
    # Nor does a copy count in the place of a photo that is not judged.
    scores, two = scored([30.0, 30.0, 0.0], ["a", "a", "b"])
    two[:2] = [dataclasses.replace(face, rough=faces[0].rough) for face in two[:2]]
    assert [one.is_selected for one in faces_of(scores, two, calibration())] == [False, None, False]
    assert persons_of(scores, two, calibration()) == []
