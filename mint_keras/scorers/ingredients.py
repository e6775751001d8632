"""What MINT+ looks at: named columns of a photo, in named groups that an ablation takes or leaves."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from mint_keras import vectors
from mint_keras.aad import views
from mint_keras.data import splits
from mint_keras.records import REFERENCE, Observations
from mint_keras.scorers import log_odds
from mint_keras.scorers.baselines import OUTCOME

IDENTITY, IMAGE = "identity", "image"  # what a score speaks of, see `mint_plus`
BESIDE = "beside"  # of an image, beside its person's others and references
Columns = dict[str, np.ndarray]
_SCALE = 32.0  # of the softmax whose gradient `margin` takes: half of arcface_torch's
_RANKS = (1, 2, 3, 5, 10, 20, 40)
_SHARPNESS = (8.0, 16.0, 32.0)
_TINY = 1e-12
_ROUNDS = 4  # more change nothing
_VIEWS = (REFERENCE, *(f"{name}_{REFERENCE}" for name in views.ADDED))


@dataclasses.dataclass(frozen=True)
class Cohort:
    """People of known membership as the audited model sees them: unit centroids of their photos, (people, d).

    References are members and externals as each reference model sees them, by the feature's name.
    """

    members: np.ndarray
    externals: np.ndarray
    references: dict[str, tuple[np.ndarray, np.ndarray]]


def cohort_of(seen: Observations, is_member: np.ndarray) -> Cohort:
    """Returns the cohort that the people of some samples make."""

    def sides(name: str) -> tuple[np.ndarray, np.ndarray]:
        unit, person = vectors.unit_rows(seen[name]), seen.people()
        members, externals = (
            vectors.unit_rows(_sum_people(unit[side], person[side])[0]) for side in (is_member, ~is_member)
        )
        return members, externals

    return Cohort(*sides(OUTCOME), {name: sides(name) for name in log_odds.references(seen)})


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A group of columns, made from the features of n samples and a cohort of other people, (n,) each.

    It needs these features, those named after `REFERENCE` of every reference, and perhaps the person's other photos
    among the samples. By default it is used for some truths. It may use references where there are any, too.
    """

    columns: Callable[[Observations, Cohort], Columns]
    needs: tuple[str, ...]
    needs_others: bool = False
    default_for: tuple[str, ...] = (IDENTITY, IMAGE)
    uses: tuple[str, ...] = ()

    def is_available(self, seen: Observations) -> bool:
        """Says whether the features allow it."""
        known = log_odds.references(seen) or [""]
        return {need.replace(REFERENCE, name) for need in self.needs for name in known} <= set(seen.arrays)


def columns(seen: Observations, cohort: Cohort, ingredients: Sequence[str]) -> Columns:
    """Returns the columns of some ingredients, (n,) each, float64, named `ingredient/column`."""
    return {
        f"{name}/{column}": values
        for name in ingredients
        for column, values in INGREDIENTS[name].columns(seen, cohort).items()
    }


def _views(seen: Observations, _: Cohort) -> Columns:
    cosines, ratios = (np.asarray(seen[name], np.float64).T for name in (views.COSINES, views.NORM_RATIOS))
    turned = {
        f"{name}_log_distance": np.log(np.maximum(1 - x, 1e-6)) for name, x in zip(views.VIEWS, cosines, strict=True)
    }
    return turned | {f"{name}_norm_ratio": x for name, x in zip(views.VIEWS, ratios, strict=True)}


def _others_views(seen: Observations, _: Cohort) -> Columns:
    person = seen.people()
    directions = np.concatenate([vectors.unit_rows(seen[OUTCOME])[:, None], seen[views.OUTCOMES]], axis=1)
    whole = vectors.unit_rows(directions.sum(axis=1))  # steadier than the outcome of the photo itself
    cosines = np.einsum("nvd,nd->nv", directions, other_centroids(whole, person))
    sums, who = _sum_people(cosines, person)
    beside = cosines - (sums[who] - cosines) / (np.bincount(who)[who] - 1)[:, None]
    names = ("itself", *views.VIEWS)
    found = {f"whole_{column}": values for column, values in _closeness(whole, person).items()}
    found |= dict(zip(names, cosines.T, strict=True))
    return found | {f"{name}_beside_others": values for name, values in zip(names, beside.T, strict=True)}


