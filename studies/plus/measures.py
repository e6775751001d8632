"""What is asked of MINT+ about photos of which everything is known, and the scores that answer it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mint_keras import vectors
from mint_keras.audited import taps
from mint_keras.data import splits
from mint_keras.records import Scores
from mint_keras.scorers import mint_plus
from mint_keras.scorers.baselines import EMBEDDING_NORM
from mint_keras.scorers.ingredients import IDENTITY, IMAGE
from mint_keras.scorers.mint_plus import MintPlus
from mint_keras.statistics import figures, paired, person
from mint_keras.statistics.selection import Candidate
from studies.plus.known import KnownPhotos
from studies.plus.mixtures import mixture_curve

# A truth for control: half of those who were kept out are claimed to be members, and there is nothing to find.
NOBODY = "nobody"
# How scores of single photos name everybody's: used ones are the members.
ALL_PHOTOS = "all_photos"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of the results.

    Attributes:
        truth: `IDENTITY`, `IMAGE` or `NOBODY`.
        level: A key of `mint_plus.LEVELS`.
        meaning: What the table says of it.
    """

    truth: str
    level: str
    meaning: str

    @property
    def name(self) -> str:
        """How its scores are named."""
        return f"{self.truth}_{self.level}"

    @property
    def name_of_norm(self) -> str:
        """How the scores of the embedding's length on the same photos are named."""
        return f"{self.name}_{EMBEDDING_NORM}"

    @property
    def recipe(self) -> MintPlus:
        """What is fitted."""
        return MintPlus(IMAGE if self.truth == IMAGE else IDENTITY, self.level)


MEASURES = (
    Measure(IDENTITY, mint_plus.PHOTO, "was this person used: one photo"),
    Measure(IDENTITY, mint_plus.WITH_OTHERS, "one photo, beside the person's others"),
    Measure(IDENTITY, mint_plus.OF_PERSON, "the person, by all photos"),
    Measure(IMAGE, mint_plus.PHOTO, "was this photo used, of a person who was: one photo"),
    Measure(IMAGE, mint_plus.WITH_OTHERS, "one photo, beside the person's others"),
    Measure(NOBODY, mint_plus.PHOTO, "nobody was used: one photo"),
    Measure(NOBODY, mint_plus.OF_PERSON, "nobody was used: the person"),
)


def halves(measure: Measure, photos: KnownPhotos, seed: int) -> tuple[tuple[KnownPhotos, np.ndarray], ...]:
    """Returns the photos of a measure, and which of them are members: the calibration, and the evaluation.

    Args:
        measure: What is asked.
        photos: All photos of a world.
        seed: Seeds the division of people.
    """
    if measure.truth == IMAGE:
        chosen = photos.where(photos.is_member)
        is_member = chosen.is_used
    elif measure.truth == IDENTITY:
        chosen = photos.where(photos.is_used | ~photos.is_member)
        is_member = chosen.is_member
    else:
        chosen = photos.where(~photos.is_member)
        is_member = splits.split_people(chosen.people, 0.5, np.random.default_rng(seed))
    first = mint_plus.split_calibration(chosen.people, is_member, seed)
    return tuple((chosen.where(half), is_member[half]) for half in (first, ~first))


def score(photos: KnownPhotos, number: int, seed: int) -> list[Scores]:
    """Scores the people of a world whom nothing was fitted on: by every measure, and by the embedding's length.

    Args:
        photos: All photos of the world.
        number: The number of the world, which its scores name as their seed.
        seed: Seeds the fits and, with the number, the division of people.

    Returns:
        Scores whose evaluations are the names of measures, and `ALL_PHOTOS`: of members' used and unseen photos, and of
        other people's.
    """
    found = []
    for measure in MEASURES:
        # People are divided anew in each world; the folds of the fit have one seed in all of them.
        (calibration, known), (shown, is_member) = halves(measure, photos, seed + number)
        logit = measure.recipe.fit(calibration.seen, known, seed)(shown.seen)
        norm = vectors.log_norms(shown.seen[taps.OUTCOME]).astype(np.float32)
        table = shown.seen.table
        found += [
            # Without the only photos of their people, at levels that look at the others.
            Candidate(mint_plus.NAME, measure.level).scored(table, logit, is_member, measure.name, number),
            Scores(EMBEDDING_NORM, taps.OUTCOME, measure.name_of_norm, number, table, is_member, norm),
        ]
    measure = MEASURES[0]
    (calibration, known), (evaluation, _) = halves(measure, photos, seed + number)
    shown = photos.where(np.isin(photos.people, evaluation.people))
    logit = measure.recipe.fit(calibration.seen, known, seed)(shown.seen)
    table = shown.seen.table
    return [*found, Scores(mint_plus.NAME, measure.level, ALL_PHOTOS, number, table, shown.is_used, logit)]


def several_photos(worlds: Sequence[Scores], seed: int) -> dict[str, list[list[float]]]:
    """Returns what the mean of several photos' scores says: AUC over people by number of photos, in each world.

    Args:
        worlds: The scores of `ALL_PHOTOS` of each world.
        seed: Seeds the choice of photos.

    Returns:
        "used": the AUC for 1, 2, ... photos, a member's all used. "some_used": the AUC for as many photos as there are
        of everybody, where 0, 1, ... of a member's were used, and the others are unseen photos of the same person.
    """
    found: dict[str, list[list[float]]] = {"used": [], "some_used": []}
    for part in worlds:
        is_used = figures.membership(part)
        people = part.samples.people()
        of_members = np.isin(people, people[is_used])
        # As many photos as the person with the fewest has, so that all count alike.
        num = int(np.unique(people[is_used | ~of_members], return_counts=True)[1].min())
        used = person.power_curve([paired.take(part, is_used | ~of_members)], num, seed=seed)
        some = mixture_curve([part], num, seed)
        for name, curve in (("used", used), ("some_used", some)):
            found[name].append([point.auc.value for point in curve])
    return found
