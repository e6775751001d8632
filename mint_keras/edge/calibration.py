"""What a bundle knows about people who are no members, and what may therefore be said of a score."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mint_keras import formats
from mint_keras.edge.bundle import CALIBRATION, Bundle
from mint_keras.faces import quality
from mint_keras.records import InputError
from mint_keras.statistics import conformal
from mint_keras.statistics.domain import Domain

SCHEMA = 1
# Sentences that a bundle brings: for photos that stand out, for none that does, for no p-values, and for every report.
WORDING = ("selected", "none", "silent", "limits")


@dataclasses.dataclass(frozen=True)
class Reference:
    """The scores of calibration people, and the sentence that says why there are no p-values; "" if there are."""

    calibration: conformal.Calibration
    silence: str

    def share_above(self, logits: np.ndarray) -> np.ndarray:
        """Returns the share of people, of the database where it is largest, who score as high as each logit, (n,)."""
        of_databases = self.calibration.logits.values()
        return np.max([1 - np.searchsorted(values, logits, "left") / len(values) for values in of_databases], axis=0)

    def p_values(self, logits: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        """Returns p-values, shape (n,): NaN for photos outside of the domain, and for all if none may be given."""
        if self.silence:
            return np.full(len(logits), np.nan)
        return conformal.p_values(self.calibration, logits, is_inside)

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads, of types that JSON has."""
        validity = self.calibration.validity
        # Calibration people have no names in a bundle, and no photos. So it can be used, and not verified again.
        return {
            "logits": {name: values.tolist() for name, values in self.calibration.logits.items()},
            "validity": None if validity is None else dataclasses.asdict(validity),
            "silence": self.silence,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Reference:
        """Reads what `to_dict` returned.

        Raises:
            InputError: if the content is something else, or gives p-values without a validity that allows them.
        """
        found = cls(conformal.Calibration.from_dict(content), _text(content, "silence"))
        validity = found.calibration.validity
        if not found.silence and not (validity is not None and validity.is_valid):
            raise InputError("Expected a validity that allows p-values, or why there are none, received neither.")
        return found


@dataclasses.dataclass(frozen=True)
class FieldCalibration:
    """The content of a bundle's `calibration.json`.

    Attributes:
        photos: The largest logit of each person's photos.
        persons: By n, the mean logit of n photos of each person.
        domain: The faces that are like the calibration's, by `quality.features`; None if there were too few people.
        wording: The sentences that go with scores, by the names of `WORDING`.
    """

    photos: Reference
    persons: Mapping[int, Reference]
    domain: Domain | None
    wording: Mapping[str, str]

    def oddities(self, features: np.ndarray) -> list[str]:
        """Returns for each row of `quality.features` the one farthest from the calibration's; "" inside the domain."""
        if self.domain is None or not len(features):
            return [""] * len(features)
        farthest = np.abs((features - self.domain.centre) / self.domain.scale).argmax(axis=1)
        is_inside = self.domain.contains(features)
        return ["" if inside else quality.FEATURES[k] for inside, k in zip(is_inside, farthest, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads, of types that JSON has."""
        return {
            "schema": SCHEMA,
            "photos": self.photos.to_dict(),
            "persons": {str(num): reference.to_dict() for num, reference in self.persons.items()},
            "features": list(quality.FEATURES),
            "domain": None if self.domain is None else self.domain.to_dict(),
            "wording": dict(self.wording),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FieldCalibration:
        """Reads what `to_dict` returned.

        Raises:
            InputError: if the content is something else, or a newer mint_keras wrote it.
        """
        if content.get("schema") != SCHEMA:
            raise InputError(
                f"Expected a calibration of schema {SCHEMA}, received {content.get('schema')}: export the bundle "
                "again, or update mint_keras."
            )
        if content.get("domain") is not None and content.get("features") != list(quality.FEATURES):
            raise InputError(f"Expected a domain of {list(quality.FEATURES)}, received {content.get('features')}.")
        try:
            persons = {int(num): Reference.from_dict(one) for num, one in content["persons"].items()}
            domain = None if content["domain"] is None else Domain.from_dict(content["domain"])
            wording = {name: _text(content["wording"], name) for name in WORDING}
            return cls(Reference.from_dict(content["photos"]), persons, domain, wording)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"Expected photos, persons, domain and wording, received: {error!r}.") from error


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise InputError(f"Expected a text for {name!r} in a calibration, received {value!r}.")
    return value


def read(bundle: Bundle) -> FieldCalibration | None:
    """Returns the calibration of a bundle; None if it was exported without.

    Raises:
        InputError: if the calibration cannot be used.
    """
    path = bundle.file(CALIBRATION)
    if path is None:
        return None
    try:
        return FieldCalibration.from_dict(formats.read_json(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
