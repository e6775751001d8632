"""FDDB: photos with an ellipse around every face, in ten folds, and no names: nobody knows who is who.

Source: http://vis-www.cs.umass.edu/fddb/README.txt
"""

import math
from collections.abc import Iterator
from pathlib import Path

from mint_keras.borders import read_text
from mint_keras.data.people import unknown
from mint_keras.records import InputError, Sample

FOLDS = "FDDB-folds"


def is_here(folder: Path) -> bool:
    """Says whether the folds are there."""
    return any((folder / FOLDS).glob("FDDB-fold-*-ellipseList.txt"))


def read(folder: Path, database: str) -> Iterator[Sample]:
    """Yields the faces, each with the box around its ellipse; faces of one photo follow each other."""
    photos = folder / "originalPics" if (folder / "originalPics").is_dir() else folder
    for path in sorted((folder / FOLDS).glob("FDDB-fold-*-ellipseList.txt")):
        lines = iter(enumerate(read_text(path).splitlines(), start=1))
        number = 0
        try:
            for number, line in lines:
                name = line.strip()
                if not name:
                    continue
                number, line = next(lines)
                for face in range(int(line)):
                    number, line = next(lines)
                    # The angle is that of the major axis with the horizontal, in radians. A sixth number is always 1.
                    major, minor, angle, x, y = (float(part) for part in line.split()[:5])
                    half_width = math.hypot(major * math.cos(angle), minor * math.sin(angle))
                    half_height = math.hypot(major * math.sin(angle), minor * math.cos(angle))
                    box = (x - half_width, y - half_height, x + half_width, y + half_height)
                    identity, fold = f"{name}/{face}", {"fold": path.name.split("-")[2]}
                    place = str(photos / f"{name}.jpg")
                    yield Sample(f"{database}/{identity}", database, unknown(identity), place, box=box, attributes=fold)
        except (ValueError, TypeError, StopIteration) as error:
            wanted = f"a photo, the number of its faces, and an ellipse for each in {path}"
            raise InputError(f"Expected {wanted}, received another line after line {number - 1}.") from error
