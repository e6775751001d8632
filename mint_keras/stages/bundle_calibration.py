"""What a bundle says of people who are no members, measured with the TFLite file that is carried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.audited import cards, zoo
from mint_keras.data import images, synthetic
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle
from mint_keras.edge.calibration import FieldCalibration, Reference
from mint_keras.edge.scorer import Scorer
from mint_keras.faces import quality
from mint_keras.records import InputError, Scores
from mint_keras.stages import mint_options, mint_run
from mint_keras.stages.progress import pace
from mint_keras.statistics import conformal, domain, paired, person
from mint_keras.statistics.domain import Domain

_BATCH = 32
_MAX_PHOTOS = 20  # of a person, that are judged together
_MIN_PEOPLE = round(1 / conformal.ALPHA) - 1  # with fewer no p-value is as small as alpha
_MAX_ABSTENTION = 0.05  # share of people like the calibration's that a domain may turn away


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Scores of the bundle's TFLite file, with what the faces look like, shape (n, d)."""

    scores: Scores
    features: np.ndarray

    def take(self, rows: np.ndarray) -> _Measured:
        return _Measured(paired.take(self.scores, rows), self.features[rows])


def write(folder: Path, options: mint_options.TrainMint) -> dict[str, Any]:
    """Writes `calibration.json`: externals whom the head never saw, scored by the bundle itself.

    p-values are given only if they held on other people who are no members: those of the members' database whom the
    audited model never saw, or, where a run has none, each external database in turn; the worst counts. Only faces that
    the domain takes are tried, as only they will get a p-value.

    Args:
        folder: of the bundle, with its TFLite file.
        options: of the run it is made from.

    Returns:
        What the manifest should say of it: calibration, limits, licence, audited_model.
    """
    protocol = mint_run.make_protocol(options)
    trained = protocol.table.take(protocol.training_rows()[0]).people()
    scorer = Scorer(folder / bundle.SCORER)
    externals = _measure(scorer, protocol, protocols.TEST_EXTERNALS, options)
    held_out = _measure(scorer, protocol, protocols.HELD_OUT, options)
    found = _calibrate(externals, held_out, trained)
    model = describe_audited(options.audited)
    limits = _limits(found, model["title"])
    found = dataclasses.replace(found, wording={**_WORDING, "limits": limits})
    formats.write_json(folder / bundle.CALIBRATION, found.to_dict())
    licence = model["licence"]
    if any((folder / name).is_file() for name in bundle.DETECTORS.values()):
        licence += " The face detector has terms of its own: insightface's SCRFD is for non-commercial research only."
    return {"calibration": _summary(found), "limits": limits, "licence": licence, "audited_model": model}


def _measure(
    scorer: Scorer, protocol: protocols.Protocol, part: int, options: mint_options.TrainMint
) -> _Measured | None:
    table = protocol.table.take(protocol.part == part)
    if not len(table):
        return None
    rows, logits, features = [], [], []
    bar = tqdm(total=len(table), desc=protocols.PARTS[part], unit="face", disable=options.quiet, **pace())
    with bar:
        for used, faces in images.FaceReader().batches(table, _BATCH):
            rows.append(used)
            logits.append(scorer.logits(faces))
            features.append(quality.features(faces))
            bar.update(len(used))
    if not rows:
        return None
    used_table = table.take(np.concatenate(rows))
    is_member = np.zeros(len(used_table), bool)
    scores = Scores(
        options.head, "", protocol.main_evaluation, options.seed, used_table, is_member, np.concatenate(logits)
    )
    return _Measured(scores, np.concatenate(features))


def _calibrate(externals: _Measured | None, held_out: _Measured | None, trained: np.ndarray) -> FieldCalibration:
    """Returns everything but the wording."""
    if externals is None:
        raise InputError("Expected test externals in the run to calibrate with, received none that can be read.")
    fitted = _fit_domain(externals)
    inside, tried = _inside(externals, fitted), None if held_out is None else _inside(held_out, fitted)
    persons = {num: _refer(inside, tried, trained, num) for num in _judged_together(inside)}
    return FieldCalibration(_refer(inside, tried, trained, 1), persons, fitted, {})


