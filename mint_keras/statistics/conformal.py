"""What may be said of a single photo: p-values from external people, with a bound on false accusations.

NumPy only: the offline scorer can call this. Method: conformal p-values (Vovk et al., 2005; for outliers Bates et al.,
Annals of Statistics 51, 2023) and Benjamini and Hochberg's selection (1995). A p-value needs calibration people who are
like those on the photos in all but membership. Nobody can know that (arXiv 2409.19798), so it is measured on another
database, and without a measurement that went well there are no p-values.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from mint_keras.borders import reading
from mint_keras.data.people import by_key, known_units
from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.statistics import figures

ALPHA = 0.05
FDR = 0.1
# Beside every p-value of a single photo.
MARGINAL = (
    "A p-value of a single photo is marginal over people: it holds on average over people like those compared with, "
    "and not for each of them."
)
PICKED = (
    "Mistakes: however a threshold is picked after looking, of everybody with a p-value as small at most so many are "
    f"no members, with {1 - ALPHA:.0%} for all thresholds at once."
)
_UNVERIFIED = "p-values are not given before their validity is measured on a held-out database (`conformal.verify`)."
_NUM_URNS = 999
_MOST_PEOPLE, _ROUNDING = 10**7, 1e-4
TOLERANCE = 2.0  # times ALPHA: what the held-out rate must be certified to stay under


@dataclasses.dataclass(frozen=True)
class Validity:
    """How often people of a held-out database, all external, got a smallest p-value of at most alpha.

    The exact 95% interval of the rate is from low to high, and high must not exceed the limit.
    """

    database: str
    alpha: float
    num_people: int
    num_accused: int
    low: float
    high: float
    limit: float

    @property
    def is_valid(self) -> bool:
        """Whether the rate is certified to stay under the limit."""
        return self.high <= self.limit

    def describe(self) -> str:
        """Returns the measurement as a sentence."""
        rate = self.num_accused / self.num_people
        found = (
            f"{self.num_accused} of {self.num_people} people of {self.database}, who are no members, had a p-value "
            f"of at most {self.alpha:g}: {rate:.3f} (exact 95% interval {self.low:.3f} to {self.high:.3f})"
        )
        if self.is_valid:
            return f"{found}. That stays under {self.limit:g}: p-values can be used."
        return f"{found}. That may exceed {self.limit:g}: p-values are not given."


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Logits of external people, one each.

    Attributes:
        logits: For each database the largest logit of each person, ascending.
        people: The names of these people, `database/person`, sorted; empty if read back.
        validity: What `verify` measured; None before.
    """

    logits: Mapping[str, np.ndarray]
    people: np.ndarray
    validity: Validity | None = None

    @property
    def floor(self) -> float:
        """The smallest p-value that there can be: 1 / (n + 1) of the smallest database."""
        return 1 / (1 + min(len(values) for values in self.logits.values()))

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads, of types that JSON has.

        Raises:
            RefusedError: if validity was not measured.
        """
        if self.validity is None:
            raise RefusedError(_UNVERIFIED)
        # Names of people stay at home: what is read back can be used, and not verified again.
        logits = {name: values.tolist() for name, values in self.logits.items()}
        return {"logits": logits, "validity": dataclasses.asdict(self.validity)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` returned; `people` is empty then. Without a validity it only ranks.

        Raises:
            InputError: if something is missing, unknown, or not in order.
        """
        with reading("a calibration with logits and validity"):
            logits = {name: np.array(values, np.float64) for name, values in content["logits"].items()}
            validity = None if content["validity"] is None else Validity(**content["validity"])
            if validity is not None and not _follows(validity):
                raise InputError(f"Expected limits that follow from the counts, received {content['validity']}.")
        if not logits or not all(len(v) and np.isfinite(v).all() and (np.diff(v) >= 0).all() for v in logits.values()):
            raise InputError("Expected ascending finite logits of every calibration database, received others.")
        return cls(logits, np.array([], np.str_), validity)


def _follows(found: Validity) -> bool:
    """Says whether limits are at least as wide as the exact ones of their counts, without SciPy."""
    num, of = found.num_accused, found.num_people
    if not (isinstance(num, int) and isinstance(of, int) and 0 <= num <= of and 0 < of <= _MOST_PEOPLE):
        return False
    hits = np.arange(of + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((of - hits[:-1]) / hits[1:]))])

    def is_beyond(rate: float, some: slice) -> bool:
        if not 0 < rate < 1:
            return False
        share = np.exp(ways + hits * math.log(rate) + (of - hits) * math.log1p(-rate))[some].sum()
        return bool(share <= (ALPHA / 2) * (1 + _ROUNDING))

    is_low = found.low == 0 or is_beyond(found.low, slice(num, None))
    is_high = found.high == 1 or is_beyond(found.high, slice(num + 1))
    return is_low and is_high and 0 < found.alpha <= ALPHA and found.limit <= TOLERANCE * found.alpha


