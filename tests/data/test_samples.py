import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.commands.prepare_faces import PrepareFaces, prepare_faces
from mint_keras.data import images, sample_tables, samples
from mint_keras.data.people import are_unknown
from mint_keras.records import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "db/anna/1.png",
        "db/anna/2.PNG",
        "db/bob/1.jpg",
        "db/bob/notes.txt",
        "db/.hidden.png",
        "db/x/y/3.webp",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "db"


def test_a_folder_per_identity(folder: Path) -> None:
    table = samples.list_samples(str(folder))
    assert table.sample_id.tolist() == ["db/anna/1.png", "db/anna/2.PNG", "db/bob/1.jpg", "db/x/y/3.webp"]
    assert table.identity.tolist() == ["anna", "anna", "bob", "x"]
    assert set(table.database) == {"db"}
    assert all(Path(location).is_absolute() for location in table.location)


def test_who_is_on_images_directly_in_a_folder_is_unknown(folder: Path) -> None:
    table = samples.list_samples(str(folder / "anna"))
    assert table.identity.tolist() == ["?1.png", "?2.PNG"]
    assert are_unknown(table.people()).all()
    assert samples.list_samples(str(folder / "anna"), "names").identity.tolist() == ["?1.png", "?2.PNG"]
    assert samples.list_samples(str(folder), "inner-folders").identity.tolist()[-1] == "x/y"
    with pytest.raises(InputError, match=r"a layout of folders, .*received 'nonsense'"):
        samples.list_samples(str(folder), "nonsense")


def test_every_file_is_a_sample_or_left_out_with_a_reason(folder: Path) -> None:
    others = {
        "anna/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": b"\xff\xd8\xff",
        "anna/Thumbs.db": b"",
        "anna/big.pdf": b"%PDF-1.4",
        "anna/clip.mp4": b"\0\0\0\x18ftypisom",
        "all.zip": b"PK\3\4",
        "P1.txt": b"P1 is a name",
        "bob/half": b"",
    }
    read = {"bob/a.jfif": b"x", "bob/b.jpg~orig": b"\xff\xd8\xff\xe0", "bob/c": b"P5\n# x\n9 9\n", "bob/d.heic": b"x"}
    read |= {"bob/e.jpg:large": b"\xff\xd8\xff\xe1", "bob/f.bin2": b"\0\0\0\x1cftypheic", "bob/g.NEF": b"II*\0"}
    for name, content in {**others, **read}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    table = samples.list_samples(str(folder))
    out = {one.location.removeprefix("db/"): one.reason for one in samples.left_out(samples.locate(str(folder)), table)}
    assert set(read) <= {name.removeprefix("db/") for name in table.sample_id}
    assert set(out) == {*others, "bob/notes.txt", ".hidden.png"}
    assert len(table) + len(out) == sum(path.is_file() for path in folder.rglob("*"))
    assert "PDF" in out["anna/big.pdf"]
    assert "video" in out["anna/clip.mp4"]
    assert "archive" in out["all.zip"]
    assert "copy that a system made" in out["anna/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg"]
    assert "no image (.txt)" in out["P1.txt"]


def test_prepared_faces_are_the_table_in_their_folder(folder: Path, tmp_path: Path) -> None:
    """Crops lie in crops/000000 whoever they show."""
    out = tmp_path / "faces"
    table = samples.list_samples(str(folder)).take(np.arange(2))
    crops = np.array([f"crops/000000/{i}.png" for i in range(2)])
    (out / "crops" / "000000").mkdir(parents=True)
    for crop in crops:
        (out / crop).write_bytes(b"x")
    (out / formats.MANIFEST).write_text("[]")  # somebody else's
    assert samples.list_samples(str(out)).identity.tolist() == ["000000"] * 2
    formats.write_json(out / formats.MANIFEST, formats.make_manifest(formats.PREPARED_FACES, {}, {}))
    with pytest.raises(InputError, match="has not finished there"):
        samples.list_samples(str(out))
    sample_tables.write_samples(out / formats.SAMPLES, dataclasses.replace(table, location=crops))
    found = samples.list_samples(str(out))
    assert found.people().tolist() == ["db/anna", "db/anna"]
    assert found.location.tolist() == [str(out / crop) for crop in crops]
    assert set(samples.list_samples(f"holiday={out}").people()) == {"holiday/anna"}


