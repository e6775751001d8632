"""Decides what is said of faces and persons: scores, p-values where they hold, and why nothing is said elsewhere."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mint_keras.edge.bundle import FieldCalibration
from mint_keras.records import SampleTable, Scores, sigmoid
from mint_keras.statistics import conformal, paired, person

_UNCALIBRATED = "the bundle is not calibrated"
_UNLIKE = "unlike the calibration's faces"
_WITH_OTHERS = "judged with the person's other photos"


@dataclasses.dataclass(frozen=True)
class ScoredFace:
    """A face and its score; a crop that was a face already has neither box nor certainty."""

    row: int  # of its photo in the table of photos
    number: int  # among the faces that were scored in the photo, from 1
    of: int  # how many these are
    box: tuple[float, ...] | None  # left, top, right and bottom in the photo's pixels
    certainty: float | None  # the detector's, 0 to 1
    is_resized: bool  # whether it was a crop of another size
    logit: float
    features: tuple[float, ...]  # the numbers of `quality.features`
    picture: str = ""  # the face as JPEG in base64 if it was asked for


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What is said of one face or person; a person has no file, box, certainty and picture (see `ScoredFace`).

    Attributes:
        name: The `sample_id` in scores.csv, or the person.
        face: The number of the face in its photo, or the number of the person's photos that were judged.
        of: The number of faces in the photo, or of the person's photos.
        logit: The face's logit, or the mean of the person's photos.
        share_above: The share of calibration people who score as high; None if there are none to compare with.
        p_value: The p-value; None if none may be given.
        is_selected: Whether it stands out at the false discovery rate; None if it was not among those selected from.
        abstained: The reason why it is not judged, or not alone; "" if it is.
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
    """Returns a row for each face; a face that was found in a photo is called `PHOTO#1`, `#2` and so on."""
    table = photos.take(np.array([face.row for face in faces], int))
    found = np.array([f"#{face.number}" if face.box is not None else "" for face in faces], np.str_)
    # Nobody knows who of several is the photo's person: each is then a person of its own.
    several = np.array([f"#{face.number}" if face.of > 1 else "" for face in faces], np.str_)
    sample_id = np.char.add(table.sample_id.astype(str), found)
    return SampleTable(sample_id, table.database, np.char.add(table.identity.astype(str), several), table.location)


def judge(
    scores: Scores, faces: Sequence[ScoredFace], calibration: FieldCalibration | None
) -> tuple[list[Judgement], list[Judgement]]:
    """Returns what is said of every face, in the order of the scores, and of everybody with several photos, by name.

    The mean of a person's photos is compared with the mean of as many photos of calibration people. Nobody has several
    photos where folders are not persons. The scores are those of the rows of `table_of` the faces.
    """
    oddities = [""] * len(faces)
    if calibration is not None:
        oddities = calibration.oddities(np.array([face.features for face in faces], np.float64).reshape(len(faces), -1))
    is_inside = np.array([not oddity for oddity in oddities], bool)
    people = scores.samples.people()
    # Photos with several faces do not count for a person, since nobody knows whose face is whose.
    is_alone = np.array([face.of == 1 for face in faces], bool)
    of_persons = []
    for name, num in sorted(collections.Counter(people[is_alone].tolist()).items()):
        if num > 1:
            rows = is_alone & (people == name)
            of_persons.append(_judge_person(name, paired.take(scores, rows), is_inside[rows], calibration))
    judged = {one.name for one in of_persons if one.p_value is not None}
    of_faces = [
        dataclasses.replace(one, abstained=_WITH_OTHERS) if name in judged and not one.abstained else one
        for one, name in zip(_judge_faces(scores, faces, oddities, calibration), people, strict=True)
    ]
    # The selection is among people: whoever is judged by several photos counts once, with these, and so do other faces.
    # Several photos of a person as if they were different people's would pretend to more evidence than there is.
    units = [one for one, name in zip(of_faces, people, strict=True) if name not in judged]
    units += [one for one in of_persons if one.name in judged]
    if all(one.p_value is None for one in units):
        return of_faces, of_persons
    p = np.array([np.nan if one.p_value is None else one.p_value for one in units])
    selected = dict(zip(map(id, units), conformal.select(p).tolist(), strict=True))

    def mark(judgements: list[Judgement]) -> list[Judgement]:
        return [dataclasses.replace(one, is_selected=selected.get(id(one))) for one in judgements]

    return mark(of_faces), mark(of_persons)


def _judge_faces(
    scores: Scores, faces: Sequence[ScoredFace], oddities: list[str], calibration: FieldCalibration | None
) -> list[Judgement]:
    logits = np.asarray(scores.logit, np.float64)
    above: list[float | None] = [None] * len(faces)
    p, reasons = np.full(len(faces), np.nan), [_UNCALIBRATED] * len(faces)
    if calibration is not None:
        above = calibration.photos.share_above(logits).tolist()
        p = calibration.photos.p_values(logits, np.array([not oddity for oddity in oddities], bool))
        reasons = [f"{_UNLIKE} ({oddity})" if oddity else "" for oddity in oddities]
    judgements = []
    for k, face in enumerate(faces):
        name, file = str(scores.samples.sample_id[k]), str(scores.samples.location[k])
        p_value, score = None if np.isnan(p[k]) else float(p[k]), float(sigmoid(scores.logit[k]))
        said = (score, float(scores.logit[k]), above[k], p_value, None, reasons[k], face.picture)
        judgements.append(Judgement(name, file, face.number, face.of, face.box, face.certainty, *said))
    return judgements


def _judge_person(name: str, photos: Scores, is_inside: np.ndarray, calibration: FieldCalibration | None) -> Judgement:
    """Judges a person by those photos that are like the calibration's."""
    num_inside = int(is_inside.sum())
    num = 0 if calibration is None else max((n for n in calibration.persons if n <= num_inside), default=0)
    above, p, reason = None, None, _UNCALIBRATED
    if calibration is not None and num:
        logit = float(person.aggregate(paired.take(photos, is_inside), num).logit[0])
        reference = calibration.persons[num]
        above = float(reference.share_above(np.array([logit]))[0])
        value = reference.p_values(np.array([logit]), np.ones(1, bool))[0]
        p, reason = (None, "no p-values for so many photos") if np.isnan(value) else (float(value), "")
    else:
        logit = person.statistic_of(photos.logit)
        if calibration is not None and num_inside > 1:
            reason = "too few calibration people have several photos"
        elif calibration is not None:
            reason = "fewer than two photos like the calibration's"
    score = float(sigmoid(np.array(logit)))
    return Judgement(name, "", num, len(photos.logit), None, None, score, logit, above, p, None, reason)