def _fit_domain(externals: _Measured) -> Domain | None:
    people = externals.scores.samples.people()
    # The smallest share that can be promised with so many people, where they are too few for the usual one.
    least = 1 / (1 + len(np.unique(people)) // 2)
    if least > _MAX_ABSTENTION:
        return None
    return domain.fit(externals.features, people, max(domain.MAX_ABSTENTION, least))


def _inside(part: _Measured, fitted: Domain | None) -> Scores:
    return part.scores if fitted is None else paired.take(part.scores, fitted.contains(part.features))


def _judged_together(externals: Scores) -> list[int]:
    """Returns the numbers of photos that enough calibration people of every database have."""
    _, first, counts = np.unique(externals.samples.people(), return_index=True, return_counts=True)
    database = externals.samples.database[first]
    of_databases = [np.sort(counts[database == name])[::-1] for name in np.unique(database)]
    if min(map(len, of_databases)) < _MIN_PEOPLE:
        return []
    fewest = min(int(of_database[_MIN_PEOPLE - 1]) for of_database in of_databases)
    return list(range(2, min(fewest, _MAX_PHOTOS) + 1))


def _refer(externals: Scores, held_out: Scores | None, trained: np.ndarray, num: int) -> Reference:
    """Calibrates on `num` photos of each person, and asks other people whether p-values hold."""

    def of_people(part: Scores) -> Scores:
        return part if num == 1 else person.aggregate(part, num)

    calibration = conformal.calibrate(of_people(externals), trained)
    try:
        calibration = dataclasses.replace(calibration, validity=_validity(externals, held_out, trained, of_people))
    except InputError as error:
        return Reference(calibration, f"No p-values: {error}")
    assert calibration.validity is not None  # noqa: S101 # just measured
    return Reference(calibration, "" if calibration.validity.is_valid else calibration.validity.describe())


def _validity(
    externals: Scores, held_out: Scores | None, trained: np.ndarray, of_people: Callable[[Scores], Scores]
) -> conformal.Validity:
    """Returns the worst validity over databases of people who are no members.

    Raises:
        InputError: if nobody is there to try.
    """
    if held_out is not None:
        trials = [(externals, one) for one in _by_database(held_out)]
    else:
        parts = _by_database(externals)
        trials = [(_but(externals, one), one) for one in parts] if len(parts) > 1 else []
    if not trials:
        raise InputError(
            "Expected people of another database who are no members and like the calibration's, received none, so "
            "nobody knows whether p-values would hold."
        )
    found = [
        conformal.verify(conformal.calibrate(of_people(known), trained), of_people(one), trained).validity
        for known, one in trials
    ]
    return max((validity for validity in found if validity is not None), key=lambda validity: validity.high)


def _by_database(part: Scores) -> list[Scores]:
    return [paired.take(part, part.samples.database == name) for name in np.unique(part.samples.database)]


def _but(part: Scores, one: Scores) -> Scores:
    return paired.take(part, part.samples.database != one.samples.database[0])


# --- words ----------------------------------------------------------------------------------------------------------


def describe_audited(folder: Path) -> dict[str, str]:
    """Returns title and licence of an audited model: of its card, or of the lab's; what is not known is said so."""
    config = formats.read_manifest(folder, zoo.KIND)["config"]
    if name := config.get("card"):
        try:
            card = cards.load_card(str(name))
            return {"title": card.title, "licence": f"Audited model: {card.about['licence']}."}
        except InputError:
            pass  # a card of somebody's own, which stayed where the model was converted
    if synthetic.is_synthetic(str(config.get("data"))):
        title = f"{folder.name}, a lab model trained on drawn faces of nobody ({config['data']})"
        return {"title": title, "licence": "Audited model and faces are the lab's, under this project's Apache-2.0."}
    licence = "Audited model: its terms are not known here; ask whoever gave it to you before you pass the bundle on."
    return {"title": folder.name, "licence": licence}


_WORDING = {
    "selected": (
        "They score higher than people who are no members would: of what is selected so, at most "
        f"{conformal.FDR:.0%} are mistakes on average, if the photos are like those that this was checked on. That is "
        "a reason to ask further, and no proof."
    ),
    "none": "That is no evidence that the photos were not used.",
    "silent": "Scores rank the photos; they do not say whether any of them was used.",
}


def _limits(found: FieldCalibration, title: str) -> str:
    given = "no p-values" if found.photos.silence else "p-values for faces like those"
    return (
        f"Limits: this bundle speaks of one model only, {title}; compared with {_people(found)}; {given}; a score, "
        "however high, is no proof that a photo was used."
    )


def _people(found: FieldCalibration) -> str:
    counts = {name: len(values) for name, values in found.photos.calibration.logits.items()}
    return ", ".join(f"{count:,} people of {name}" for name, count in counts.items()) + " who are no members"


def _summary(found: FieldCalibration) -> dict[str, str]:
    validity = found.photos.calibration.validity
    persons = ""
    if found.persons:
        open_for = [str(num) for num, reference in found.persons.items() if not reference.silence]
        given = f"p-values for {', '.join(open_for)} photos" if open_for else "no p-values"
        persons = (
            f"the mean of up to {max(found.persons)} photos is compared with as many of calibration people; {given}."
        )
    distance = "faces whose brightness, sharpness, noise and the like are unlike the calibration's get no p-value."
    return {
        "people": _people(found),
        "photos": validity.describe() if validity else found.photos.silence,
        "persons": persons,
        "domain": distance if found.domain is not None else "not checked: there are too few calibration people.",
    }