def _margin(seen: Observations, cohort: Cohort) -> Columns:
    unit, own = vectors.unit_rows(seen[OUTCOME]), other_centroids(seen[OUTCOME], seen.people())
    logits = _SCALE * np.concatenate([(unit * own).sum(axis=1, keepdims=True), unit @ cohort.members.T], axis=1)
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    # Of the cross-entropy by the direction of the embedding: the expected class less the own one, its tangential part.
    gradient = probability[:, 1:] @ cohort.members - (1 - probability[:, :1]) * own
    gradient -= (gradient * unit).sum(axis=1, keepdims=True) * unit
    return {
        "log_gradient": np.log(np.maximum(np.linalg.norm(gradient, axis=1), _TINY)),
        "gap": (logits[:, 0] - logits[:, 1:].max(axis=1)) / _SCALE,
    }


def _log_odds(seen: Observations, cohort: Cohort) -> Columns:
    centroids = np.concatenate([cohort.members, cohort.externals])
    others = log_odds.People(np.full(len(centroids), ""), centroids)  # nobody of the cohort is scored
    return {"own": log_odds.log_odds(seen[OUTCOME], seen.people(), others)}


def grouped(seen: Observations, _: Cohort) -> Columns:
    """Returns how near a photo is to those of its person's photos that are near one another, beyond the references."""
    references = [vectors.unit_rows(seen[name]) for name in log_odds.references(seen)]
    unit, found = vectors.unit_rows(seen[OUTCOME]), np.empty(len(seen))
    for rows in splits.rows_by_person(seen.people()):
        near = unit[rows] @ unit[rows].T
        near -= sum(of[rows] @ of[rows].T for of in references) / max(len(references), 1)
        weights = 1 - np.eye(len(rows))
        for _round in range(_ROUNDS):
            found[rows] = (near * weights).sum(axis=1) / weights.sum(axis=1)
            centred = found[rows] - found[rows].mean()
            weights = expit(2 * centred / max(centred.std(), _TINY)) * (1 - np.eye(len(rows)))
    return {"nearness": found}


def _beside_references(*names: str) -> Callable[[Observations, Cohort], Columns]:
    """Returns what gives the columns of other ingredients, less their mean through the references."""

    def beside(seen: Observations, cohort: Cohort) -> Columns:
        shown = ((log_odds.through(seen, name), Cohort(*sides, {})) for name, sides in cohort.references.items())
        theirs = [columns(*of, names) for of in shown]
        audited = columns(seen, cohort, names)
        return {name: values - np.mean([of[name] for of in theirs], axis=0) for name, values in audited.items()}

    return beside


# Chosen on the calibration half of `models/lab` (`split_calibration`, seed 1). Neither channels of the maps nor
# distances to the running statistics of batch normalisation said anything there.
INGREDIENTS = {
    # The length of the embedding.
    "norm": Ingredient(lambda seen, _: {"log": vectors.log_norms(seen[OUTCOME])}, (OUTCOME,)),
    # How the embedding turns and stretches when the face is mirrored, moved, blurred, noisy, brighter or darker.
    "views": Ingredient(_views, (views.COSINES, views.NORM_RATIOS)),
    # Cosines with people of known membership: members are pushed away from members.
    "cohort": Ingredient(lambda seen, cohort: _profiles(vectors.unit_rows(seen[OUTCOME]), cohort), (OUTCOME,)),
    # What "norm" and "cohort" see, less the same through the references: how a person looks is in both.
    "reference": Ingredient(_beside_references("norm", "cohort"), (REFERENCE,)),
    # What "views" sees, likewise: of one reference only, as several embeddings say enough.
    "reference_views": Ingredient(_beside_references("views"), _VIEWS, default_for=(IDENTITY,)),
    # Cosines with, and among, the person's other photos.
    "others": Ingredient(lambda seen, _: _closeness(seen[OUTCOME], seen.people()), (OUTCOME,), needs_others=True),
    # What "cohort" sees, of the centroid of the person's photos.
    "centroid": Ingredient(
        lambda seen, cohort: _profiles(centroids(seen[OUTCOME], seen.people()), cohort), (OUTCOME,), needs_others=True
    ),
    # The gradient of a softmax loss whose class is the centroid of the person's other photos.
    "margin": Ingredient(_margin, (OUTCOME,), needs_others=True),
    # What "others" sees, of the mean of all views, and how near every view is to the person's other photos. Twenty more
    # views, gradients by the pixels and boosting gave nothing beyond it.
    "others_views": Ingredient(_others_views, (OUTCOME, views.OUTCOMES), needs_others=True),
    # The log-odds of the person's other photos against the cohort.
    "log_odds": Ingredient(_log_odds, (OUTCOME,), needs_others=True),
    # What these four see, less the same through the references.
    "reference_others": Ingredient(
        _beside_references("others", "centroid", "margin", "log_odds"), (REFERENCE,), True, (IDENTITY, IMAGE, BESIDE)
    ),
    "reference_others_views": Ingredient(_beside_references("others_views"), _VIEWS, True, (IDENTITY,)),
    # How near a photo is to its person's photos that are near one another, beyond references: those used move together.
    "grouped": Ingredient(grouped, (OUTCOME,), True, (IMAGE, BESIDE), uses=(REFERENCE,)),
}


