"""Folders that tensorflow_datasets prepared: dataset_info.json and NAME-SPLIT.tfrecord-00000-of-00001.

Framing of a TFRecord: uint64 length, its checksum, the payload, its checksum.
Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import mmap
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mint_keras.borders import read_text, reading
from mint_keras.data import people
from mint_keras.records import InputError, Sample

# Of these every picture is an identity of its own, see `pictures`. Of others nobody knows: they may be of faces.
_PICTURES = re.compile(r"cifar100?|caltech101|coco(?:_captions)?|imagenet(?:2012|_resized)")
_WHO = ("identity", "person_id", "subject_id")  # features that say who is on a photo; `face_id` tells photos apart
_SHARD = re.compile(r".+-[^-]+\.tfrecord-\d{5}-of-\d{5}")
_LENGTH = struct.Struct("<Q")
_CHECKSUM = 4


def is_here(folder: Path) -> bool:
    """Says whether the folder is one version of a prepared dataset."""
    return (folder / "dataset_info.json").is_file() and bool(_shards(folder))


def read(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the pictures with part and class, and with who is on them as far as a feature is called so."""
    classes = folder / "label.labels.txt"
    names = read_text(classes).splitlines() if classes.is_file() else []
    first: dict[str, str] = {}
    for shard in _shards(folder):
        records = _Shard(shard)
        database_of, _, part = shard.name.partition(".tfrecord-")[0].rpartition("-")
        who = next((one for one in _WHO if records.places and records.feature(0, one)), "")
        for key in range(len(records.places)):
            attributes = {"part": part}
            if labels := records.feature(key, "label"):
                label = int(labels[0])
                attributes["class"] = names[label] if 0 <= label < len(names) else str(label)
            name = f"{shard.name}/{key:05d}"
            identity = name if _PICTURES.fullmatch(database_of) else people.unknown(name)
            if who and (said := records.feature(key, who)):
                identity = people.spelling(people.as_text(said[0]), first) or people.unknown(name)
            yield Sample(f"{database}/{name}", database, identity, f"{shard}#{key}", attributes=attributes)


def open_shard(path: Path) -> Callable[[int], bytes]:
    """Returns a function from the place of a record in a shard to its encoded picture."""
    shard = _Shard(path)
    return lambda key: shard.feature(key, "image")[0]


class _Shard:
    """Random access to the examples of one shard."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.places: list[tuple[int, int]] = []
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            # Mapped, because pictures are taken one by one; an empty file cannot be mapped.
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        position = 0
        while position < size:
            start = position + _LENGTH.size + _CHECKSUM
            length = _LENGTH.unpack_from(self._content, position)[0] if start <= size else size
            position = start + length + _CHECKSUM
            if position > size:
                raise InputError(f"Expected whole records in {path}, received one that ends behind the file.")
            self.places.append((start, length))

    def feature(self, key: int, name: str) -> list[Any]:
        """Returns the values of one feature of one example; none if the example lacks it."""
        # TensorFlow, which is here anyway, parses the examples: tensorflow_datasets would bring a dozen packages for a
        # frame of four fields. Only those who have such shards import it.
        from tensorflow.core.example import example_pb2

        with reading(f"an example at {key} of {self._path}"):
            start, length = self.places[key]
            example = example_pb2.Example.FromString(self._content[start : start + length])
            feature = example.features.feature.get(name)
            values = [] if feature is None else list(getattr(feature, feature.WhichOneof("kind")).value)
            # An image is bytes, a label a number.
            if name == "image" and not (values and isinstance(values[0], bytes)):
                raise InputError(f"Expected an image in record {key} of {self._path}, received none.")
            if name == "label" and not all(isinstance(value, int) for value in values):
                raise InputError(f"Expected a number as label in record {key} of {self._path}, received none.")
            return values


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tfrecord-*") if _SHARD.fullmatch(path.name) and path.is_file())