def calibrate(externals: Scores, head_people: np.ndarray) -> Calibration:
    """Collects what external people score.

    A person counts once, with the largest logit of all photos, and so do all together of whom a database does not
    know who they are. A new external person's photo then exceeds it no more often than a photo among n + 1 people
    should, and neither does the largest of as many photos of that person as the calibration people have.

    Args:
        externals: Scores of people of one or several databases, none of them a member.
        head_people: `SampleTable.people()` of whatever trained, tuned or chose the head, in any order.

    Raises:
        InputError: if somebody is a member or trained the head, or there are no scores.
    """
    if externals.is_member is not None and externals.is_member.any():
        num = np.count_nonzero(externals.is_member)
        raise InputError(f"Expected externals only to calibrate with, received {num} members. Leave them out.")
    people, logit = figures.people_of(externals), np.asarray(externals.logit, np.float64)
    if not len(people) or not np.isfinite(logit).all():
        raise InputError(f"Expected finite scores of external people, received {len(people)} samples.")
    _check_disjoint(people, known_units(head_people), "that trained the head")
    names, first = np.unique(people, return_index=True)
    # Taking all photos as they come would pretend to have more people than there are. This costs power, and prefers
    # silence to a wrong accusation.
    largest = figures.largest_by_person(logit, people)
    database = externals.samples.database[first]
    return Calibration({str(name): np.sort(largest[database == name]) for name in np.unique(database)}, names)


def verify(calibration: Calibration, held_out: Scores, head_people: np.ndarray, alpha: float = ALPHA) -> Calibration:
    """Measures on another database's external people how often a p-value is at most alpha, person by person.

    Returns the calibration with its validity. The smallest p-value of a person's photos counts. p-values are enabled if
    the exact 95% interval of the rate ends at or below twice alpha. Needs SciPy.

    Raises:
        InputError: if the database or the people are not new, there are several databases, no p-value can be as small
            as alpha, or alpha is above `ALPHA`, up to which a rate is certified.
    """
    from mint_keras.statistics import bounds  # the laptop scorer has no SciPy

    if not 0 < alpha <= ALPHA:
        raise InputError(f"Expected an alpha above 0 and of at most {ALPHA:g}, received {alpha:g}.")
    if not len(calibration.people):
        raise InputError("Expected a calibration that knows its people, received one that was read back.")
    databases = np.unique(held_out.samples.database)
    if len(databases) != 1 or str(databases[0]) in calibration.logits:
        raise InputError(
            f"Expected one database other than the calibration's {sorted(calibration.logits)} to verify with, received "
            f"{databases.tolist()}."
        )
    if calibration.floor > alpha:
        raise InputError(f"Too few people for a p-value of {alpha:g}: with them none is below {calibration.floor:.2g}.")
    _check_disjoint(figures.people_of(held_out), calibration.people, "of the calibration")
    tried = calibrate(held_out, head_people).logits[str(databases[0])]
    num_accused = int(np.count_nonzero(_p_values(calibration, tried) <= alpha))
    rate = bounds.exact_interval(num_accused, len(tried))
    # The burden is on the p-values: a rate that a few people did not refute is not yet shown to hold.
    limit = min(1.0, TOLERANCE * alpha)
    validity = Validity(str(databases[0]), alpha, len(tried), num_accused, rate.low, rate.high, limit)
    return dataclasses.replace(calibration, validity=validity)


def p_values(calibration: Calibration, logits: np.ndarray, is_inside: np.ndarray | None = None) -> np.ndarray:
    """Returns p-values of photos under the hypothesis that they are of external people.

    It is the largest over calibration databases of (1 + people whose logit is at least the photo's) / (1 + people).

    Args:
        calibration: Logits of external people that `verify` has seen.
        logits: Logits of the photos, shape (n,).
        is_inside: Which photos are in the calibration's domain (`Domain.contains`), shape (n,); the p-value of the
            others is NaN. None if nobody asked.

    Raises:
        RefusedError: if validity was not measured, or was found wanting.
        InputError: if a logit is not finite.
    """
    if calibration.validity is None:
        raise RefusedError(_UNVERIFIED)
    if not calibration.validity.is_valid:
        raise RefusedError(calibration.validity.describe())
    logits = np.asarray(logits, np.float64)
    if not np.isfinite(logits).all():
        raise InputError(f"Expected finite logits, received {np.count_nonzero(~np.isfinite(logits))} that are not.")
    found = _p_values(calibration, logits)
    return found if is_inside is None else np.where(is_inside, found, np.nan)


