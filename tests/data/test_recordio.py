"""RecordIO, against a writer that follows dmlc-core's recordio.cc."""

import gc
import struct
import warnings
from collections.abc import Callable
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


def test_a_file_is_closed_with_its_last_reader(ms1m: Path) -> None:
    """Python would say of a file that nobody closed that it had to, and Windows would not let anybody delete it."""
    gc.collect()  # what others left open
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        recordio.RecordFile(ms1m).read(1)
        gc.collect()
    assert [str(one.message) for one in said] == []


def test_an_index_is_read_once_for_all_readers_until_it_changes(ms1m: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of 17 million records takes five seconds; every shard of 1,024 faces has a reader of its own."""
    opened: list[Path] = []

    class Counted(recordio.RecordFile):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    table = samples.list_samples(str(ms1m))
    monkeypatch.setattr(recordio, "RecordFile", Counted)
    for _ in range(3):
        assert images.read_faces(table)[1][:, 0, 0, 0].tolist() == [10, 20, 30]
    assert opened == [ms1m]
    write(ms1m.parent, {0: image_record([4, 5], b""), **{k: image_record([0], png(9 * k)) for k in (1, 2, 3)}})
    assert images.read_faces(table)[1][:, 0, 0, 0].tolist() == [9, 18, 27]


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
    ms1m.write_bytes(b"\0" * len(whole))
    with pytest.raises(InputError, match="damaged file or wrong index"):
        samples.list_samples(str(ms1m))
    for content in ("no index", "1\t2\n3\n", "0\t0.5\n", ""):
        ms1m.with_suffix(".idx").write_text(content)
        with pytest.raises(InputError, match=r"lines at .*train\.idx"):
            samples.list_samples(str(ms1m))
    ms1m.write_bytes(b"")
    ms1m.with_suffix(".idx").unlink()
    with pytest.raises(InputError, match=r"Expected records in .*train\.rec"):
        samples.list_samples(str(ms1m))


def kept(path: Path) -> list[int]:
    """What is listed adds up, and this is what can be read of it."""
    table, reader = samples.list_samples(str(path)), images.FaceReader()
    batches = list(reader.batches(table, 99))
    used = [int(place.rpartition("#")[2]) for rows, _ in batches for place in table.location[rows].tolist()]
    assert len(table) == len(used) + len(reader.rejected)
    return used


@pytest.mark.parametrize("num_lost", range(1, 6))
def test_a_truncated_file_gives_what_is_left(ms1m: Path, num_lost: int) -> None:
    """Record 0 says where the images end, also where the records around that place are lost."""
    offsets = [int(line.split("\t")[1]) for line in ms1m.with_suffix(".idx").read_text().splitlines()]
    ms1m.write_bytes(ms1m.read_bytes()[: offsets[-num_lost] + 10])
    if num_lost == 5:
        with pytest.raises(InputError, match="damaged ones only: Expected"):
            samples.list_samples(str(ms1m))
        return
    assert len(samples.list_samples(str(ms1m))) == 3
    assert kept(ms1m) == [1, 2, 3][: 5 - num_lost]


@pytest.mark.parametrize("stated", [float("nan"), float("inf"), -float("inf"), -3.0, 1e30, "damaged"])
def test_a_record_zero_that_says_nonsense(ms1m: Path, stated: float | str) -> None:
    content = bytearray(ms1m.read_bytes())
    content[32:36] = b"\0\0\0\0" if stated == "damaged" else np.float32(stated).tobytes()
    if stated == "damaged":
        content[0] = 0
    ms1m.write_bytes(bytes(content))
    assert kept(ms1m) == [1, 2, 3]


def test_an_image_whose_label_is_no_number_is_of_nobody_known(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {1: image_record([float("nan")], png(1)), 2: image_record([7], png(2))})
    assert samples.list_samples(str(path)).identity.tolist() == ["?1", "0000007"]
    assert kept(path) == [1, 2]


@pytest.mark.parametrize("by", [1, -1])
def test_an_index_that_numbers_records_otherwise(ms1m: Path, by: int) -> None:
    """Records of identities are no images, wherever an index says that they are."""
    index = ms1m.with_suffix(".idx")
    keys, offsets = zip(*(map(int, line.split()) for line in index.read_text().splitlines()), strict=True)
    turned = offsets[by:] + offsets[:by]
    index.write_text("".join(f"{key}\t{offset}\n" for key, offset in zip(keys, turned, strict=True)))
    table = samples.list_samples(str(ms1m))
    assert len(table) == len(kept(ms1m)) == 3


def test_an_index_that_is_far_larger_than_its_file_is_refused_unread(ms1m: Path) -> None:
    with open(ms1m.with_suffix(".idx"), "ab") as file:
        file.truncate(2**30 + 1)  # of zeros, which take no room
    with pytest.raises(InputError, match=r"at most 1073741824 bytes at .*train\.idx"):
        recordio.RecordFile(ms1m)


def test_an_empty_file_beside_its_index_is_refused(ms1m: Path) -> None:
    ms1m.write_bytes(b"")
    with pytest.raises(InputError, match="Expected records in"):
        samples.list_samples(str(ms1m))


def test_most_of_a_database_may_be_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {key: image_record([key], png(key)) for key in range(9)})
    path.write_bytes(path.read_bytes()[: len(image_record([0], png(0))) + 9])
    assert kept(path) == [0]
    path.with_suffix(".idx").unlink()
    assert kept(path) == [0]


def test_wrong_offsets_are_looked_for_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {key: image_record([key], png(key)) for key in range(3)})
    index = path.with_suffix(".idx")
    lines = index.read_text().splitlines()
    index.write_text("\n".join([lines[0], "1\t-8", lines[2]]))
    assert kept(path) == [0, 1, 2]
    assert "points to places where no record can begin" in recordio.complaints(path)[0]


@pytest.mark.parametrize("place", [0, 4, 8])  # the magic, the length, the header
@pytest.mark.parametrize("lost", [0, 1, 3, 6])
@pytest.mark.parametrize("is_numbered", [True, False])
def test_without_an_index_only_the_damaged_record_is_lost(
    tmp_path: Path, place: int, lost: int, is_numbered: bool
) -> None:
    split = {3: b"abcd" + MAGIC + b"efgh" + MAGIC + b"tail"}
    contents = {key: split.get(key, png(key)) for key in range(7)}
    make = [numbered([key], key + 1, image) if is_numbered else image_record([key], image)
            for key, image in contents.items()]  # fmt: skip
    path = write(tmp_path / "db", dict(enumerate(make)))
    offsets = np.cumsum([0, *map(len, make)])
    path.with_suffix(".idx").unlink()
    content = bytearray(path.read_bytes())
    content[offsets[lost] + place : offsets[lost] + place + 3] = b"\xff\xff\xff"
    path.write_bytes(bytes(content))
    with recordio.RecordFile(path) as records:
        assert records.offsets.tolist() == offsets[:-1].tolist()
        assert records.keys.tolist() == [key + is_numbered for key in range(7)] or (is_numbered and lost == 0)
        for key, image in contents.items():
            if key != lost:
                assert records.read(int(records.keys[key]))[1] == image


def test_parts_of_two_records_are_not_joined(tmp_path: Path) -> None:
    first = record(struct.pack("<IfQQ", 0, 1, 0, 0) + b"abcd" + MAGIC + b"rest")
    path = write(tmp_path / "db", {0: first[:-12], 1: image_record([2], png(2))})  # its last part is lost
    assert kept(path) == [1]
    path.with_suffix(".idx").unlink()
    assert kept(path) == [1]


def test_keys_with_gaps_and_repetitions(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {key: image_record([key], png(key)) for key in (90, 7, 5, 11)})
    index = path.with_suffix(".idx")
    offset = index.read_text().splitlines()[0].split("\t")[1]
    index.write_text(index.read_text() + f"90\t{offset}\n")
    with recordio.RecordFile(path) as records:
        assert records.keys.tolist() == [5, 7, 11, 90]
        assert records.keys.dtype == records.offsets.dtype == np.int64  # 16 bytes a record, not the 160 of a dict
        assert records.first_labels(np.array([7, 5, 11, 90]))[0].tolist() == [7, 5, 11, 90]
        for key in (4, 6, 91):
            with pytest.raises(InputError, match="index, received"):
                records.read(key)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda lines: lines[:4], "lacks records"),
        (lambda lines: [*lines[:2], *lines[4:]], "lacks records"),
        (lambda lines: lines[3:], "lacks the first record"),
        (lambda lines: [*lines, "3\t0"], "repeats records"),
        (lambda lines: [*lines[:-1], "6\t0"], "repeats records"),
        (lambda lines: [lines[0], *(f"{k}\t{8 * k}" for k in range(1, 7))], "lacks records"),
        (lambda lines: [*lines[:3], "3\t99999996", *lines[4:]], "lacks records"),
    ],
)
def test_an_index_of_another_file_is_not_believed(
    tmp_path: Path, change: Callable[[list[str]], list[str]], complaint: str
) -> None:
    path = write(tmp_path / "db", {key: numbered([key // 2], key, png(key)) for key in range(7)})
    index = path.with_suffix(".idx")
    assert recordio.complaints(path) == []
    index.write_text("\n".join(change(index.read_text().splitlines())))
    assert complaint in recordio.complaints(path)[0]
    table = samples.list_samples(str(path))
    assert table.identity.tolist() == [f"{key // 2:07d}" for key in range(7)]
    assert kept(path) == list(range(7))


def test_labels_that_do_not_tell_people_apart_are_unknown(tmp_path: Path) -> None:
    for name, labels in {"zero": [0, 0, 0], "minus": [-1, -1, -1], "ages": [20.5, 21.25, 20.5]}.items():
        path = write(tmp_path / name, {key: image_record([label], png(key)) for key, label in enumerate(labels)})
        assert samples.list_samples(str(path)).identity.tolist() == ["?0", "?1", "?2"]
        assert "unknown" in recordio.complaints(path)[0]
    path = write(tmp_path / "some", {key: image_record([label], png(key)) for key, label in enumerate([4, -1, 5])})
    assert samples.list_samples(str(path)).identity.tolist() == ["0000004", "?1", "0000005"]


def test_a_damaged_image_is_rejected_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {0: image_record([0], png(1)), 1: image_record([1], b"junk")})
    reader = images.FaceReader()
    ((rows, _),) = reader.batches(samples.list_samples(str(path)), 8)
    assert rows.tolist() == [0]
    assert reader.rejected[0].location == "db/1"


def test_labels_are_those_of_the_whole_record(tmp_path: Path) -> None:
    contents = {1: [3.0], 2: [1.0, 2.0, 7.5], 3: [float(np.frombuffer(MAGIC, "<f4")[0]), 1.0]}
    path = write(tmp_path / "db", {key: image_record(labels, png(key)) for key, labels in contents.items()})
    with recordio.RecordFile(path) as records:
        for key, labels in contents.items():  # the third is split by the magic within its labels
            np.testing.assert_array_equal(records.read(key)[0], np.float32(labels))
        first, reason = records.first_labels(np.array(list(contents)))
        assert (first.tolist(), reason) == ([np.float32(labels[0]) for labels in contents.values()], "")


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
        expected = dict(zip(indexed.keys.tolist(), indexed.offsets.tolist(), strict=True))
    path.with_suffix(".idx").unlink()
    with recordio.RecordFile(path) as scanned:
        assert dict(zip(scanned.keys.tolist(), scanned.offsets.tolist(), strict=True)) == expected
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
        assert database.image_keys().tolist() == [16777214, 16777215, 16777216]


def test_some_damaged_records_do_not_stop_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "db", {key: image_record([key], png(key)) for key in range(5)})
    index = path.with_suffix(".idx")
    lines = index.read_text().splitlines()
    index.write_text("\n".join([*lines[:3], "3\t99999999", lines[4]]) + "\n")  # past the end
    table = samples.list_samples(str(path))
    assert table.identity.tolist() == ["0000000", "0000001", "0000002", "0000003", "0000004"]
    ((rows, _),) = images.FaceReader().batches(table, 8)
    assert rows.tolist() == [0, 1, 2, 3, 4]  # the file itself says where its records are
