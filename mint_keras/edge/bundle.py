"""A bundle: one folder to carry to a laptop: TFLite files, their calibration, and the manifest that describes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from mint_keras import formats
from mint_keras.records import InputError, RefusedError

KIND = "bundle"
# Bundles of schema 1 had neither calibration nor card; they are read all the same.
SCHEMA = 2
SCORER = "scorer.tflite"
CALIBRATION = "calibration.json"
CARD = "card.md"
# By the side of the input. Of 111 photos with faces the detector of 640 pixels saw none in 7, where a face fills the
# picture; that of 320 found these, but it misses small ones.
DETECTORS = {640: "detector_640.tflite", 320: "detector_320.tflite"}


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


def seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes card and manifest of a bundle with all of its files, with the SHA-256 of each of them and of itself.

    The manifest is that of `formats.make_manifest`, with head, seed and whatever else is said of the bundle.
    """
    # Markdown is no page of a browser, so nothing is escaped.
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.PackageLoader("mint_keras.edge"), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    formats.write_text(folder / CARD, environment.get_template("card.md").render(manifest))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != formats.MANIFEST)
    hashes = {path.relative_to(folder).as_posix(): formats.sha256_file(path) for path in files}
    content = {**manifest, "bundle_schema": SCHEMA, "files": hashes}
    # The seal finds accidents and careless changes; whoever changes a bundle on purpose can seal it again.
    formats.write_json(folder / formats.MANIFEST, {**content, "seal": _seal_of(content)})


def _seal_of(manifest: Mapping[str, Any]) -> str:
    return formats.sha256_json({name: value for name, value in manifest.items() if name != "seal"})


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle and checks that each of its files is the one that the manifest describes.

    Raises:
        InputError: if the folder is no bundle, a file is missing, or it was made by a newer mint_keras.
        RefusedError: if a file, or the manifest, was changed.
    """
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
        if (received := formats.sha256_file(file)) != expected:
            raise RefusedError(f"{file} has SHA-256 {received}, its manifest says {expected}.")
    try:
        return Bundle(path, manifest["head"], manifest["config"]["tap"], int(manifest["seed"]), manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"Expected head, tap and seed in the manifest of {path}, received none: {error}.") from error
