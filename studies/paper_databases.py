"""Stand-ins of the paper's databases, in their layouts and at their sizes, so that its steps can be rehearsed.

Pictures are blends of two drawn faces and patches of colour in JPEG; nobody is on them. Across parts 3 in 100,000 pairs
are as alike as a search for copies looks at (of LFW's photos 5), so that it has as much to do as among photos. A
database that is finished is left alone, and one that was interrupted goes on where it stopped; the same seed gives the
same bytes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from mint_keras import formats, progress
from mint_keras.data import synthetic
from mint_keras.records import InputError

_SIDE, _QUALITY = 112, [cv2.IMWRITE_JPEG_QUALITY, 10, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
_BYTES = 700  # of an encoded picture: all are as long, so that records lie at even distances
# Frame and header of RecordIO, see `mint_keras.data.recordio`.
_HEAD = [("magic", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8"), ("id2", "<u8")]
_IMAGE, _SPAN = np.dtype([*_HEAD, ("image", "u1", _BYTES)]), np.dtype([*_HEAD, ("span", "<f4", 2)])
_MAGIC, _FRAME = 0xCED7230A, 8
_PART = 2**16  # records that are written at once
_PEOPLE = 256  # that are drawn for them
_DONE = "finished.json"
_GROUPS = [
    f"{group}_{sex}" for group in ("Asian", "Black", "Hispanic", "Indian", "White") for sex in ("Female", "Male")
]


def write_glint360k(folder: Path, num: int, num_people: int, num_distinct: int, seed: int) -> None:
    """Writes `train.rec`, `train.idx` and `property` as Glint360K ships them.

    Record 0 says where images end and identities begin; the images follow, ordered by person; then a record for each
    person says which images are theirs. After about `num_distinct` images the same pictures come again, of others.
    """
    if (folder / _DONE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    ends = _ends(num, num_people, np.random.default_rng(seed))
    num_drawn = -(-min(num_distinct, num) // _PART)
    with open(folder / "train.rec", "ab+") as file:
        done = max(file.tell() - _SPAN.itemsize, 0) // (_PART * _IMAGE.itemsize)
        file.truncate(_SPAN.itemsize + done * _PART * _IMAGE.itemsize if done else 0)
        if not done:
            file.write(_spans([0], [(num + 1, num + 1 + num_people)]).tobytes())
        for part in progress.bar(range(done, -(-num // _PART)), desc="glint360k", unit="part"):
            keys = np.arange(part * _PART, min((part + 1) * _PART, num)) + 1
            records = _records(_IMAGE, keys)
            records["label"] = np.searchsorted(ends, keys - 1, side="right")
            if part < num_drawn:
                records["image"] = [_padded(picture) for picture in _pictures(len(keys), [seed, part])]
            else:
                file.seek(_SPAN.itemsize + part % num_drawn * _PART * _IMAGE.itemsize)
                records["image"] = np.frombuffer(file.read(records.nbytes), _IMAGE)["image"]
            file.write(records.tobytes())  # at the end, wherever it was read
        people = num + 1 + np.arange(num_people)
        file.write(_spans(people, np.stack([np.append(0, ends[:-1]), ends], axis=1) + 1).tobytes())
    images = _SPAN.itemsize + _IMAGE.itemsize * np.arange(num + 1)
    offsets = np.concatenate([[0], images, images[-1] + _SPAN.itemsize * np.arange(1, num_people)])
    with formats.atomic_path(folder / "train.idx") as temporary, open(temporary, "w", encoding="ascii") as index:
        for start in range(0, len(offsets), _PART):
            some = offsets[start : start + _PART].tolist()
            index.writelines(f"{key}\t{offset}\n" for key, offset in enumerate(some, start))
    formats.write_text(folder / "property", f"{num_people},{_SIDE},{_SIDE}\n")
    formats.write_json(folder / _DONE, {"images": num, "people": num_people, "seed": seed})


def write_ijbc(folder: Path, num: int, num_people: int, seed: int) -> None:
    """Writes images/ and protocols/ijbc_metadata.csv as NIST does: photos and frames with a box for the subject."""
    people = np.random.default_rng(seed).integers(0, num_people, num)
    names = [f"{('img', 'frames')[number % 2]}/{number}.jpg" for number in range(num)]
    lines = (f"{one + 1},{name},0,0,{_SIDE},{_SIDE}\n" for one, name in zip(people.tolist(), names, strict=True))
    header = "SUBJECT_ID,FILENAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n"
    _write_files(folder, [f"images/{name}" for name in names], seed)
    (folder / "protocols").mkdir(exist_ok=True)
    formats.write_text(folder / "protocols" / "ijbc_metadata.csv", header + "".join(lines))


def write_fddb(folder: Path, num: int, num_faces: int, seed: int) -> None:
    """Writes originalPics/ and FDDB-folds/: ten lists with an ellipse for each face."""
    names = [f"2002/08/{number % 28 + 1:02d}/big/img_{number}" for number in range(num)]
    faces = np.random.default_rng(seed).multinomial(num_faces - num, np.full(num, 1 / num)) + 1
    _write_files(folder, [f"originalPics/{name}.jpg" for name in names], seed)
    (folder / "FDDB-folds").mkdir(exist_ok=True)
    for fold in range(10):
        here = zip(names[fold::10], faces[fold::10].tolist(), strict=True)
        text = "".join(f"{name}\n{many}\n" + "50 40 1.5 56 56  1\n" * many for name, many in here)
        formats.write_text(folder / "FDDB-folds" / f"FDDB-fold-{fold + 1:02d}-ellipseList.txt", text)


def write_gandiffface(folder: Path, num: int, num_people: int, seed: int) -> None:
    """Writes GROUP/PERSON/PHOTO.png, but for the encoding as GANDiffFace has them."""
    person = np.arange(num) * num_people // num
    names = [f"{_GROUPS[one % len(_GROUPS)]}/{one // len(_GROUPS)}/{k}.jpg" for k, one in enumerate(person.tolist())]
    _write_files(folder, names, seed)


def write_adience(folder: Path, num: int, num_people: int, seed: int) -> None:
    """Writes USER/landmark_aligned_face.FACE.PHOTO as Adience has them."""
    person = np.random.default_rng(seed).integers(0, num_people, num)
    names = [f"{one}@N{one % 100:02d}/landmark_aligned_face.{one}.{k}_o.jpg" for k, one in enumerate(person.tolist())]
    _write_files(folder, names, seed)


def _ends(num: int, num_people: int, rng: np.random.Generator) -> np.ndarray:
    """Returns where the images of each person end: some have few and some have hundreds, as on the web."""
    if num < num_people:
        raise InputError(f"Expected at least as many images as people, received {num} and {num_people}.")
    share = rng.lognormal(0.0, 0.7, num_people)
    ends = np.floor(np.cumsum(share / share.sum()) * (num - num_people)).astype(int) + np.arange(1, num_people + 1)
    ends[-1] = num
    return ends


def _records(kind: np.dtype, keys: Sequence[int] | np.ndarray) -> np.ndarray:
    records = np.zeros(len(keys), kind)
    records["magic"], records["length"], records["id"] = _MAGIC, kind.itemsize - _FRAME, keys
    return records


def _spans(keys: Sequence[int] | np.ndarray, spans: Sequence[tuple[int, int]] | np.ndarray) -> np.ndarray:
    """Returns records without images, which say where something begins and ends."""
    records = _records(_SPAN, keys)
    records["flag"], records["span"] = 2, spans
    return records


def _pictures(num: int, seed: int | Sequence[int]) -> Iterator[bytes]:
    """Yields different pictures in JPEG."""
    rng = np.random.default_rng(seed)
    world, num_people = rng.integers(10**9), min(num, _PEOPLE)
    faces = [synthetic.render(f"synthetic:{world}/web/{person}/0") for person in range(num_people)]
    for patches in rng.integers(0, 256, (num, 5, 5, 3), np.uint8):
        one, two = rng.integers(0, num_people, 2)
        blend = cv2.addWeighted(faces[one], 0.5, np.ascontiguousarray(faces[two][:, ::-1]), 0.5, 0)
        colours = cv2.resize(patches, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
        picture = cv2.GaussianBlur(cv2.addWeighted(blend, 0.75, colours, 0.25, 0), (0, 0), 2)
        yield cv2.imencode(".jpg", picture, _QUALITY)[1].tobytes()


def _padded(picture: bytes) -> np.ndarray:
    """Returns a JPEG of exactly so many bytes: what is missing is a comment behind its first marker."""
    missing = _BYTES - len(picture) - 4
    comment = b"\xff\xfe" + (missing + 2).to_bytes(2, "big") + b" " * missing
    return np.frombuffer(picture[:2] + comment + picture[2:], np.uint8)


def _write_files(folder: Path, names: Sequence[str], seed: int) -> None:
    for part, start in enumerate(progress.bar(range(0, len(names), _PART), desc=folder.name, unit="part")):
        some = names[start : start + _PART]
        if (folder / some[-1]).is_file():  # the last that a part writes
            continue
        for above in {str(Path(name).parent) for name in some}:
            (folder / above).mkdir(parents=True, exist_ok=True)
        for name, picture in zip(some, _pictures(len(some), [seed, part]), strict=True):
            (folder / name).write_bytes(picture)
