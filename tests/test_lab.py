"""What is committed for the first command: the lab model, its training set and its bundle belong together."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import zoo
from mint_keras.commands.score import Score, score
from mint_keras.data import images, sample_tables, samples, splits
from mint_keras.edge import bundle
from mint_keras.runs import paper_runs

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / zoo.LAB
BUNDLE = ROOT / "export" / "lab"


@pytest.fixture(scope="module")
def manifest() -> dict:
    return formats.read_manifest(MODEL, zoo.KIND)


@pytest.mark.parametrize("folder", paper_runs.LAB_MODELS.values(), ids=str)
class TestLabModels:
    def test_model_fits_its_manifest_and_is_small(self, folder: Path) -> None:
        assert zoo.load_audited(ROOT / folder).count_params() == 712_304
        assert (ROOT / folder / "model.keras").stat().st_size < 4 * 2**20
        assert "trained on 3000 images of 300 identities" in (ROOT / folder / "card.md").read_text()

    def test_members_follow_from_the_seed(self, folder: Path) -> None:
        manifest = formats.read_manifest(ROOT / folder, zoo.KIND)
        table = samples.list_samples(manifest["config"]["data"])
        assert samples.fingerprint(table) == manifest["inputs"]["data"]
        rng = np.random.default_rng(manifest["config"]["seed"])
        is_member = splits.split_people(table.people(), manifest["config"]["split_identities"], rng)
        for name, rows in (("members.parquet", is_member), ("held_out.parquet", ~is_member)):
            there = sample_tables.read_samples(ROOT / folder / name).location
            np.testing.assert_array_equal(there, table.take(rows).location)


@pytest.mark.long
def test_training_pixels_are_drawn_again_to_the_last_bit(manifest: dict) -> None:
    reader = images.FaceReader()
    num = sum(len(rows) for rows, _ in reader.batches(sample_tables.read_samples(MODEL / "members.parquet"), 256))
    assert num == manifest["num_members"]
    assert reader.digest == manifest["members_pixels_sha256"]


def test_bundle_scores_its_samples(tmp_path: Path) -> None:
    manifest = formats.read_manifest(BUNDLE, bundle.KIND)
    assert manifest["inputs"]["audited"] == formats.sha256_file(MODEL / "model.keras")
    text = score(Score(BUNDLE, (str(BUNDLE / "samples"),), tmp_path / "out", quiet=True)).text
    assert "Photos with a usable face: 8 of 8" in text
