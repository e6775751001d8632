"""Which photos are like the calibration's: the others get no answer. NumPy only."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from mint_keras.records import InputError
from mint_keras.statistics import figures

# The share of people like the calibration's whose photo is turned away. Where there are few people, domain and not
# calibration gives way: with 38 people it may be 5%.
MAX_ABSTENTION = 0.01
_RIDGE = 0.01  # of a feature's variance: keeps directions without spread finite


@dataclasses.dataclass(frozen=True)
class Domain:
    """What calibration photos look like in d features."""

    centre: np.ndarray  # the mean of each feature, shape (d,)
    scale: np.ndarray  # the standard deviation of each feature, shape (d,)
    precision: np.ndarray  # the inverse of the regularised correlations, shape (d, d)
    limit: float  # photos farther from the centre are outside

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Returns squared Mahalanobis distances from the centre, shape (n,); infinite where a feature is not finite.

        Raises:
            InputError: if the features are not of shape (n, d).
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise InputError(f"Expected features of shape (n, {len(self.centre)}), received {features.shape}.")
        is_finite = np.isfinite(features).all(axis=1)
        away = (np.where(is_finite[:, None], features, self.centre) - self.centre) / self.scale
        return np.where(is_finite, np.einsum("ij,jk,ik->i", away, self.precision, away), np.inf)

    def contains(self, features: np.ndarray) -> np.ndarray:
        """Returns which photos are in the domain, shape (n,), from features (n, d)."""
        return self.distance(features) <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads, of types that JSON has."""
        arrays = {name: getattr(self, name).tolist() for name in ("centre", "scale", "precision")}
        return {**arrays, "limit": self.limit}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` returned.

        Raises:
            InputError: if something is missing or of another shape.
        """
        try:
            centre, scale, precision = (np.array(content[k], np.float64) for k in ("centre", "scale", "precision"))
            limit = float(content["limit"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Expected a domain with centre, scale, precision and limit, received: {error!r}."
            ) from error
        num, shapes = centre.size, (centre.shape, scale.shape, precision.shape)
        if shapes != ((num,), (num,), (num, num)):
            raise InputError(f"Expected arrays of one size in a domain, received {shapes}.")
        return cls(centre, scale, precision, limit)


def fit(features: np.ndarray, people: np.ndarray, max_abstention: float = MAX_ABSTENTION) -> Domain:
    """Learns from calibration photos alone what is like them.

    A new person like those of the calibration is turned away, for any photo, with a probability of at most
    `max_abstention` (conformal, as the p-values).

    Args:
        features: Features of calibration photos that do not ask for membership, shape (n, d).
        people: The person on each photo, shape (n,), str.
        max_abstention: The probability that somebody who belongs is turned away.

    Raises:
        InputError: if there are too few people for the limit, or a feature is not finite.
    """
    # Nothing that the scorer looks at: what makes a score high must not decide whether it is judged.
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) != len(people) or not np.isfinite(features).all():
        raise InputError(f"Expected finite features of shape ({len(people)}, d), received {features.shape}.")
    names, person_of = np.unique(people, return_inverse=True)
    # Half of the people give mean and correlations, the others the limit: distances of those who gave them are shorter.
    is_fitted = person_of % 2 == 0
    num = len(names) // 2
    place = int(np.ceil((num + 1) * (1 - max_abstention) - 1e-9))
    if place > num:
        needed = 2 * (int(np.ceil(1 / max_abstention - 1e-9)) - 1)
        raise InputError(
            f"Expected at least {needed} people for a domain that turns {max_abstention:.1%} away, got {len(names)}."
        )
    # A feature that never changes must not be divided by 0.
    centre, deviation = features[is_fitted].mean(axis=0), features[is_fitted].std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    away = (features[is_fitted] - centre) / scale
    correlation = away.T @ away / len(away) + _RIDGE * np.eye(len(centre))
    unlimited = Domain(centre, scale, np.linalg.inv(correlation), np.inf)
    farthest = figures.largest_by_person(unlimited.distance(features[~is_fitted]), people[~is_fitted])
    return dataclasses.replace(unlimited, limit=float(np.sort(farthest)[place - 1]))
