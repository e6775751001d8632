"""Which photos are like the calibration's: the others get no answer. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mint_keras.records import InputError

MAX_ABSTENTION = 0.01  # share of people like the calibration's whose photo is turned away
_RIDGE = 0.01  # of a feature's variance: keeps directions without spread finite


@dataclasses.dataclass(frozen=True)
class Domain:
    """What calibration photos look like in d features.

    Attributes:
        centre: mean of each feature, shape (d,).
        scale: standard deviation of each, shape (d,).
        precision: inverse of the regularised correlations, shape (d, d).
        limit: photos farther from the centre are outside.
    """

    centre: np.ndarray
    scale: np.ndarray
    precision: np.ndarray
    limit: float

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
    def from_dict(cls, content: Mapping[str, Any]) -> Domain:
        """Reads what `to_dict` returned.

        Raises:
            InputError: if something is missing or of another shape.
        """
        try:
            centre, scale, precision = (
                np.array(content[name], np.float64) for name in ("centre", "scale", "precision")
            )
            limit = float(content["limit"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Expected a domain with centre, scale, precision and limit, received: {error!r}."
            ) from error
        num = centre.size
        if (centre.shape, scale.shape, precision.shape) != ((num,), (num,), (num, num)):
            shapes = (centre.shape, scale.shape, precision.shape)
            raise InputError(f"Expected arrays of one size in a domain, received {shapes}.")
        return cls(centre, scale, precision, limit)


def fit(features: np.ndarray, people: np.ndarray, max_abstention: float = MAX_ABSTENTION) -> Domain:
    """Learns from calibration photos alone what is like them.

    Half of the people give mean and correlations. The limit is such that a new person like the others of the other
    half is turned away, for any photo, with a probability of at most `max_abstention` (conformal, as the p-values).

    Args:
        features: of calibration photos, shape (n, d): what tells other pictures apart without asking for membership,
            such as the length of the embedding, blur, or a few principal components.
        people: who is on each, shape (n,), str.
        max_abstention: probability that somebody who belongs is turned away.

    Raises:
        InputError: if there are too few people for the limit, or a feature is not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) != len(people) or not np.isfinite(features).all():
        raise InputError(f"Expected finite features of shape ({len(people)}, d), received {features.shape}.")
    names, person = np.unique(people, return_inverse=True)
    is_fitted = person % 2 == 0
    num = len(names) // 2
    place = int(np.ceil((num + 1) * (1 - max_abstention) - 1e-9))
    if place > num:
        needed = 2 * (int(np.ceil(1 / max_abstention - 1e-9)) - 1)
        raise InputError(
            f"Expected at least {needed} people for a domain that turns {max_abstention:.1%} away, got {len(names)}."
        )
    centre, deviation = features[is_fitted].mean(axis=0), features[is_fitted].std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    away = (features[is_fitted] - centre) / scale
    correlation = away.T @ away / len(away) + _RIDGE * np.eye(len(centre))
    unlimited = Domain(centre, scale, np.linalg.inv(correlation), np.inf)
    farthest = np.zeros(len(names))
    np.maximum.at(farthest, person[~is_fitted], unlimited.distance(features[~is_fitted]))
    return dataclasses.replace(unlimited, limit=float(np.sort(farthest[1::2])[place - 1]))
