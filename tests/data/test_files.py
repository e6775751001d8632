"""Names and kinds of files that nobody expects."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import files, images, sample_tables, samples
from mint_keras.records import InputError


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    """A folder and a photo named in Latin-1, as old archives hold them."""
    folder = tmp_path / "db"
    for place in (b"Zo\xeb/caf\xe9.png", b"Ann/1.png"):
        path = os.path.join(os.fsencode(folder), place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        images.write_png(tmp_path / "face.png", np.full((112, 112, 3), len(place), np.uint8))
        os.replace(tmp_path / "face.png", path)
    return folder


def test_names_that_are_not_utf8_are_read_and_written(latin: Path, tmp_path: Path) -> None:
    table, reader = samples.list_samples(str(latin)), images.FaceReader()
    assert table.sample_id.tolist() == ["db/Ann/1.png", r"db/Zo\xeb/caf\xe9.png"]
    ((_, faces),) = reader.batches(table, 8)
    assert faces[:, 0, 0, 0].tolist() == [9, 12]
    sample_tables.write_samples(tmp_path / "t.parquet", table)
    assert sample_tables.read_samples(tmp_path / "t.parquet").location.tolist() == table.location.tolist()
    os.remove(files.find(str(table.location[1])))
    list(reader.batches(table, 8))
    formats.write_rejected(tmp_path / "rejected.csv", reader.rejected)
    assert "No such file" in (tmp_path / "rejected.csv").read_text("utf-8")


def test_a_source_that_is_not_utf8_is_refused(latin: Path) -> None:
    with pytest.raises(InputError, match=r"path in UTF-8, .* received .*Zo\\xeb\. Rename it"):
        samples.list_samples(os.fsdecode(os.path.join(os.fsencode(latin), b"Zo\xeb")))


def test_a_name_that_looks_escaped_is_found_as_it_is(tmp_path: Path) -> None:
    plain = tmp_path / r"caf\xe9.png"
    plain.write_bytes(b"x")
    assert files.find(str(plain)) == plain
    assert files.find(r"C:\photos\1.png") == Path(r"C:\photos\1.png")


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    reader = images.FaceReader()
    assert not list(reader.batches(samples.list_samples(str(tmp_path)), 8))
    assert ["pipe or device" in rejected.reason for rejected in reader.rejected] == [True, True]


def test_folders_deeper_than_python_calls(tmp_path: Path) -> None:
    (tmp_path / "db" / "Ann").mkdir(parents=True)
    images.write_png(tmp_path / "db" / "Ann" / "1.png", np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "db" / "a.txt").write_text("no image")
    folder = os.open(tmp_path / "db", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=folder)
        below = os.open("a", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        assert list(files.list_images(tmp_path / "db")) == ["Ann/1.png"]
        assert [one.location for one in files.left_out(tmp_path / "db", "db", [])] == ["db/Ann/1.png", "db/a.txt"]
    finally:  # which pytest cannot remove
        subprocess.run(["rm", "-rf", tmp_path / "db"], check=True)


def test_the_order_is_that_of_names_at_every_depth(tmp_path: Path) -> None:
    names = ["a/b/1.png", "a/c.png", "b/1.png", "b/a/2.png", "b.png", "c.png"]
    for name in names[::-1]:
        images.write_png(tmp_path / name, np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "b" / "z").symlink_to(tmp_path / "b" / "z")
    assert list(files.list_images(tmp_path)) == names