def centroids(outcome: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Returns, for every photo, the unit centroid of all photos of its person, (n, d)."""
    sums, who = _sum_people(vectors.unit_rows(outcome), person)
    return vectors.unit_rows(sums[who])


def other_centroids(outcome: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Returns, for every photo, the unit centroid of its person's other photos, (n, d)."""
    unit = vectors.unit_rows(outcome)
    sums, who = _sum_people(unit, person)
    return vectors.unit_rows(sums[who] - unit)


def _sum_people(vectors: np.ndarray, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sum of each person's rows, (people, d), in the order of their names, and whose every row is, (n,)."""
    _, who = np.unique(person, return_inverse=True)
    order = np.argsort(who, kind="stable")
    return np.add.reduceat(vectors[order], np.flatnonzero(np.diff(who[order], prepend=-1)), axis=0), who


def _closeness(outcome: np.ndarray, person: np.ndarray) -> Columns:
    """Returns how close every photo is to its person's other photos, and those to one another."""
    unit, norm = vectors.unit_rows(outcome), vectors.log_norms(outcome)
    found = {name: np.empty(len(unit)) for name in ("centroid", "mean", "smallest", "among_others", "others_norm")}
    for rows in splits.rows_by_person(person):
        cosines = unit[rows] @ unit[rows].T
        num = len(rows) - 1
        np.fill_diagonal(cosines, 2.0)
        found["smallest"][rows] = cosines.min(axis=1)
        np.fill_diagonal(cosines, 0.0)
        own = cosines.sum(axis=1)
        among = cosines.sum() - 2 * own
        found["mean"][rows] = own / num
        # The squared length of a sum of unit vectors is their number and all cosines among them.
        found["centroid"][rows] = own / np.sqrt(np.maximum(num + among, _TINY))
        found["among_others"][rows] = among / (num * (num - 1)) if num > 1 else 1.0
        found["others_norm"][rows] = (norm[rows].sum() - norm[rows]) / num
    return found


def _profiles(unit: np.ndarray, cohort: Cohort) -> Columns:
    sides = {"members": _profile(unit @ cohort.members.T), "externals": _profile(unit @ cohort.externals.T)}
    return {f"{side}_{name}": values for side, found in sides.items() for name, values in found.items()}


def _profile(cosines: np.ndarray) -> Columns:
    """Summarises the cosines of every face with a cohort, (n, people); of a small one, the last ranks are the last."""
    descending = -np.sort(-cosines, axis=1)
    found = {f"rank_{k}": descending[:, min(k, cosines.shape[1]) - 1] for k in _RANKS}
    found |= {f"soft_{s:g}": np.log(np.exp(s * cosines).mean(axis=1)) / s for s in _SHARPNESS}
    return found | {"mean": cosines.mean(axis=1), "std": cosines.std(axis=1), "smallest": descending[:, -1]}
