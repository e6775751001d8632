"""Which database a folder holds: the layouts that are recognised, and what their publishers counted."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mint_keras.data import files, people
from mint_keras.data.databases import adience, fddb, folders, ijbc, pictures, tfds
from mint_keras.data.databases.folders import read_named
from mint_keras.data.people import all_match
from mint_keras.records import InputError, Sample

RECORDIO, VERIFICATION, FOLDERS, TFDS = "recordio", "verification pairs", people.FOLDERS, "tensorflow_datasets"

# Of these, samples are no files.
CONTAINERS = (TFDS, "cifar-100 pickles")

Reader = Callable[[Path, str], Iterator[Sample]]
# Whether a folder has a layout, by files that only it has, and how it is read under a database's name.
# The first that fits is taken.
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Reader]] = {
    TFDS: (tfds.is_here, tfds.read),
    "cifar-100 pickles": (pictures.is_cifar_pickles, pictures.read_cifar_pickles),
    "cifar-100 folders": (pictures.is_cifar_folders, partial(read_named, pattern=pictures.CIFAR, nobody=str)),
    "tiny-imagenet": (pictures.is_tiny_imagenet, pictures.read_tiny_imagenet),
    "ijb-c (nist)": (ijbc.is_nist, ijbc.read_nist),
    "ijb-c (insightface)": (ijbc.is_insightface, ijbc.read_insightface),
    "fddb": (fddb.is_here, fddb.read),
    "celeba": (folders.is_celeba, folders.read_celeba),
}
# The same by the names of all images; a folder that fits none is read as `people.read` can.
BY_NAMES: dict[str, tuple[Callable[[Sequence[str]], bool], Reader]] = {
    "adience": (adience.is_here, adience.read),
    "coco": (partial(all_match, pattern=pictures.COCO), partial(read_named, pattern=pictures.COCO, nobody=str)),
    "caltech-256": (pictures.is_caltech256, partial(read_named, pattern=pictures.CALTECH, nobody=str)),
    "caltech-101": (pictures.is_caltech101, partial(read_named, pattern=pictures.CALTECH, nobody=str)),
    "lfw": (partial(all_match, pattern=folders.LFW), folders.read),
    "utkface": (folders.is_utkface, partial(read_named, pattern=folders.UTKFACE)),
    "gandiffface": (partial(all_match, pattern=folders.GANDIFFFACE), partial(read_named, pattern=folders.GANDIFFFACE)),
}


class Published(NamedTuple):
    """What a database's publishers counted: files or records with an image, and people, 0 where nobody counted them.

    The name says which part was counted, the source who says so.
    """

    name: str
    layout: str
    images: int
    identities: int
    source: str


# inspect_database.py compares what it counts with these.
PUBLISHED = (
    Published("MS1MV3", RECORDIO, 5_179_510, 93_431, "insightface, version t1; the paper's 91K people are t2"),
    Published("MS1MV2", RECORDIO, 5_822_653, 85_742, "insightface"),
    Published("Glint360K", RECORDIO, 17_091_657, 360_232, "insightface"),
    Published("LFW, 6,000 pairs", VERIFICATION, 7_701, 0, "LFW, view 2, each image once"),
    Published("IJB-C, photos and frames", "ijb-c (nist)", 138_836, 3_531, "NIST"),
    Published("IJB-C, crops", "ijb-c (insightface)", 469_375, 3_531, "insightface, IJB_release"),
    Published("FDDB", "fddb", 2_845, 0, "FDDB, README; 5,171 faces"),
    Published("Adience, faces", "adience", 26_580, 2_284, "Adience; people are counted by albums"),
    Published("CelebA", "celeba", 202_599, 10_177, "CelebA, README"),
    Published("LFW", "lfw", 13_233, 5_749, "LFW, README"),
    Published("UTKFace, aligned and cropped", "utkface", 23_708, 0, "UTKFace"),
    Published("CIFAR-100", "cifar-100 pickles", 60_000, 0, "CIFAR"),
    Published("CIFAR-100", "cifar-100 folders", 60_000, 0, "CIFAR"),
    Published("CIFAR-100", "tensorflow_datasets", 60_000, 0, "CIFAR"),
    Published("Tiny-ImageNet, train, val and test", "tiny-imagenet", 120_000, 0, "Stanford CS231n"),
    Published("COCO 2014, train and val", "coco", 123_287, 0, "COCO"),
    Published("COCO 2017, train and val", "coco", 123_287, 0, "COCO"),
    Published("Caltech-256, with clutter", "caltech-256", 30_607, 0, "Caltech"),
    Published("Caltech-101, with background", "caltech-101", 9_144, 0, "tensorflow_datasets, caltech101"),
)


def recognise(folder: Path) -> str:
    """Returns the layout of a folder, a key of `LAYOUTS` or of `BY_NAMES`, or "folders"."""
    if found := next((name for name, (is_here, _) in LAYOUTS.items() if is_here(folder)), ""):
        return found
    names = list(files.list_images(folder))
    return next((name for name, (is_here, _) in BY_NAMES.items() if is_here(names)), FOLDERS)


def check(layout: str) -> None:
    """Raises InputError if nothing is called so."""
    known = [*people.READINGS, *LAYOUTS, *BY_NAMES]
    if layout not in known:
        raise InputError(f"Expected a layout of {', '.join(known)}, received {layout!r}.")


def read(folder: Path, database: str, layout: str) -> Iterator[Sample]:
    """Yields the samples of a folder in a layout that `recognise` or a user says it has."""
    if layout in people.READINGS:
        return folders.read(folder, database, layout)
    return {**LAYOUTS, **BY_NAMES}[layout][1](folder, database)
