"""Databases of pictures: CIFAR-100, Tiny-ImageNet, COCO, Caltech-101 and Caltech-256 (the paper's Appendix A).

Every picture is an identity of its own, whatever class it shows: splits that keep classes apart would test something
else.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mint_keras.data import files, people, pickles
from mint_keras.records import InputError, Sample

_CIFAR_PARTS = ("train", "test")
# Named groups are attributes. COCO's numbers are the identities, as COCO 2014 and 2017 hold the same pictures.
COCO = re.compile(r"(?:.*/)?(?P<part>(?:train|val|test)20\d\d)/(?=.{12,})(?:COCO_\w+_)?0*(?P<who>\d+)\.jpg")
CIFAR = re.compile(r"(?P<part>[^/]+)/(?P<class>.*)/[^/]+")
CALTECH = re.compile(r"(?:.*/)?(?P<class>[^/]+)/[^/]+")
_CALTECH256 = re.compile(r"(?:.*/)?(\d{3})\.[^/]+/\1_\d{4}\.jpg")
# People's folders may be named as these are; the classes tell.
_CLASSES256 = re.compile(r"001\.ak47|002\.american-flag|004\.baseball-bat|025\.cactus|127\.laptop-101|25[37]\..+")
_NAMES101 = (
    "accordion airplanes anchor ant BACKGROUND_Google barrel bass beaver binocular bonsai brain "
    "brontosaurus buddha butterfly camera cannon car_side ceiling_fan cellphone chair chandelier "
    "cougar_body cougar_face crab crayfish crocodile crocodile_head cup dalmatian dollar_bill dolphin "
    "dragonfly electric_guitar elephant emu euphonium ewer Faces Faces_easy ferry flamingo flamingo_head "
    "garfield gerenuk gramophone grand_piano hawksbill headphone hedgehog helicopter ibis inline_skate "
    "joshua_tree kangaroo ketch lamp laptop Leopards llama lobster lotus mandolin mayfly menorah "
    "metronome minaret Motorbikes nautilus octopus okapi pagoda panda pigeon pizza platypus pyramid "
    "revolver rhino rooster saxophone schooner scissors scorpion sea_horse snoopy soccer_ball stapler "
    "starfish stegosaurus stop_sign strawberry sunflower tick trilobite umbrella watch water_lilly "
    "wheelchair wild_cat windsor_chair wrench yin_yang "
)
_CLASSES101 = frozenset(_NAMES101.split())
_CALTECH101 = re.compile(r"(?:.*/)?([^/]+)/image_\d{4}\.jpg")
_TINY = re.compile(r"(train)/([^/]+)/images/[^/]+|(val|test)/images/([^/]+)")


def is_cifar_pickles(folder: Path) -> bool:
    """Says whether CIFAR-100's official pickles are there: train, test and meta."""
    return (folder / "meta").is_file() and any((folder / part).is_file() for part in _CIFAR_PARTS)


def read_cifar_pickles(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the pictures of CIFAR-100's pickles, read without running them, with their classes and parts.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    """
    names = pickles.read_cifar(folder / "meta").get(b"fine_label_names", [])
    for path in (folder / part for part in _CIFAR_PARTS if (folder / part).is_file()):
        content = pickles.read_cifar(path)
        labels, filenames = content.get(b"fine_labels", []), content.get(b"filenames", [])
        num = len(pickles.cifar_pictures(content))
        if not all(isinstance(x, list) for x in (names, labels, filenames)) or not (
            all(isinstance(name, bytes) for name in names) and all(isinstance(label, int) for label in labels)
        ):
            raise InputError(f"Expected lists of names and numbers of classes in {folder / 'meta'} and {path}.")
        if len(labels) != num or len(filenames) not in (0, num) or not all(0 <= label < len(names) for label in labels):
            raise InputError(f"Expected a class of {folder / 'meta'} for each picture of {path}.")
        for row, label in enumerate(labels):
            name = f"{path.name}/{row:05d}"
            attributes = {"class": names[label].decode("utf-8", "replace"), "part": path.name}
            yield Sample(f"{database}/{name}", database, name, f"{path}#{row}", attributes=attributes)


def is_cifar_folders(folder: Path) -> bool:
    """Says whether a folder with cifar in its name has a folder for each of 100 classes in train/."""
    train = folder / "train"
    is_named = "cifar" in folder.name.lower() and train.is_dir()
    return is_named and sum(entry.is_dir() for entry in train.iterdir()) == 100


def is_tiny_imagenet(folder: Path) -> bool:
    """Says whether the folder is Tiny-ImageNet: wnids.txt beside train/WNID/images/."""
    return (folder / "wnids.txt").is_file() and (folder / "train").is_dir()


def read_tiny_imagenet(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the pictures with part and class; the classes of val/ come from val_annotations.txt, test/ has none."""
    path = folder / "val" / "val_annotations.txt"
    # Lines "val_0.JPEG <tab> n03444034 <tab> box".
    lines = [line.split("\t") for line in files.read_lines(path) if line] if path.is_file() else []
    if any(len(line) < 2 for line in lines):
        raise InputError(f"Expected a picture and its class in each line of {path}, separated by tabs.")
    classes = {line[0]: line[1] for line in lines}
    for name in files.list_images(folder):
        match = _TINY.fullmatch(name)
        if not match:
            raise InputError(f"Expected Tiny-ImageNet's layout in {folder}, received {name!r}.")
        part = match[1] or match[3]
        label = match[2] or (classes.get(match[4], "") if part == "val" else "")
        attributes = {"part": part, "class": label} if label else {"part": part}
        yield Sample(f"{database}/{name}", database, name, str(folder / name), attributes=attributes)


def is_caltech256(names: Sequence[str]) -> bool:
    """Says whether pictures are named as Caltech-256's, 001.ak47/001_0001.jpg, at any depth, in its classes."""
    return people.all_match(names, _CALTECH256) and any(_CLASSES256.fullmatch(name.split("/")[-2]) for name in names)


def is_caltech101(names: Sequence[str]) -> bool:
    """Says whether pictures are named as Caltech-101's, accordion/image_0001.jpg, at any depth, in its classes."""
    return people.all_match(names, _CALTECH101) and _CLASSES101.issuperset(name.split("/")[-2] for name in names)
