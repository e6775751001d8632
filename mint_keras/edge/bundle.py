"""A bundle: one folder to carry to a laptop: TFLite files, their calibration, and the manifest that describes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, languages, shelf
from mint_keras.borders import reading
from mint_keras.faces import quality
from mint_keras.records import InputError, RefusedError
from mint_keras.statistics import conformal
from mint_keras.statistics.domain import Domain

KIND = "bundle"
# Bundles of schema 1 had neither calibration nor card; they are read all the same.
SCHEMA = 2
CALIBRATION_SCHEMA = 1
SCORER = "scorer.tflite"
CALIBRATION = "calibration.json"
CARD = "card.md"
# By the side of the input. Of 111 photos with faces the detector of 640 pixels saw none in 7, where a face fills the
# picture; that of 320 found these, but it misses small ones.
DETECTORS = {640: "detector_640.tflite", 320: "detector_320.tflite"}
# Sentences that a bundle brings: for photos that stand out, for none that does, for no p-values, and for every report.
WORDING = ("selected", "none", "silent", "limits")


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those that its manifest names, with a head of a seed that looks at a tap or several."""

    path: Path
    head: str
    tap: str
    seed: int
    manifest: Mapping[str, Any]

    def file(self, name: str) -> Path | None:
        """Returns the path of a file that the bundle has, such as `CALIBRATION`; None if it has none."""
        return self.path / name if name in self.manifest["files"] else None

    def calibration(self) -> FieldCalibration | None:
        """Returns what the bundle knows about people who are no members; None if it was exported without."""
        path = self.file(CALIBRATION)
        if path is None:
            return None
        with reading(f"a calibration in {path}"):
            return FieldCalibration.from_dict(formats.read_json(path))


def seal(folder: Path, manifest: Mapping[str, Any], language: str = languages.ENGLISH) -> None:
    """Writes card and manifest of a bundle with all of its files, with the SHA-256 of each of them and of itself.

    The manifest is that of `formats.make_manifest`, with head, seed and whatever else is said of the bundle. The
    card is in the language, a key of `languages.NAMES`.
    """
    card = languages.of(language).templates("mint_keras.edge", is_page=False).get_template("card.md")
    formats.write_text(folder / CARD, card.render(manifest))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != formats.MANIFEST)
    hashes = {path.relative_to(folder).as_posix(): formats.sha256_file(path) for path in files}
    content = {**manifest, "bundle_schema": SCHEMA, "files": hashes}
    # The seal finds accidents and careless changes; whoever changes a bundle on purpose can seal it again.
    formats.write_json(folder / formats.MANIFEST, {**content, "seal": _seal_of(content)})


def _seal_of(manifest: Mapping[str, Any]) -> str:
    return formats.sha256_json({name: value for name, value in manifest.items() if name != "seal"})


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle, or the shelf's of that name, and checks that each file is the one that the manifest describes.

    Raises:
        InputError: if the folder is no bundle, a file is missing, or it was made by a newer mint_keras.
        RefusedError: if a file, or the manifest, was changed.
    """
    path = shelf.find(path, shelf.EXPORT)
    # Before anything else is read: what a newer version writes may look like damage to this one.
    manifest = formats.read_json(path / formats.MANIFEST) if (path / formats.MANIFEST).is_file() else {}
    for name, newest in {"schema": formats.SCHEMA, "bundle_schema": SCHEMA}.items():
        received = manifest.get(name, 1)
        if manifest.get("kind") == KIND and (not isinstance(received, int) or received > newest):
            raise InputError(
                f"Expected a bundle of {name} {newest} or older in {path}, received {received}: it was made by a newer "
                "mint_keras. Update mint_keras here, or export the bundle again with this version."
            )
    manifest = formats.read_manifest(path, KIND)
    files = manifest.get("files")
    if not isinstance(files, dict) or SCORER not in files:
        raise InputError(f"Expected {SCORER} among the files of {path}, received none: its export has not finished.")
    if _seal_of(manifest) != manifest.get("seal"):
        raise RefusedError(f"{path / formats.MANIFEST} was changed after the bundle was made.")
    for name, expected in files.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()):
            raise RefusedError(f"The manifest of {path} names a file outside of it: {name}.")
        if not file.is_file():
            raise InputError(f"Expected {name} in {path}, received none.")
        formats.check_sha256(file, expected)
    with reading(f"head, tap, seed, audited model and versions in the manifest of {path}"):
        # What reports show; whoever seals a manifest again may have left it out.
        _ = manifest["inputs"]["audited"], manifest["versions"]["mint_keras"]
        if "audited_model" in manifest:  # bundles of schema 1 have none
            _ = manifest["audited_model"]["title"]
        head, tap = (_text(part, name) for part, name in ((manifest, "head"), (manifest["config"], "tap")))
        return Bundle(path, head, tap, int(manifest["seed"]), manifest)


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

    def silence_in_words(self) -> str:
        """Returns for people who know no statistics why there are no p-values; "" if there are."""
        validity = self.calibration.validity
        if not self.silence or validity is None:
            return self.silence
        return (
            f"Tried on {validity.num_people:,} people of {validity.database} who were not in the training data, this "
            f"bundle would have pointed at {validity.num_accused:,} of them. That is too often, so it points at nobody."
        )

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
        persons: The mean logit of n photos of each person, by n.
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
            "schema": CALIBRATION_SCHEMA,
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
        if content.get("schema") != CALIBRATION_SCHEMA:
            raise InputError(
                f"Expected a calibration of schema {CALIBRATION_SCHEMA}, received {content.get('schema')}: export the "
                "bundle again, or update mint_keras."
            )
        if content.get("domain") is not None and content.get("features") != list(quality.FEATURES):
            raise InputError(f"Expected a domain of {list(quality.FEATURES)}, received {content.get('features')}.")
        with reading("photos, persons, domain and wording"):
            persons = {int(num): Reference.from_dict(one) for num, one in content["persons"].items()}
            domain = None if content["domain"] is None else Domain.from_dict(content["domain"])
            wording = {name: _text(content["wording"], name) for name in WORDING}
            return cls(Reference.from_dict(content["photos"]), persons, domain, wording)


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise InputError(f"Expected a text for {name!r} in a calibration, received {value!r}.")
    return value