def _p_values(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    # A photo must stand out in every database, because nobody knows which is most like it.
    of = calibration.logits.values()
    return np.max([(1 + len(v) - np.searchsorted(v, logits, "left")) / (1 + len(v)) for v in of], axis=0)


def select(p: np.ndarray, fdr: float = FDR) -> np.ndarray:
    """Selects photos so that the expected share of externals among the selected is at most `fdr`.

    Benjamini and Hochberg's rule: the k smallest p-values, for the largest k with p_(k) <= fdr * k / n. It holds for
    independent photos of different people, also where they share a calibration (Bates et al., 2023). For several
    photos of one person it holds if nobody in the folder is a member and nobody has more photos there than the
    calibration people: judge persons then (`mint_keras.statistics.person`). NaN (outside of the domain) is never
    selected, but counts among the n.
    """
    _check_rate(fdr)
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")  # NaN goes last
    is_small = p[order] <= fdr * np.arange(1, len(p) + 1) / max(len(p), 1)
    selected = np.zeros(len(p), bool)
    if is_small.any():
        selected[order[: np.flatnonzero(is_small).max() + 1]] = True
    return selected


def most_mistakes(
    p: np.ndarray, num_people: Iterable[int], at: np.ndarray, alpha: float = ALPHA, seed: int = 1
) -> np.ndarray:
    """Bounds how many of those with a p-value up to a threshold are no members, for thresholds picked after looking.

    With probability 1 - alpha the bounds of all thresholds hold at once. Whoever is no member could change places with
    the calibration people, which fixes for all k together how many of n photos come before the k-th of these: a Polya
    urn (Gazin, Blanchard and Roquain, AISTATS 2024). Drawn urns say how far that strays from its mean.

    Args:
        p: p-values of one photo each of n people (`figures.one_photo_each`), shape (n,).
        num_people: The number of calibration people of each database.
        at: The thresholds, shape (k,).
        alpha: The probability that some bound is too small.
        seed: Seeds the urns.

    Returns:
        The bounds, shape (k,), int.
    """
    _check_rate(alpha)
    known, num = np.sort(p), len(p)

    def spread(expected: np.ndarray) -> np.ndarray:
        return np.sqrt(1 + expected)

    allowed = np.zeros(num)
    for size in num_people:
        rng, mean = np.random.default_rng(seed), num * np.arange(1, size + 2) / (size + 1)
        strays = [np.inf]  # the photos at hand, as one more urn: so the bound is exact for any number of them
        for _ in range(_NUM_URNS):
            gaps = rng.standard_exponential(size + 1)
            strays.append(((np.cumsum(rng.multinomial(num, gaps / gaps.sum())) - mean) / spread(mean)).max())
        worst = np.sort(strays)[math.ceil((1 - alpha) * len(strays)) - 1]
        # The largest over databases, because nobody knows whose people those who are no members are like.
        allowed = np.maximum(allowed, np.floor(num * known + worst * spread(num * known) + 1e-9))
    so_far = np.searchsorted(known, known, "right")
    # What exceeds a bound at a smaller threshold is no mistake at a larger one either.
    members = np.append(0, np.maximum.accumulate(np.maximum(so_far - allowed, 0)))
    reached = np.searchsorted(known, at, "right")
    return (reached - members[reached]).astype(int)


def smallest_selection(floor: float, num_photos: int, fdr: float = FDR) -> int | None:
    """Returns how many photos of a folder must be at the floor before `select` takes any; None if all would not do."""
    _check_rate(fdr)
    # The k smallest p-values must lie at or below fdr * k / n, and none of them is below the floor.
    num = max(1, math.ceil(num_photos * floor / fdr - 1e-9))
    return num if num <= num_photos else None


def describe_floor(calibration: Calibration, num_photos: int, fdr: float = FDR) -> str:
    """Returns what the number of calibration people allows, as sentences."""
    smallest = min(calibration.logits, key=lambda name: len(calibration.logits[name]))
    num = smallest_selection(calibration.floor, num_photos, fdr)
    people = f"{len(calibration.logits[smallest]):,} calibration people of {smallest}"
    start = f"No p-value is below {calibration.floor:.2g}: there are {people}."
    if num is None:
        return f"{start} At a false discovery rate of {fdr:g} no photo of a folder of {num_photos:,} can be selected."
    return (
        f"{start} At a false discovery rate of {fdr:g} a selection from {num_photos:,} photos has {num:,} of them or "
        "more."
    )


def describe_risk(prevalence: float, min_tpr: float, max_fpr: float) -> str:
    """Returns what an accusation is worth where so many of the tested photos are members' (Bayes), as a sentence.

    The user must give this prevalence. The rates are bounds of the true- and of the false-positive rate.
    """
    for rate in (prevalence, min_tpr, max_fpr):
        _check_rate(rate)
    right, wrong = prevalence * min_tpr, (1 - prevalence) * max_fpr
    value = right / (right + wrong) if right + wrong else 0.0
    return (
        f"If {prevalence:.2%} of the photos are members', at least {value:.1%} of those called members are, and up to "
        f"{1 - value:.1%} of the accusations are wrong: at least {min_tpr:.1%} of the members are found, and at most "
        f"{max_fpr:.2%} of the externals are accused."
    )


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise InputError(f"Expected a rate in [0, 1], received {rate}.")


def _check_disjoint(people: np.ndarray, others: np.ndarray, whose: str) -> None:
    names = by_key(people)
    if num := len(names.keys() & by_key(others).keys()):
        raise InputError(f"Expected people other than those {whose}, received {num} of {len(names)} who are the same.")
