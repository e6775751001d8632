"""What is said of faces and persons: scores, p-values where they hold, who is selected, and why nothing is said."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mint_keras.edge.calibration import FieldCalibration
from mint_keras.records import SampleTable, Scores, sigmoid
from mint_keras.statistics import conformal, paired, person

_UNCALIBRATED = "the bundle is not calibrated"
_UNLIKE = "unlike the calibration's faces"
_WITH_OTHERS = "judged with the person's other photos"


@dataclasses.dataclass(frozen=True)
class ScoredFace:
    """A face and its score.

    Attributes:
        row: of its photo in the table of photos.
        number: of the face in the photo, from 1.
        of: faces scored in the photo.
        box: left, top, right, bottom in the photo's pixels; None for a crop that was a face already.
        certainty: the detector's, 0 to 1; None likewise.
        is_resized: whether it was a crop of another size.
        logit: the score before the sigmoid.
        features: `quality.features`.
        picture: the face as JPEG in base64, if it was asked for.
    """

    row: int
    number: int
    of: int
    box: tuple[float, ...] | None
    certainty: float | None
    is_resized: bool
    logit: float
    features: tuple[float, ...]
    picture: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is said of one face or person.

    Attributes:
        name: `sample_id` in scores.csv, or the person.
        file: where the photo is; "" for a person.
        face: number of the face in the photo, or of photos of the person that were judged.
        of: faces in the photo, or photos of the person.
        box: see `ScoredFace`.
        certainty: see `ScoredFace`.
        score: the logit's sigmoid.
        logit: of the face; the mean of a person's photos.
        share_above: of calibration people who score as high; None if there are none to compare with.
        p_value: None if none may be given.
        is_selected: whether it stands out at the false discovery rate; None if that is not asked of it.
        abstained: why it is not judged, or not alone; "" if it is.
        picture: see `ScoredFace`.
    """

    name: str
    file: str
    face: int
    of: int
    box: tuple[float, ...] | None
    certainty: float | None
    score: float
    logit: float
    share_above: float | None
    p_value: float | None
    is_selected: bool | None
    abstained: str
    picture: str = ""

    @property
    def is_odd(self) -> bool:
        """Whether a face is outside of the calibration's domain."""
        return self.abstained.startswith(_UNLIKE)

    def to_dict(self) -> dict[str, Any]:
        """Returns its fields without the picture."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "picture"}


def table_of(photos: SampleTable, faces: Sequence[ScoredFace]) -> SampleTable:
    """Returns a row for each face.

    A face that was found in a photo is `PHOTO#1`, `#2` and so on. Who of several is the photo's person nobody knows:
    each is then a person of its own.
    """
    rows = np.array([face.row for face in faces], int)
    found = np.array([f"#{face.number}" if face.box is not None else "" for face in faces], np.str_)
    several = np.array([f"#{face.number}" if face.of > 1 else "" for face in faces], np.str_)
    table = photos.take(rows)
    columns = (
        np.char.add(column.astype(str), mark) for column, mark in ((table.sample_id, found), (table.identity, several))
    )
    return SampleTable(next(columns), table.database, next(columns), table.location)


def judge(
    scores: Scores, faces: Sequence[ScoredFace], calibration: FieldCalibration | None
) -> tuple[list[Finding], list[Finding]]:
    """Returns what is said of every face, in the order of the scores, and of everybody with several photos, by name.

    The selection is among people: whoever is judged by several photos counts once, with these, and so does every other
    face. Several photos of a person as if they were different people's would pretend to more evidence than there is.

    Args:
        scores: of `table_of`.
        faces: the same.
        calibration: of the bundle, if it has one.
    """
    of_faces, of_persons = _judge_faces(scores, faces, calibration), _judge_persons(scores, faces, calibration)
    judged = {one.name for one in of_persons if one.p_value is not None}
    people = scores.samples.people().tolist()
    of_faces = [
        dataclasses.replace(one, abstained=_WITH_OTHERS) if name in judged and not one.abstained else one
        for one, name in zip(of_faces, people, strict=True)
    ]
    units = [one for one, name in zip(of_faces, people, strict=True) if name not in judged]
    units += [one for one in of_persons if one.name in judged]
    if all(one.p_value is None for one in units):
        return of_faces, of_persons
    p = np.array([np.nan if one.p_value is None else one.p_value for one in units])
    selected = {id(unit): bool(mark) for unit, mark in zip(units, conformal.select(p), strict=True)}

    def mark(findings: list[Finding]) -> list[Finding]:
        return [dataclasses.replace(one, is_selected=selected.get(id(one))) for one in findings]

    return mark(of_faces), mark(of_persons)


def _judge_faces(scores: Scores, faces: Sequence[ScoredFace], calibration: FieldCalibration | None) -> list[Finding]:
    features = np.array([face.features for face in faces], np.float64).reshape(len(faces), -1)
    above, p, reasons = _compare(np.asarray(scores.logit, np.float64), features, calibration)
    return [
        Finding(
            str(scores.samples.sample_id[k]),
            str(scores.samples.location[k]),
            face.number,
            face.of,
            face.box,
            face.certainty,
            float(sigmoid(scores.logit[k])),
            float(scores.logit[k]),
            above[k],
            None if np.isnan(p[k]) else float(p[k]),
            None,
            reasons[k],
            face.picture,
        )
        for k, face in enumerate(faces)
    ]


def _compare(
    logits: np.ndarray, features: np.ndarray, calibration: FieldCalibration | None
) -> tuple[list[float | None], np.ndarray, list[str]]:
    """Returns share above, p-values and reasons for none, of each face."""
    if calibration is None:
        return [None] * len(logits), np.full(len(logits), np.nan), [_UNCALIBRATED] * len(logits)
    is_inside = calibration.is_inside(features)
    oddest = calibration.oddest(features)
    reasons = [
        "" if inside else f"{_UNLIKE} ({feature})" for inside, feature in zip(is_inside.tolist(), oddest, strict=True)
    ]
    above = calibration.photos.share_above(logits).tolist()
    return above, calibration.photos.p_values(logits, is_inside), reasons


def _judge_persons(scores: Scores, faces: Sequence[ScoredFace], calibration: FieldCalibration | None) -> list[Finding]:
    """Judges everybody with several photos; photos with several faces do not count.

    The mean of a person's photos is compared with the mean of as many photos of calibration people. Photos unlike the
    calibration's do not count either. Nobody has several photos where folders are not persons.
    """
    people = scores.samples.people()
    is_alone = np.array([face.of == 1 for face in faces], bool)
    counts = collections.Counter(people[is_alone].tolist())
    several = sorted(name for name, num in counts.items() if num > 1)
    if not several:
        return []
    features = np.array([face.features for face in faces], np.float64).reshape(len(faces), -1)
    is_inside = np.ones(len(faces), bool) if calibration is None else calibration.is_inside(features)
    judged = []
    for name in several:
        rows = is_alone & (people == name)
        judged.append(_judge_person(name, paired.take(scores, rows), is_inside[rows], calibration))
    return judged


def _judge_person(name: str, photos: Scores, is_inside: np.ndarray, calibration: FieldCalibration | None) -> Finding:
    num = 0 if calibration is None else calibration.photos_for(int(is_inside.sum()))
    above, p, reason = None, None, _UNCALIBRATED
    if calibration is None or not num:
        logit, num = person.statistic_of(photos.logit), 0
        if calibration is not None:
            reason = "fewer than two photos like the calibration's"
            if is_inside.sum() > 1:
                reason = "too few calibration people have several photos"
    else:
        logit = float(person.aggregate(paired.take(photos, is_inside), num).logit[0])
        reference = calibration.persons[num]
        above = float(reference.share_above(np.array([logit]))[0])
        value = reference.p_values(np.array([logit]), np.ones(1, bool))[0]
        p, reason = (None, "no p-values for so many photos") if np.isnan(value) else (float(value), "")
    score = float(sigmoid(np.array(logit)))
    return Finding(name, "", num, len(photos.logit), None, None, score, logit, above, p, None, reason)
