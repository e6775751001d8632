"""From samples to shards: values, order, rejected samples, batches that do not depend on where a run was cut off."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.aad import extract, models, plan, store
from mint_keras.audited import iresnet, taps
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import synthetic
from mint_keras.records import InputError, SampleTable, concatenate_tables
from tests.runs.small_model import network

LAYOUT = extract.Layout(batch_size=4, shard_size=10, dtype="float32")


@pytest.fixture(scope="module")
def extractor():
    return taps.extractor(network(), ["conv4", "outcome"])


@pytest.fixture(scope="module")
def functions(extractor) -> Mapping[str, FaceFunction]:
    return models.face_functions(models.ModelSpec(Path(), ()), {"audited": extractor})


def lab(num: int) -> SampleTable:
    return synthetic.sample_table(f"synthetic:1/web/0-{num - 1}/1")


def gone(folder: Path, name: str = "gone") -> SampleTable:
    return SampleTable(*(np.array([value]) for value in (name, "web", "x", str(folder / f"{name}.png"))))


def run(table: SampleTable, functions, folder: Path, layout: extract.Layout = LAYOUT) -> store.AadStore:
    extract.extract(table, functions, folder, layout)
    store.finish(folder, formats.make_manifest(store.KIND, {}, {}), table, layout.shard_size)
    opened = store.open_store(folder)
    assert opened is not None
    return opened


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_values_are_the_models_own(extractor, functions, tmp_path: Path) -> None:
    table = lab(23)  # three shards, none of which fills its last batch
    done: list[int] = []
    extract.extract(table, functions, tmp_path / "aad", LAYOUT, done.append)
    assert sum(done) == 23
    aad = run(table, functions, tmp_path / "aad")
    faces = np.stack([synthetic.render(location) for location in table.location])
    expected = extractor(iresnet.normalise(faces))
    for tap, values in aad.arrays["audited"].items():
        assert len(values) == len(table)
        np.testing.assert_allclose(values[:], expected[tap], atol=1e-5)


def test_maps_are_halved_and_vectors_and_pixels_kept(functions, tmp_path: Path) -> None:
    aad = run(lab(2), {**functions, **models.keep_pixels()}, tmp_path, extract.Layout())
    types = {name: values.dtype for named in aad.arrays.values() for name, values in named.items()}
    assert types == {"conv4": np.float16, "outcome": np.float32, "pixels": np.uint8}
    np.testing.assert_array_equal(aad.arrays["pixels"]["pixels"][1:][0], synthetic.render("synthetic:1/web/1/0"))
    assert plan.bytes_per_sample(functions, np.zeros((2, 112, 112, 3), np.uint8)) == 7 * 7 * 16 * 2 + 8 * 4


def test_rejected_samples_leave_no_row(functions, tmp_path: Path) -> None:
    table = concatenate_tables([lab(2), gone(tmp_path), lab(12).take(np.arange(2, 12)), gone(tmp_path, "last")])
    aad = run(table, functions, tmp_path / "aad")
    assert aad.table.sample_id.tolist() == lab(12).sample_id.tolist()
    assert aad.manifest["rejected"] == 2
    assert "\ngone," in (tmp_path / "aad" / "rejected.csv").read_text()
    whole = run(lab(12), functions, tmp_path / "whole")
    np.testing.assert_allclose(aad.arrays["audited"]["outcome"][:], whole.arrays["audited"]["outcome"][:], atol=1e-5)


def test_a_shard_without_a_usable_sample(functions, tmp_path: Path) -> None:
    broken = concatenate_tables([gone(tmp_path, f"gone{k}") for k in range(10)])
    aad = run(concatenate_tables([broken, lab(3)]), functions, tmp_path / "aad")
    assert len(aad.table) == len(aad.arrays["audited"]["conv4"]) == 3


def test_nothing_usable(functions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is usable"):
        run(gone(tmp_path), functions, tmp_path / "aad")
    assert store.open_store(tmp_path / "aad") is None


def test_a_run_that_was_cut_off_ends_with_the_same_bytes(functions, tmp_path: Path) -> None:
    table = concatenate_tables([lab(21), gone(tmp_path)])
    run(table, functions, tmp_path / "whole")
    calls = []

    def cut_off(faces: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(len(faces))
        if len(calls) == 5:  # in the second shard
            raise KeyboardInterrupt
        return functions["audited"](faces)

    with pytest.raises(KeyboardInterrupt):
        extract.extract(table, {"audited": cut_off}, tmp_path / "again", LAYOUT)
    assert extract.missing_shards(tmp_path / "again", LAYOUT, len(table)) == [1, 2]
    assert set(calls) == {4}  # every batch is whole
    kept = store.shard_folder(tmp_path / "again", 0).stat().st_mtime_ns
    run(table, functions, tmp_path / "again")
    assert store.shard_folder(tmp_path / "again", 0).stat().st_mtime_ns == kept
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_a_worker_writes_the_same_shard(functions, tmp_path: Path) -> None:
    table = lab(12)
    run(table, functions, tmp_path / "whole")
    decoded = extract.decode(LAYOUT.part(table, 1), LAYOUT.framing)
    extract.write_shard(tmp_path / "worker", 1, decoded, functions, LAYOUT)
    name = "shards/000001/audited/conv4.npy"
    assert files(tmp_path / "worker")[name] == files(tmp_path / "whole")[name]


def test_overflow_is_an_error() -> None:
    with pytest.raises(InputError, match="float16"):
        store.cast(np.full((1, 1, 1, 1), 7e4, np.float32), "float16", "audited conv1")
    with pytest.raises(InputError, match="nan"):
        store.cast(np.array([[np.nan]], np.float32), "float32", "audited conv1")