def test_a_mistyped_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        samples.list_samples(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="received none"):
        samples.list_samples(str(tmp_path))
    (tmp_path / "face.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"face\.png"):
        samples.list_samples(str(tmp_path / "face.png"))


def test_a_damaged_source_is_not_an_empty_one(tmp_path: Path) -> None:
    """Whatever the folder is called, and the error therefore says."""
    folder = tmp_path / "at least one sample"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"x")
    (folder / "identity_CelebA.txt").write_text("1.jpg 7 8\n")
    with pytest.raises(InputError, match="Expected a photo and a number in each line"):
        samples.list_samples(str(folder))


def test_the_same_folder_twice(folder: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        samples.list_all([str(folder), str(folder)])


def test_fingerprint_sees_a_changed_file(folder: Path) -> None:
    before = samples.fingerprint(samples.list_samples(str(folder)))
    assert samples.fingerprint(samples.list_samples(str(folder))) == before
    images.write_png(folder / "anna" / "1.png", np.zeros((4, 4, 3), np.uint8))
    assert samples.fingerprint(samples.list_samples(str(folder))) != before


def test_fingerprint_of_lab_faces_needs_no_file() -> None:
    one, two = (samples.list_samples(f"synthetic:1/web/0-{last}/2") for last in (3, 4))
    assert samples.fingerprint(one) != samples.fingerprint(two)
    assert not os.path.exists(one.location[0])


def write_faces(*folders: Path) -> list[str]:
    """Writes a photo each of two people into folders, and returns their names."""
    for folder in folders:
        for person in ("Ann", "Bob"):
            (folder / person).mkdir(parents=True)
            cv2.imwrite(str(folder / person / "1.png"), np.zeros((112, 112, 3), np.uint8))
    return list(map(str, folders))


def test_two_places_of_one_name_are_no_database_until_somebody_says_so(tmp_path: Path) -> None:
    """What tells them apart would look like membership."""
    ours, theirs = write_faces(tmp_path / "ours" / "faces", tmp_path / "theirs" / "faces")
    (tmp_path / "again").symlink_to(tmp_path / "ours")

    def check(*sources: str) -> None:
        samples.check_databases((source, samples.list_samples(source)) for source in sources)

    with pytest.raises(InputError, match=r"ours/faces and .*theirs/faces, which are both called faces"):
        check(ours, theirs)
    check(ours, f"{tmp_path}/again/faces/", f"faces={theirs}", "synthetic:1/web/0-1/1", "synthetic:1/web/2-3/1")
    # A table says of itself which database it is of, unless it lies as a folder does.
    tables = [str(tmp_path / f"{name}.parquet") for name in ("one", "other")]
    for path, source in zip(tables, (ours, theirs), strict=True):
        sample_tables.write_samples(Path(path), samples.list_samples(source))
    check(ours, tables[0])
    with pytest.raises(InputError, match="both called faces"):
        check(*tables)
    for path, source in zip(tables, (ours, theirs), strict=True):
        sample_tables.write_samples(Path(path), samples.list_samples(f"web={source}"))
    check(*tables)


def test_faces_that_were_prepared_apart_are_two_databases_until_somebody_says_so(tmp_path: Path) -> None:
    ours, theirs = write_faces(tmp_path / "ours" / "faces", tmp_path / "theirs" / "faces")
    for out, source in (("p1", ours), ("p2", theirs)):
        prepare_faces(PrepareFaces((source,), tmp_path / out, treatment="stored", quiet=True))
    prepared = [(name, samples.list_samples(str(tmp_path / name))) for name in ("p1", "p2")]
    for pair in (prepared, [prepared[0], (theirs, samples.list_samples(theirs))]):
        with pytest.raises(InputError, match=r"/p1 and .*, which are both called faces"):
            samples.check_databases(pair)
    samples.check_databases([prepared[0], prepared[0]])
    with pytest.raises(InputError, match="both called faces"):
        prepare_faces(PrepareFaces((ours, theirs), tmp_path / "both", treatment="stored", quiet=True))
