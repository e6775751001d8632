"""Measures what a bundle says about people who are no members, with the TFLite file that is carried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, progress
from mint_keras.audited import cards, zoo
from mint_keras.data import images, synthetic
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle
from mint_keras.edge.calibration import FieldCalibration, Reference
from mint_keras.edge.scorer import TfliteScorer
from mint_keras.faces import quality
from mint_keras.records import InputError, Observations, Scores
from mint_keras.statistics import conformal, domain, paired, person

# The names of what is observed of every face.
LOGIT, LOOKS = "logit", "looks"
_BATCH = 32
# So many photos of a person are judged together at most.
_MAX_PHOTOS = 20
# With fewer people no p-value is as small as alpha.
_MIN_PEOPLE = round(1 / conformal.ALPHA) - 1
# The share of people like the calibration's that a domain may turn away. With few people it is the domain that gives
# way, not the calibration: with 38 it may turn away 5%, with fewer there is none.
_MAX_ABSTENTION = 0.05
_WORDING = {
    "selected": (
        "They score higher than people who are no members would: of what is selected so, at most "
        f"{conformal.FDR:.0%} are mistakes on average, if the photos are like those that this was checked on. That is "
        "a reason to ask further, and no proof."
    ),
    "none": "That is no evidence that the photos were not used.",
    "silent": "Scores rank the photos; they do not say whether any of them was used.",
}


def write(folder: Path, protocol: protocols.Protocol, audited: Path) -> dict[str, Any]:
    """Writes `calibration.json`: the scores of externals whom the head never saw, given by the bundle itself.

    Args:
        folder: The bundle's folder, with its TFLite file.
        protocol: The samples of the run that the bundle is made from.
        audited: The folder of the audited model.

    Returns:
        The manifest's entries: calibration, limits, licence, audited_model.

    Raises:
        InputError: if there are no test externals that can be read.
    """
    trained = protocol.table.take(protocol.training_rows()[0]).people()
    scorer = TfliteScorer(folder / bundle.SCORER)
    externals = _observe(scorer, protocol, protocols.TEST_EXTERNALS)
    held_out = _observe(scorer, protocol, protocols.HELD_OUT)
    if externals is None:
        raise InputError("Expected test externals in the run to calibrate with, received none that can be read.")
    found = calibrate(externals, held_out, trained)
    model = describe_audited(audited)
    counts = {name: len(values) for name, values in found.photos.calibration.logits.items()}
    people = ", ".join(f"{count:,} people of {name}" for name, count in counts.items()) + " who are no members"
    given = "no p-values" if found.photos.silence else "p-values for faces like those"
    limits = (
        f"Limits: this bundle speaks of one model only, {model['title']}; compared with {people}; {given}; a score, "
        "however high, is no proof that a photo was used."
    )
    found = dataclasses.replace(found, wording={**_WORDING, "limits": limits})
    formats.write_json(folder / bundle.CALIBRATION, found.to_dict())
    licence = model["licence"]
    if any((folder / name).is_file() for name in bundle.DETECTORS.values()):
        licence += " The face detector has terms of its own: insightface's SCRFD is for non-commercial research only."
    summary = {"people": people, **_summary(found)}
    return {"calibration": summary, "limits": limits, "licence": licence, "audited_model": model}


def _observe(scorer: TfliteScorer, protocol: protocols.Protocol, part: int) -> Observations | None:
    """Returns logit and looks of the faces of a part; None if there is none that can be read."""
    table = protocol.table.take(protocol.part == part)
    if not len(table):
        return None
    rows, logits, looks = [], [], []
    with progress.bar(total=len(table), desc=protocols.PARTS[part], unit="face") as bar:
        for used, faces in images.FaceReader().batches(table, _BATCH):
            rows.append(used)
            logits.append(scorer.logits(faces))
            # The domain looks at eight numbers of the pixels, nothing that the scorer looks at: what makes a score high
            # must not decide whether it is judged.
            looks.append(quality.features(faces))
            bar.update(len(used))
    if not rows:
        return None
    return Observations(table.take(np.concatenate(rows)), {LOGIT: np.concatenate(logits), LOOKS: np.concatenate(looks)})


def calibrate(externals: Observations, held_out: Observations | None, trained: np.ndarray) -> FieldCalibration:
    """Returns a calibration without its wording.

    p-values are given only if they held for other people who are no members.

    Args:
        externals: Logit and looks of people whom neither the audited model nor the head saw.
        held_out: The same of people of the members' database whom the audited model never saw; None without them.
        trained: The people who trained the head, shape (n,), str.
    """
    people = externals.people()
    # The smallest share that can be promised with so many people, where they are too few for the usual one.
    least = 1 / (1 + len(np.unique(people)) // 2)
    fitted = None
    if least <= _MAX_ABSTENTION:
        fitted = domain.fit(externals[LOOKS], people, max(domain.MAX_ABSTENTION, least))

    def inside(part: Observations) -> Scores:
        # Only faces of the domain will get a p-value, so only these are calibrated on and tried.
        taken = part if fitted is None else part.take(fitted.contains(part[LOOKS]))
        return Scores("", "", "", 0, taken.table, np.zeros(len(taken), bool), taken[LOGIT])

    known, tried = inside(externals), None if held_out is None else inside(held_out)
    persons = {num: _refer(known, tried, trained, num) for num in _judged_together(known)}
    return FieldCalibration(_refer(known, tried, trained, 1), persons, fitted, {})


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
        validity = _validity(externals, held_out, trained, of_people)
    except InputError as error:
        return Reference(calibration, f"No p-values: {error}")
    calibration = dataclasses.replace(calibration, validity=validity)
    return Reference(calibration, "" if validity.is_valid else validity.describe())


def _validity(
    externals: Scores, held_out: Scores | None, trained: np.ndarray, of_people: Callable[[Scores], Scores]
) -> conformal.Validity:
    """Returns the worst validity over databases of people who are no members.

    Raises:
        InputError: if there is nobody to try.
    """

    def of_database(part: Scores, name: str, is_it: bool = True) -> Scores:
        return paired.take(part, (part.samples.database == name) == is_it)

    if held_out is not None:
        # People of the members' own database: only membership tells them from members.
        trials = [(externals, of_database(held_out, name)) for name in np.unique(held_out.samples.database)]
    else:
        # Without them each external database is held out in turn.
        names = np.unique(externals.samples.database)
        trials = [(of_database(externals, name, False), of_database(externals, name)) for name in names]
        trials = trials if len(names) > 1 else []
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


def _summary(found: FieldCalibration) -> dict[str, str]:
    """Returns what the card of a bundle says about its calibration."""
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
        "photos": validity.describe() if validity else found.photos.silence,
        "persons": persons,
        "domain": distance if found.domain is not None else "not checked: there are too few calibration people.",
    }


def describe_audited(folder: Path) -> dict[str, str]:
    """Returns title and licence of an audited model, from its card or as a model of the lab's."""
    config = formats.read_manifest(folder, zoo.KIND)["config"]
    if name := config.get("card"):
        try:
            card = cards.load_card(str(name))
            return {"title": card.title, "licence": f"Audited model: {card.about['licence']}."}
        except InputError:
            # A card of somebody's own stayed where the model was converted.
            pass
    if synthetic.is_synthetic(str(config.get("data"))):
        title = f"{folder.name}, a lab model trained on drawn faces of nobody ({config['data']})"
        return {"title": title, "licence": "Audited model and faces are the lab's, under this project's Apache-2.0."}
    licence = "Audited model: its terms are not known here; ask whoever gave it to you before you pass the bundle on."
    return {"title": folder.name, "licence": licence}
