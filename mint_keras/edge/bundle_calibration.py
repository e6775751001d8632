"""Measures what a bundle says about people who are no members, with the TFLite file that is carried."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, progress
from mint_keras.aad import observe
from mint_keras.audited import cards, zoo
from mint_keras.data import protocol as protocols
from mint_keras.data import synthetic
from mint_keras.edge import bundle
from mint_keras.edge.bundle import FieldCalibration, Reference
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
_NOBODY = (
    "No p-values: Expected people of another database who are no members and like the calibration's, received none, so "
    "nobody knows whether p-values would hold."
)
_DOMAIN = {
    True: "faces whose brightness, sharpness, noise and the like are unlike the calibration's get no p-value.",
    False: "not checked: there are too few calibration people.",
}
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
    """Writes `calibration.json` into a bundle's folder: what its TFLite file says of externals whom the head never saw.

    The protocol is that of the bundle's run, `audited` the folder of the audited model.

    Returns:
        The manifest's entries: calibration, limits, licence, audited_model.

    Raises:
        InputError: if there are no test externals that can be read.
    """
    scorer = TfliteScorer(folder / bundle.SCORER)
    externals = _observe(scorer, protocol, protocols.TEST_EXTERNALS)
    held_out = _observe(scorer, protocol, protocols.HELD_OUT)
    if externals is None:
        raise InputError("Expected test externals in the run to calibrate with, received none that can be read.")
    found = calibrate(externals, held_out, protocol.table.take(protocol.training_rows()[0]).people())
    model, reference = describe_audited(audited), found.photos
    counts = [f"{len(values):,} people of {name}" for name, values in reference.calibration.logits.items()]
    people = f"{', '.join(counts)} who are no members"
    given = "no p-values" if reference.silence else "p-values for faces like those"
    limits = (
        f"Limits: this bundle speaks of one model only, {model['title']}; compared with {people}; {given}; a score, "
        "however high, is no proof that a photo was used."
    )
    found = dataclasses.replace(found, wording={**_WORDING, "limits": limits})
    formats.write_json(folder / bundle.CALIBRATION, found.to_dict())
    licence = model["licence"]
    if any((folder / name).is_file() for name in bundle.DETECTORS.values()):
        licence += " The face detector has terms of its own: insightface's SCRFD is for non-commercial research only."
    persons = ""
    if found.persons:
        most, open_for = max(found.persons), ", ".join(str(n) for n, one in found.persons.items() if not one.silence)
        given = f"p-values for {open_for} photos" if open_for else "no p-values"
        persons = f"the mean of up to {most} photos is compared with as many of calibration people; {given}."
    validity = reference.calibration.validity
    photos = reference.silence
    if validity is not None and not photos:
        photos = f"{validity.describe()} {conformal.MARGINAL}"
    summary = {"people": people, "photos": photos, "persons": persons, "domain": _DOMAIN[found.domain is not None]}
    return {"calibration": summary, "limits": limits, "licence": licence, "audited_model": model}


def _observe(scorer: TfliteScorer, protocol: protocols.Protocol, part: int) -> Observations | None:
    """Returns logit and looks of the faces of a part; None if there is none that can be read."""
    table = protocol.table.take(protocol.part == part)
    if not len(table):
        return None

    def look(faces: np.ndarray) -> dict[str, np.ndarray]:
        bar.update(len(faces))
        # The domain looks at eight numbers of the pixels, nothing that the scorer looks at: what makes a score high
        # must not decide whether it is judged.
        return {LOGIT: scorer.logits(faces), LOOKS: quality.features(faces)}

    with progress.bar(total=len(table), desc=protocols.PARTS[part], unit="face") as bar:
        try:
            return observe.observe(table, look, batch_size=_BATCH, is_filled=False)
        except InputError:
            return None


def calibrate(externals: Observations, held_out: Observations | None, trained: np.ndarray) -> FieldCalibration:
    """Returns a calibration without its wording; it gives p-values only if they held for other people.

    Args:
        externals: Logit and looks of people whom neither the audited model nor the head saw.
        held_out: Scores of people of the members' database whom the audited model never saw; None without them.
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
    # So many photos are judged together as enough calibration people of every database have.
    _, first, counts = np.unique(known.samples.people(), return_index=True, return_counts=True)
    database = known.samples.database[first]
    of_databases = [np.sort(counts[database == name])[::-1] for name in np.unique(database)]
    most = min(int(nums[_MIN_PEOPLE - 1]) if len(nums) >= _MIN_PEOPLE else 0 for nums in of_databases)
    persons = {num: _refer(known, tried, trained, num) for num in range(2, min(most, _MAX_PHOTOS) + 1)}
    return FieldCalibration(_refer(known, tried, trained, 1), persons, fitted, {})


def _refer(externals: Scores, held_out: Scores | None, trained: np.ndarray, num: int) -> Reference:
    """Calibrates on `num` photos of each person, and asks other people whether p-values hold."""

    def of_people(part: Scores) -> Scores:
        return part if num == 1 else person.aggregate(part, num)

    def of_databases(part: Scores) -> list[tuple[Scores, Scores]]:
        """Returns what is in each database, behind what is not."""
        is_in = [part.samples.database == name for name in np.unique(part.samples.database)]
        return [(paired.take(part, ~rows), paired.take(part, rows)) for rows in is_in]

    calibration = conformal.calibrate(of_people(externals), trained)
    if held_out is not None:
        # People of the members' own database: only membership tells them from members.
        trials = [(externals, one) for _, one in of_databases(held_out)]
    else:
        # Without them each external database is held out in turn, if there are several.
        trials = [(others, one) for others, one in of_databases(externals) if len(others.logit)]
    if not trials:
        return Reference(calibration, _NOBODY)
    try:
        found = [
            conformal.verify(conformal.calibrate(of_people(known), trained), of_people(one), trained).validity
            for known, one in trials
        ]
    except InputError as error:
        return Reference(calibration, f"No p-values: {error}")
    # The worst counts.
    validity = max((one for one in found if one is not None), key=lambda one: one.high)
    calibration = dataclasses.replace(calibration, validity=validity)
    return Reference(calibration, "" if validity.is_valid else validity.describe())


def describe_audited(folder: Path) -> dict[str, str]:
    """Returns title and licence of an audited model, from its card or as a model of the lab's."""
    config = formats.read_manifest(folder, zoo.KIND)["config"]
    # A card of somebody's own stayed where the model was converted.
    with contextlib.suppress(InputError):
        if name := config.get("card"):
            card = cards.load_card(str(name))
            return {"title": card.title, "licence": f"Audited model: {card.about['licence']}."}
    title = folder.name
    licence = "Audited model: its terms are not known here; ask whoever gave it to you before you pass the bundle on."
    if synthetic.is_synthetic(str(config.get("data"))):
        title = f"{title}, a lab model trained on drawn faces of nobody ({config['data']})"
        licence = "Audited model and faces are the lab's, under this project's Apache-2.0."
    return {"title": title, "licence": licence}
