"""Shards on disk: rows are read as NumPy would, what is damaged or foreign is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.aad import store
from mint_keras.data import sample_tables, synthetic
from mint_keras.records import InputError, RefusedError, Rejected

NUM, SIZE = 23, 5
VALUES = {
    "conv1": np.random.default_rng(1).normal(size=(NUM, 3, 3, 2)).astype(np.float16),
    "outcome": np.random.default_rng(2).normal(size=(NUM, 4)).astype(np.float32),
}
TABLE = synthetic.sample_table(f"synthetic:1/web/0-{NUM}/1")  # one more than is usable
MANIFEST = formats.make_manifest(store.KIND, {"samples": "abc"}, {"taps": ["conv1", "outcome"]})


def write(folder: Path) -> Path:
    """A store of five shards, of which sample 7 has been rejected."""
    store.begin(folder, TABLE, SIZE)
    usable = np.delete(np.arange(NUM + 1), 7)
    for shard in range(5):
        rows = np.flatnonzero((usable >= shard * SIZE) & (usable < (shard + 1) * SIZE))
        with store.ShardWriter(folder, shard, len(rows)) as writer:
            for row in rows:  # batches of one
                for name, values in VALUES.items():
                    writer.append("audited", name, values[row : row + 1])
            rejected = [Rejected("gone.png", "not there")] if shard == 1 else []
            writer.commit(
                {
                    "used": (usable[rows] - shard * SIZE).tolist(),
                    "rejected": [[entry.location, entry.reason] for entry in rejected],
                    "resized": {"web": 1},
                    "pixels_sha256": str(shard),
                }
            )
    store.finish(folder, MANIFEST, TABLE, SIZE)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "aad")


def opened(folder: Path) -> store.AadStore:
    found = store.open_store(folder, MANIFEST["fingerprint"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(-3, None),
        slice(0, 0),
        np.array([22, 0, 0, 11, 12, 13, 4, 5]),
        np.arange(NUM) % 3 == 0,
        np.random.default_rng(3).permutation(NUM),
        np.array([-1, 2]),
    ],
    ids=str,
)
def test_rows_are_read_as_numpy_reads_them(folder: Path, rows: np.ndarray | slice) -> None:
    for name, values in VALUES.items():
        array = opened(folder).arrays["audited"][name]
        assert array.shape == values.shape
        assert array.dtype == values.dtype
        np.testing.assert_array_equal(array[rows], values[rows])


def test_chosen_rows_are_rows_of_the_choice(folder: Path) -> None:
    rows = np.array([20, 3, 9])
    array = opened(folder).arrays["audited"]["conv1"].take(rows)
    assert array.shape == (3, 3, 3, 2)
    np.testing.assert_array_equal(array[np.array([2, 0])], VALUES["conv1"][[9, 20]])


def test_arrays_are_plain_npy_files(folder: Path) -> None:
    mapped = np.load(store.shard_folder(folder, 2) / "audited" / "conv1.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(mapped, VALUES["conv1"][9:14])


def test_any_order_of_many_rows(folder: Path) -> None:
    rows = np.random.default_rng(4).integers(0, NUM, 200)
    for name, values in VALUES.items():
        array = opened(folder).arrays["audited"][name]
        np.testing.assert_array_equal(array[rows], values[rows])
        np.testing.assert_array_equal(array.take(np.arange(NUM)[::-1])[3:9], values[::-1][3:9])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_no_file_stays_open(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    arrays = opened(folder).arrays["audited"]
    assert all(len(array[:]) == NUM for array in arrays.values())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_index_says_where_each_sample_is(folder: Path) -> None:
    import pyarrow.parquet

    index = pyarrow.parquet.read_table(folder / store.INDEX).to_pydict()
    assert index["shard"] == [0] * 5 + [1] * 4 + [2] * 5 + [3] * 5 + [4] * 4
    assert index["row"][5:10] == [0, 1, 2, 3, 0]
    assert index["sample_id"] == np.delete(TABLE.sample_id, 7).tolist()
    assert opened(folder).table.sample_id.tolist() == index["sample_id"]
    assert "gone.png" in (folder / "rejected.csv").read_text()
    assert opened(folder).manifest["resized"] == {"web": 5}
    assert len(sample_tables.read_samples(folder / formats.SAMPLES)) == NUM + 1
    part = sample_tables.read_samples(folder / formats.SAMPLES, part=1)
    assert part.sample_id.tolist() == TABLE.sample_id[5:10].tolist()


def test_an_unfinished_store_is_no_store(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    assert store.open_store(folder) is None
    formats.write_json(folder / "manifest.json", MANIFEST)  # as it is while shards are being written
    assert store.open_store(folder) is None
    with pytest.raises(InputError, match="finished AAD store"):
        store.verify(folder)


def test_a_store_of_other_inputs_is_refused(folder: Path) -> None:
    with pytest.raises(RefusedError, match="other inputs"):
        store.open_store(folder, "another")


def test_every_byte_is_verified(folder: Path) -> None:
    paths = list(folder.rglob("*.npy"))
    verified = store.verify(folder)
    assert sorted(path for path, _ in verified.files) == sorted(paths)
    assert verified.num_bytes == opened(folder).num_bytes == sum(path.stat().st_size for path in paths)
    path = store.shard_folder(folder, 3) / "audited" / "outcome.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    opened(folder)  # which looks at sizes only
    with pytest.raises(RefusedError, match=r"1 files were changed.*000003/audited/outcome.npy"):
        store.verify(folder)


def test_missing_or_short_files_are_named(folder: Path) -> None:
    path = store.shard_folder(folder, 0) / "audited" / "conv1.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"bytes at .*000000/audited/conv1.npy"):
        opened(folder)
    path.unlink()
    with pytest.raises(InputError, match="received none"):
        opened(folder)


@pytest.mark.parametrize("name", [store.INDEX, f"shards/000002/{store.RECORD}"])
def test_a_changed_index_or_record_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    if name.endswith(".json"):
        record = json.loads(path.read_text())
        record["num_rows"] += 1
        path.write_text(json.dumps(record))
    else:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RefusedError, match="changed after it was written"):
        opened(folder)


def test_records_cannot_point_elsewhere(folder: Path) -> None:
    record_path = store.shard_folder(folder, 0) / store.RECORD
    record = json.loads(record_path.read_text())
    record["arrays"] = {"../../../secret.npy": {"bytes": 1, "sha256": ""}}
    record_path.write_text(json.dumps(record))
    manifest = json.loads((folder / "manifest.json").read_text())
    records = [json.loads((store.shard_folder(folder, k) / store.RECORD).read_text()) for k in range(5)]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"shards_sha256": formats.sha256_json(records)}))
    with pytest.raises(InputError, match="MODEL/NAME"):
        opened(folder)


def test_a_shard_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), store.ShardWriter(tmp_path, 0, 2) as writer:
        writer.append("audited", "conv1", VALUES["conv1"][:1])
        raise KeyboardInterrupt
    assert not store.is_written(tmp_path, 0)
    assert list((tmp_path / "shards").iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "shards" / ".000003.abc" / "audited"
    left.mkdir(parents=True)
    (left / "conv1.npy").write_bytes(b"half")
    store.begin(tmp_path, TABLE, SIZE)
    assert list((tmp_path / "shards").iterdir()) == []


def test_the_first_of_two_workers_wins(tmp_path: Path) -> None:
    met = {"used": [0], "rejected": [], "resized": {}, "pixels_sha256": ""}
    for _ in range(2):
        with store.ShardWriter(tmp_path, 0, 1) as writer:
            writer.append("audited", "conv1", VALUES["conv1"][:1])
            writer.commit(met)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["000000"]
