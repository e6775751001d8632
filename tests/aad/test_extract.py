from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.aad import extract, store
from mint_keras.audited import iresnet, taps
from mint_keras.data import synthetic
from mint_keras.records import InputError, RefusedError, SampleTable, concatenate_tables


@pytest.fixture(scope="module")
def extractor():
    return taps.extractor(iresnet.build("tiny"), ["conv4", "outcome"])


def manifest() -> dict:
    return formats.make_manifest(store.KIND, {"samples": "abc"}, {"models": ["audited"], "taps": ["conv4", "outcome"]})


def lab(num: int) -> SampleTable:
    return synthetic.sample_table(f"synthetic:1/web/0-{num - 1}/1")


def run(table: SampleTable, extractor, folder: Path, dtype: str = "float16") -> store.AadStore:
    extract.extract(table, {"audited": extractor}, folder, manifest(), dtype)
    opened = store.open_store(folder, manifest()["fingerprint"])
    assert opened is not None
    return opened


def test_values_are_the_models_own_whatever_the_batch(extractor, tmp_path: Path) -> None:
    table = lab(extract.BATCH_SIZE + 3)  # the last batch is padded
    aad = run(table, extractor, tmp_path, "float32")
    faces = np.stack([synthetic.render(location) for location in table.location[-3:]])
    expected = extractor(iresnet.normalise(faces))
    for tap, values in aad.arrays["audited"].items():
        assert len(values) == len(table)
        np.testing.assert_allclose(values[-3:], expected[tap], atol=1e-5)
        assert isinstance(values, np.memmap)


def test_half_precision_by_default(extractor, tmp_path: Path) -> None:
    assert run(lab(2), extractor, tmp_path).arrays["audited"]["conv4"].dtype == np.float16


def test_rejected_samples_leave_no_row(extractor, tmp_path: Path) -> None:
    gone = SampleTable(*(np.array([v]) for v in ("gone", "web", "x", str(tmp_path / "gone.png"))))
    table = concatenate_tables([lab(2), gone, synthetic.sample_table("synthetic:1/web/7/0")])
    aad = run(table, extractor, tmp_path / "aad", "float32")
    assert aad.table.sample_id.tolist() == [*table.sample_id[:2], table.sample_id[3]]
    assert aad.manifest["rejected"] == 1
    assert "gone.png" in (tmp_path / "aad" / "rejected.csv").read_text()
    face = synthetic.render("synthetic:1/web/7/0")[None]
    np.testing.assert_allclose(
        aad.arrays["audited"]["outcome"][2], extractor(iresnet.normalise(face))["outcome"][0], atol=1e-5
    )


def test_nothing_usable(extractor, tmp_path: Path) -> None:
    gone = SampleTable(*(np.array([v]) for v in ("gone", "web", "x", str(tmp_path / "gone.png"))))
    with pytest.raises(InputError, match="none is usable"):
        extract.extract(gone, {"audited": extractor}, tmp_path / "aad", manifest())
    assert store.open_store(tmp_path / "aad", manifest()["fingerprint"]) is None


def test_overflow_is_an_error(extractor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="float16"):
        extract._cast(np.array([7e4], np.float32), "float16", "audited conv1")
    with pytest.raises(InputError, match="nan"):
        extract._cast(np.array([np.nan], np.float32), "float32", "audited conv1")


def test_an_unfinished_store_is_no_store(extractor, tmp_path: Path) -> None:
    run(lab(2), extractor, tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert store.open_store(tmp_path, manifest()["fingerprint"]) is None


def test_a_stale_store_is_refused(extractor, tmp_path: Path) -> None:
    run(lab(2), extractor, tmp_path)
    with pytest.raises(RefusedError, match="other inputs"):
        store.open_store(tmp_path, "another")


def test_a_damaged_store_is_named(extractor, tmp_path: Path) -> None:
    run(lab(2), extractor, tmp_path)
    path = store.array_path(tmp_path, "audited", "conv4")
    np.save(path, np.zeros((1, 2)))
    with pytest.raises(InputError, match="rows"):
        store.open_store(tmp_path, manifest()["fingerprint"])
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match="AAD array"):
        store.open_store(tmp_path, manifest()["fingerprint"])
