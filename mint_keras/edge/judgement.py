"""Decides what is said of faces and persons: scores, p-values where they hold, and why nothing is said elsewhere."""

import base64
import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mint_keras.borders import shown
from mint_keras.data import registration, splits
from mint_keras.edge import resemblance
from mint_keras.edge.bundle import FieldCalibration
from mint_keras.records import SampleTable, Scores, sigmoid
from mint_keras.statistics import conformal, figures, paired, person

_UNCALIBRATED = "the bundle is not calibrated"
_UNLIKE = "unlike the calibration's faces"
_WITH_OTHERS = "judged with the person's other photos"
_AFTER_FIRST = "another photo of the person counts"
_COPY = "a copy of another photo of the person"
_SEVERAL = "not judged: its photos seem to show several people"


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
    look: tuple[float, ...] = ()  # the vector of `resemblance.Looks.of` where persons are judged
    rough: str = ""  # there also the picture of `registration.ROUGH` in base64


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
        mistakes: The most among those selected from with a p-value up to its own that are no members, for a threshold
            that is picked after looking (`conformal.most_mistakes`); None if it was not among them, or has no p-value.
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
    mistakes: int | None = None

    @property
    def is_odd(self) -> bool:
        """Whether a face is outside of the calibration's domain."""
        return self.abstained.startswith(_UNLIKE)

    @property
    def is_several(self) -> bool:
        """Whether the photos of a person seem to show several people."""
        return self.abstained == _SEVERAL

    @property
    def is_copy(self) -> bool:
        """Whether a face is not counted because its photo is a copy of another."""
        return self.abstained == _COPY

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
    group = None if table.group is None else np.where(several == "", table.group, "")
    identity = np.char.add(table.identity.astype(str), several)
    places = np.array(list(map(shown, table.sample_id.tolist(), table.location.tolist())), np.str_)
    return SampleTable(sample_id, table.database, identity, places, group)


def judge(
    scores: Scores, faces: Sequence[ScoredFace], calibration: FieldCalibration | None
) -> tuple[list[Judgement], list[Judgement]]:
    """Returns what is said of every face, in the order of the scores, and of everybody with several photos, by name.

    The mean of a person's photos is compared with the mean of as many photos of calibration people. Copies of a photo,
    such as those that were saved again, count once: their mean varies as that of one photo does. Nobody has several
    photos where folders are not persons. The scores are those of the rows of `table_of` the faces.
    """
    oddities = [""] * len(faces)
    if calibration is not None:
        oddities = calibration.oddities(np.array([face.features for face in faces], np.float64).reshape(len(faces), -1))
    is_inside = np.array([not oddity for oddity in oddities], bool)
    people = scores.samples.people()
    # Photos with several faces do not count for a person, since nobody knows whose face is whose.
    is_alone = np.array([face.of == 1 for face in faces], bool)
    is_copy = _are_copies(people, faces, is_alone)
    of_persons = []
    for name, num in sorted(collections.Counter(people[is_alone & ~is_copy].tolist()).items()):
        if num > 1:
            all_rows = is_alone & (people == name)
            rows = all_rows & ~is_copy
            found = _judge_person(name, paired.take(scores, rows), is_inside[rows], calibration)
            seen = [np.array([faces[row].look for row in np.flatnonzero(some).tolist()]) for some in (rows, all_rows)]
            # Whose folder holds somebody else's photos, too, is not judged by their mean.
            if any(looks.size and not resemblance.are_one_person(looks) for looks in seen):
                found = dataclasses.replace(found, share_above=None, p_value=None, abstained=_SEVERAL)
            of_persons.append(found)
    judged = {one.name for one in of_persons if one.p_value is not None}
    of_faces = _judge_faces(scores, faces, oddities, calibration)
    # The selection is among people: whoever is judged by several photos counts once, with these, and others count with
    # one photo. Several as if they were different people's would pretend to more evidence than there is.
    is_with_others = np.array([name in judged for name in people], bool)
    has_p = np.array([one.p_value is not None for one in of_faces], bool)
    is_unit = ~is_with_others & ~has_p
    is_unit[figures.one_photo_each(scores, ~is_with_others & has_p & ~is_copy)] = True
    for row in np.flatnonzero(~is_unit & has_p):
        why = _COPY if is_copy[row] else _WITH_OTHERS if is_with_others[row] else _AFTER_FIRST
        of_faces[row] = dataclasses.replace(of_faces[row], abstained=of_faces[row].abstained or why)
    units = [one for one, counts in zip(of_faces, is_unit, strict=True) if counts]
    num_photos = [1] * len(units) + [one.face for one in of_persons if one.name in judged]
    units += [one for one in of_persons if one.name in judged]
    if calibration is None or all(one.p_value is None for one in units):
        return of_faces, of_persons
    marked = dict(zip(map(id, units), _select(units, np.array(num_photos), calibration), strict=True))
    return [marked.get(id(one), one) for one in of_faces], [marked.get(id(one), one) for one in of_persons]


def _are_copies(people: np.ndarray, faces: Sequence[ScoredFace], is_alone: np.ndarray) -> np.ndarray:
    """Returns which of n faces are on copies of an earlier photo of the same person, (n,), bool."""
    is_copy = np.zeros(len(faces), bool)
    known = np.flatnonzero(is_alone & np.array([bool(face.rough) for face in faces], bool))
    for rows in splits.rows_by_person(people[known]) if len(known) else ():
        pixels = b"".join(base64.b64decode(faces[row].rough) for row in known[rows])
        side = registration.ROUGH
        is_copy[known[rows]] = ~registration.distinct(np.frombuffer(pixels, np.uint8).reshape(-1, side, side))
    return is_copy


def _select(units: Sequence[Judgement], num_photos: np.ndarray, calibration: FieldCalibration) -> list[Judgement]:
    """Says of n people, judged by so many photos, (n,), who stands out, and how many mistakes are made by eye."""
    p = np.array([np.nan if one.p_value is None else one.p_value for one in units])
    # Those compared with the same numbers are bounded together; whatever holds of each of a few groups holds of all.
    groups = np.unique(num_photos[~np.isnan(p)]).tolist()
    mistakes = np.zeros(len(p), int)
    for num in groups:
        reference = calibration.photos if num == 1 else calibration.persons[num]
        sizes = [len(values) for values in reference.calibration.logits.values()]
        alike = p[(num_photos == num) & ~np.isnan(p)]
        mistakes += conformal.most_mistakes(alike, sizes, p, conformal.ALPHA / len(groups))
    return [
        dataclasses.replace(one, is_selected=selected, mistakes=None if one.p_value is None else most)
        for one, selected, most in zip(units, conformal.select(p).tolist(), mistakes.tolist(), strict=True)
    ]


def _judge_faces(
    scores: Scores, faces: Sequence[ScoredFace], oddities: list[str], calibration: FieldCalibration | None
) -> list[Judgement]:
    logits = np.asarray(scores.logit, np.float64)
    above: list[float | None] = [None] * len(faces)
    p, reasons = np.full(len(faces), np.nan), [_UNCALIBRATED] * len(faces)
    if calibration is not None:
        # Whoever is unlike all of them outranks nobody.
        shares = calibration.photos.share_above(logits).tolist()
        above = [None if oddity else share for share, oddity in zip(shares, oddities, strict=True)]
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
