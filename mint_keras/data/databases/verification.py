"""A verification set of insightface (lfw.bin, agedb_30.bin ...) as a database of its faces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mint_keras.data import identities, pairs
from mint_keras.records import Sample


def read(path: Path, database: str) -> Iterator[Sample]:
    """Yields every face once, though pairs repeat it.

    The file names nobody. Faces that a chain of genuine pairs joins are one identity; whether two identities are two
    people is not known.

    Raises:
        InputError: if it is no such file.
    """
    content = pairs.read_pairs(path)
    digests = [hashlib.sha256(image).hexdigest() for image in content.images if isinstance(image, bytes)]
    genuine = zip(content.first[content.genuine].tolist(), content.second[content.genuine].tolist(), strict=True)
    people = identities.join_people((digests[first], digests[second]) for first, second in genuine)
    seen: set[str] = set()
    for key, digest in enumerate(digests):
        if digest not in seen:
            seen.add(digest)
            identity = people.get(digest, digest)[:16]
            yield Sample(f"{database}/{key:06d}", database, identity, f"{path}#{key}")
