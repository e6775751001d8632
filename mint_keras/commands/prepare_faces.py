"""Find the face in every photo, align it to the ArcFace template, and write crops of 112x112 with a sample table.

Photos without a usable face are counted by database and listed in rejected.csv. A killed run continues with the same
command, and ends with the same bytes.

Example:
    python scripts/prepare_faces.py --input holiday-photos --detector mediapipe --out faces/holiday
    python scripts/prepare_faces.py --input faces/ms1mv3 --treatment stored --out faces/ms1mv3-stored
"""

import dataclasses
from pathlib import Path
from typing import Literal

from mint_keras import formats
from mint_keras.commands import Result, spec_of
from mint_keras.data import samples
from mint_keras.faces import crops, detectors, parts, policies, scrfd
from mint_keras.options import Common
from mint_keras.records import InputError


@dataclasses.dataclass(frozen=True)
class PrepareFaces(Common):
    """Options of prepare_faces.py.

    Attributes:
        input: Databases: folders, .rec files, sample tables.
        out: Folder for crops/, samples.parquet, rejected.csv and the manifest.
        layout: How folders are read, as in inspect_database.py; left out: recognised.
        detector: mediapipe, which comes along; SCRFD with landmarks (.onnx); or insightface:buffalo_l for a pack that
            insightface has installed. A folder from convert_fr.py runs in Keras. Only --treatment detect needs it.
        policy: Which face of a photo with several: the largest, the most central (insightface's weighing), or only:
            such photos are rejected. Where the database says which face is meant (IJB-C, FDDB, a table with boxes), it
            is the one found there.
        min_overlap: Overlap of a face with the box that the database gives (intersection over union); below it the
            sample is rejected.
        treatment: detect looks for the face in every photo, also in crops that are aligned already, as the paper does;
            annotated aligns by the landmarks that the database gives; stored takes square images as they are. Members
            and externals should be treated alike.
        encoding: Encoding of the crops. png loses nothing; jpg has quality 95. Encoding again is a difference between
            databases that heads can see, so take the same for all.
        min_score: Below it a face does not count.
        border: Black border around every photo while its face is sought, as a share of its sides. SCRFD finds hardly
            any face that fills its picture, as in UTKFace or in crops that are aligned already; 0.5 helps. Insightface
            and the paper have none.
        min_size: Smallest face, in pixels of its photo (column size of samples.parquet); 0 rejects none.
        max_residual: How far landmarks may lie off the template, in pixels of the crop (column residual): faces from
            the side and wrong landmarks have more; 0 rejects none.
        size: Side of the crops in pixels: that of the audited model, where it takes more (its manifest says so).
        workers: Number of processes; 0 takes one for each processor.
    """

    input: tuple[str, ...]
    out: Path
    detector: str = ""
    policy: Literal["largest", "central", "only"] = "largest"
    min_overlap: float = policies.MIN_OVERLAP
    treatment: Literal["detect", "annotated", "stored"] = "detect"
    # Without loss: a second encoding is a difference between databases that heads can see.
    encoding: Literal["png", "jpg"] = "png"
    min_score: float = scrfd.MIN_SCORE
    border: float = 0.0
    workers: int = 0
    layout: str = ""
    min_size: float = 0.0
    max_residual: float = 0.0
    size: int = 112


@dataclasses.dataclass(frozen=True)
class PreparedFaces(Result):
    """What became of the photos: by database, how many were seen, kept, rejected, and have several faces."""

    counts: dict[str, dict[str, int]]
    out: Path


def prepare_faces(config: PrepareFaces) -> PreparedFaces:
    """Finds, aligns and writes the faces, part by part; parts that are there already are not made again."""
    if (config.treatment == crops.DETECT) != bool(config.detector):
        raise InputError("Expected --detector, or else --treatment annotated or stored, received both or neither.")
    if not 112 <= config.size <= 1024:
        raise InputError(f"Expected --size from 112 to 1024 pixels, received {config.size}.")
    is_share = 0 < config.min_score < 1 and 0 <= config.border <= 2 and 0 < config.min_overlap <= 1
    if not is_share or min(config.min_size, config.max_residual) < 0:
        raise InputError(
            "Expected --min-score between 0 and 1, --border from 0 to 2, --min-overlap up to 1, --min-size and "
            f"--max-residual of at least 0, received {config.min_score}, {config.border}, {config.min_overlap}, "
            f"{config.min_size}, {config.max_residual}."
        )
    sources = [samples.locate(source, config.layout) for source in config.input]
    tables = [samples.list_samples(source, config.layout) for source in config.input]
    samples.check_databases(zip(config.input, tables, strict=True))
    table = samples.join(tables)
    left_out = {source.database: samples.left_out(source, one) for source, one in zip(sources, tables, strict=True)}
    inputs = {"samples": samples.fingerprint(table)}
    if config.detector:
        # Of one input size, 640 pixels, because crops are to be insightface's; the laptop also asks one of 320.
        detectors.open_detector(config.detector)  # shows early whether it is one
        inputs["detector"] = formats.sha256_file(detectors.find_file(config.detector))
    settings = spec_of(crops.CropSettings, config)
    manifest = formats.make_manifest(formats.PREPARED_FACES, inputs, dataclasses.asdict(settings))
    # The number of workers is no setting: the crops are the same.
    with formats.output_folder(config.out, manifest, config.overwrite):
        made = parts.write_parts(table, settings, config.out, config.workers)
        if not any(crop.file for crop in made):
            raise InputError(f"Expected faces in {list(config.input)}, received none: {made[0].reason}")
        counts = parts.count(table, made)
        for database, files in left_out.items():
            if files:  # every file is seen, and kept or rejected
                counts[database]["left out"] = len(files)
        parts.write_table(config.out, table, made, [one for files in left_out.values() for one in files])
        # A detector that finds fewer externals than members would bias an audit, so the counts stay with the faces.
        formats.write_json(config.out / formats.MANIFEST, {**manifest, "counts": counts})
    lines = []
    odd = ("small", "turned", "from the side, or wrong landmarks")
    for database, count in counts.items():
        rejected = count.get("rejected", 0)
        lines.append(
            f"{database}: {count['seen']} photos, {count.get('kept', 0)} faces, {rejected} rejected "
            f"({rejected / count['seen']:.1%}), {count['with several faces']} with several faces"
            + "".join(f", {count[name]} {name}" for name in odd if count.get(name))
            + (f"; {count['left out']} other files left out" if "left out" in count else "")
        )
    if any(count.get("rejected") or count.get("left out") for count in counts.values()):
        lines.append(f"Why: {config.out / formats.REJECTED}")
    return PreparedFaces("\n".join([*lines, str(config.out / formats.SAMPLES)]), counts, config.out)
