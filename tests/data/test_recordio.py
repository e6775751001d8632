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


def test_labels_are_those_of_the_whole_record(tmp_path: Path) -> None:
    contents = {1: [3.0], 2: [1.0, 2.0, 7.5], 3: [float(np.frombuffer(MAGIC, "<f4")[0]), 1.0]}
    path = write(tmp_path / "db", {key: image_record(labels, png(key)) for key, labels in contents.items()})
    with recordio.RecordFile(path) as records:
        for key, labels in contents.items():  # the third is split by the magic within its labels
            np.testing.assert_array_equal(records.labels(key), np.float32(labels))
            np.testing.assert_array_equal(records.read(key)[0], np.float32(labels))


def numbered(label: list[float], key: int, image: bytes) -> bytes:
    body = np.array(label, "<f4").tobytes() if len(label) > 1 else b""
    flag, scalar = (len(label), 0.0) if len(label) > 1 else (0, label[0])
    return record(struct.pack("<IfQQ", flag, scalar, key, 0) + body + image)


def test_a_missing_index_is_made_by_scanning(tmp_path: Path) -> None:
    """insightface's packers number the headers, and write record 0 last."""
    keys = {1: png(1), 2: b"abcd" + MAGIC + b"rest", 3: png(3)}
    records = {key: numbered([key // 2], key, image) for key, image in keys.items()}
    records |= {4: numbered([1, 3], 4, b""), 0: numbered([4, 5], 0, b"")}
    path = write(tmp_path / "db", records)
    with recordio.RecordFile(path) as indexed:
        offsets = dict(indexed.offsets)
    path.with_suffix(".idx").unlink()
    with recordio.RecordFile(path) as scanned:
        assert scanned.offsets == offsets
        assert scanned.read(2)[1] == keys[2]
    assert samples.list_samples(str(path)).location.tolist() == [f"{path}#{key}" for key in (1, 2, 3)]


def test_a_missing_index_without_numbers_counts_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {key: image_record([key], png(key)) for key in range(3)})
    path.with_suffix(".idx").unlink()
    assert samples.list_samples(str(path)).identity.tolist() == ["0000000", "0000001", "0000002"]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"Expected .* bytes at key 2"):
        recordio.RecordFile(path).read(2)


@pytest.mark.parametrize("stated", [16777216, 16777218])
def test_where_images_end_beyond_float32(stated: int, tmp_path: Path) -> None:
    """Glint360K's 17,091,657 images: record 0 says in float32 where they end, so an odd number is off by one."""
    first = 16777214
    records = {0: image_record([stated, stated + 1], b"")}
    records |= {key: image_record([5], png(1)) for key in range(first, 16777217)}
    records |= {key: image_record([first, 16777217], b"") for key in (16777217, 16777218)}
    assert np.float32(16777217) == 16777216
    with recordio.RecordFile(write(tmp_path / "glint", records)) as database:
        assert database.image_keys() == [16777214, 16777215, 16777216]


def test_some_damaged_records_do_not_stop_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {key: image_record([key], png(key)) for key in range(5)})
    index = path.with_suffix(".idx")
    lines = index.read_text().splitlines()
    index.write_text("\n".join([*lines[:3], "3\t99999999", lines[4]]) + "\n")  # past the end
    table = samples.list_samples(str(path))
    assert table.identity.tolist() == ["0000000", "0000001", "0000002", "damaged-3", "0000004"]
    reader = images.FaceReader()
    ((rows, _),) = reader.batches(table, 8)
    assert rows.tolist() == [0, 1, 2, 4]
    assert "wrong index" in reader.rejected[0].reason
