"""RecordIO, against a writer that follows dmlc-core's recordio.cc."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.data import images, recordio, samples
from mint_keras.records import InputError

MAGIC = struct.pack("<I", 0xCED7230A)


def frame(payload: bytes, flag: int = 0) -> bytes:
    return MAGIC + struct.pack("<I", flag << 29 | len(payload)) + payload + b"\0" * (-len(payload) % 4)


def record(payload: bytes) -> bytes:
    """Splits where the magic stands at a multiple of four, as the original writer does."""
    cuts = [k for k in range(0, len(payload) - 3, 4) if payload[k : k + 4] == MAGIC]
    parts = [payload[a:b] for a, b in zip([0, *(c + 4 for c in cuts)], [*cuts, len(payload)], strict=True)]
    if len(parts) == 1:
        return frame(payload)
    flags = [1, *[2] * (len(parts) - 2), 3]
    return b"".join(frame(part, flag) for part, flag in zip(parts, flags, strict=True))


def image_record(labels: list[float], image: bytes) -> bytes:
    if len(labels) == 1:
        return record(struct.pack("<IfQQ", 0, labels[0], 0, 0) + image)
    return record(struct.pack("<IfQQ", len(labels), 0, 0, 0) + np.array(labels, "<f4").tobytes() + image)


def write(folder: Path, records: dict[int, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    offset, index = 0, []
    for key, data in records.items():
        index.append(f"{key}\t{offset}\n")
        offset += len(data)
    (folder / "train.rec").write_bytes(b"".join(records.values()))
    (folder / "train.idx").write_text("".join(index))
    return folder / "train.rec"


def png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((112, 112, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def ms1m(tmp_path: Path) -> Path:
    """Three images of two people, laid out as MS1MV3 ships it: record 0, images, identity records."""
    records = {
        0: image_record([4, 6], b""),
        1: image_record([0], png(10)),
        2: image_record([0, 9.5], png(20)),
        3: image_record([1], png(30)),
        4: image_record([1, 3], b""),
        5: image_record([3, 4], b""),
    }
    return write(tmp_path / "ms1m", records)


def test_identities_and_images(ms1m: Path) -> None:
    table = samples.list_samples(str(ms1m.parent))
    assert table.identity.tolist() == ["0000000", "0000000", "0000001"]
    assert set(table.database) == {"ms1m"}
    ((_, faces),) = images.FaceReader().batches(table, 8)
    assert faces[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_without_record_zero_every_key_is_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "own", {k: image_record([k // 2], png(k)) for k in range(4)})
    assert samples.list_samples(str(path)).identity.tolist() == ["0000000", "0000000", "0000001", "0000001"]


@pytest.mark.parametrize("payload", [MAGIC, b"abcd" + MAGIC + b"efgh", MAGIC + MAGIC + b"x", b"ab" + MAGIC, b"abc"])
def test_magic_inside_a_record_survives(tmp_path: Path, payload: bytes) -> None:
    path = write(tmp_path / "split", {7: image_record([3], payload), 8: image_record([4], b"next")})
    with recordio.RecordFile(path) as records:
        assert records.read(7)[1] == payload
        assert records.read(8)[1] == b"next"


def test_damage_is_named(ms1m: Path) -> None:
    whole = ms1m.read_bytes()
    with recordio.RecordFile(ms1m) as records, pytest.raises(InputError, match="key"):
        records.read(99)
    ms1m.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="Expected"):
        samples.list_samples(str(ms1m))
    ms1m.write_bytes(b"\0" * len(whole))
    with pytest.raises(InputError, match="damaged file or wrong index"):
        samples.list_samples(str(ms1m))
    ms1m.with_suffix(".idx").write_text("no index")
    with pytest.raises(InputError, match="index"):
        samples.list_samples(str(ms1m))


def test_a_damaged_image_is_rejected_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {0: image_record([0], png(1)), 1: image_record([1], b"junk")})
    reader = images.FaceReader()
    ((rows, _),) = reader.batches(samples.list_samples(str(path)), 8)
    assert rows.tolist() == [0]
    assert reader.rejected[0].location.endswith("train.rec#1")
