"""Export and offline scoring: the same scores as Keras, from pixels."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import iresnet, litert, taps
from mint_keras.data import images, synthetic
from mint_keras.edge import bundle, export, scorer
from mint_keras.heads import cnn, specs, vanilla
from mint_keras.records import InputError, RefusedError
from mint_keras.stages.export_tflite import ExportTflite, export_tflite


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.stack([synthetic.render(f"synthetic:1/phone/{k}/0") for k in range(6)])


@pytest.mark.parametrize("head", ["vanilla", "cnn"])
def test_fused_model_and_tflite_equal_the_parts(head: str, faces: np.ndarray, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    names, pooling = (["conv1", "outcome"], "max") if head == "vanilla" else (["conv3", "conv4"], None)
    extractor = taps.extractor(iresnet.build("tiny"), names, pooling)
    shapes = {tap: extractor.output[tap].shape[1:] for tap in names}
    model = (vanilla if head == "vanilla" else cnn).build(shapes)
    fused = export.fuse(extractor, model)
    outputs = fused(faces)
    np.testing.assert_allclose(outputs["score"], model(extractor(iresnet.normalise(faces))), atol=1e-6)
    difference = export.write_scorer(tmp_path, fused, faces)
    logits = scorer.Scorer(tmp_path / bundle.SCORER).logits(faces)
    np.testing.assert_allclose(logits, outputs["logit"][:, 0], atol=1e-5)
    assert difference <= 1e-5


@pytest.mark.parametrize("head", ["cnn_counted_x3", "vit_reduced"])
@pytest.mark.slow
def test_heads_of_table_7_as_tflite(head: str, faces: np.ndarray, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    extractor = taps.extractor(iresnet.build("tiny"), ["conv3"])
    fused = export.fuse(extractor, specs.find(head).build({"conv3": (14, 14, 16)}))
    logits = fused(faces)["logit"][:, 0]
    assert np.ptp(logits) > 1e-4
    assert export.write_scorer(tmp_path, fused, faces) <= 1e-5 * max(1.0, np.abs(logits).max())


def test_a_wrong_conversion_is_refused(faces: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = taps.extractor(iresnet.build("tiny"), ["outcome"], "max")
    right, wrong = (export.fuse(extractor, vanilla.build({"outcome": (16,)})) for _ in range(2))
    content = litert.to_tflite(wrong)
    monkeypatch.setattr(litert, "to_tflite", lambda model, precision: content)
    with pytest.raises(RefusedError, match="difference"):
        export.write_scorer(tmp_path, right, faces)
    assert list(tmp_path.iterdir()) == []


def test_operations_outside_tflite_are_refused() -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Lambda(lambda v: keras.ops.erfinv(v * 0.1), output_shape=(192,))(x)
    logit = keras.layers.Dense(1)(x)
    model = keras.Model(inputs, {"logit": logit, "score": keras.ops.sigmoid(logit)})
    with pytest.raises(RefusedError, match="built into TFLite"):
        litert.to_tflite(model)


@pytest.fixture(scope="module")
def bundle_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "lab"
    export_tflite(ExportTflite(run_folder, out, samples=2))
    return out


def test_bundle(bundle_folder: Path) -> None:
    assert sorted(p.name for p in (bundle_folder / "samples").iterdir()) == [
        "external_0.png", "external_1.png", "member_0.png", "member_1.png",
    ]  # fmt: skip
    loaded = bundle.read_bundle(bundle_folder)
    assert (loaded.head, loaded.tap, loaded.seed) == ("vanilla", "combination", 1)


def test_laptop_scores_equal_the_runs(run_folder: Path, tmp_path: Path) -> None:
    """Every test face of the run, written to PNG, scored by TFLite, against scores.csv."""
    out = tmp_path / "bundle"
    export_tflite(ExportTflite(run_folder, out, tap="conv4"))
    parts = formats.read_scores(run_folder / "scores.csv")
    (main,) = [p for p in parts if (p.scorer, p.tap, p.evaluation) == ("vanilla", "conv4", "unseen_database")]
    for sample_id in main.samples.sample_id:
        seed, database, person, index = sample_id.split("-")
        face = synthetic.render(f"synthetic:{seed}/{database}/{int(person)}/{int(index)}")
        images.write_png(tmp_path / "faces" / f"{sample_id}.png", face)
    scorer.score(scorer.Score(out, tmp_path / "scores", (str(tmp_path / "faces"),), quiet=True))
    (field,) = formats.read_scores(tmp_path / "scores" / "scores.csv")
    score_of = dict(zip(field.samples.identity, field.score, strict=True))
    received = [score_of[f"{sample_id}.png"] for sample_id in main.samples.sample_id]
    np.testing.assert_allclose(received, main.score, atol=1e-5)
    assert field.is_member is None


def test_half_precision(run_folder: Path, bundle_folder: Path, tmp_path: Path) -> None:
    export_tflite(ExportTflite(run_folder, tmp_path / "half", precision="fp16"))
    sizes = [(folder / bundle.SCORER).stat().st_size for folder in (tmp_path / "half", bundle_folder)]
    assert sizes[0] < 0.7 * sizes[1]


def test_unknown_head(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="conv4"):
        export_tflite(ExportTflite(run_folder, tmp_path / "out", tap="conv2"))
    assert not (tmp_path / "out").exists()


class TestScore:
    def score(self, bundle_folder: Path, out: Path, *paths: Path) -> str:
        return scorer.score(scorer.Score(bundle_folder, out, tuple(str(p) for p in paths), quiet=True))

    def test_one_image(self, bundle_folder: Path, tmp_path: Path) -> None:
        text = self.score(bundle_folder, tmp_path / "out", bundle_folder / "samples" / "member_0.png")
        assert "member_0.png" in text
        assert "not calibrated" in text

    def test_bad_files_are_listed_and_the_others_scored(self, bundle_folder: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(bundle_folder / "samples", tmp_path / "photos")
        (folder / "broken.jpg").write_bytes(b"junk")
        images.write_png(folder / "wide.png", np.zeros((60, 90, 3), np.uint8))
        with pytest.raises(InputError, match="2 of 6") as caught:
            self.score(bundle_folder, tmp_path / "out", folder)
        assert "4 images scored" in caught.value.done
        assert len((tmp_path / "out" / "rejected.csv").read_text().splitlines()) == 3
        assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 5

    def test_no_usable_file(self, bundle_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.jpg").write_bytes(b"junk")
        with pytest.raises(InputError, match="None of 1"):
            self.score(bundle_folder, tmp_path / "out", tmp_path / "broken.jpg")

    def test_a_resized_face_is_said(self, bundle_folder: Path, tmp_path: Path) -> None:
        images.write_png(tmp_path / "large.png", np.zeros((200, 200, 3), np.uint8))
        assert "without alignment" in self.score(bundle_folder, tmp_path / "out", tmp_path / "large.png")

    def test_a_changed_bundle_is_refused(self, bundle_folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(bundle_folder, tmp_path / "copy")
        with open(copy / bundle.SCORER, "r+b") as file:
            file.seek(1000)
            file.write(b"evil")
        with pytest.raises(RefusedError, match="SHA-256"):
            self.score(copy, tmp_path / "out", copy / "samples")

    def test_a_file_that_is_no_model(self, bundle_folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(bundle_folder, tmp_path / "copy")
        (copy / bundle.SCORER).write_bytes(b"no model")
        bundle.seal(copy, formats.read_json(copy / "manifest.json"))
        with pytest.raises(InputError, match="TFLite"):
            self.score(copy, tmp_path / "out", copy / "samples")

    def test_no_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"manifest\.json"):
            self.score(tmp_path, tmp_path / "out", tmp_path)
