"""Export: one TFLite file from pixels to scores, in every precision, proven on held-out faces."""

import dataclasses
import json
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras import score_files
from mint_keras.audited import iresnet, litert, taps
from mint_keras.commands import export_tflite as stage
from mint_keras.commands.export_tflite import ExportTflite, export_tflite
from mint_keras.data import images, synthetic
from mint_keras.edge import bundle, export, scorer
from mint_keras.heads import cnn, specs, vanilla
from mint_keras.records import InputError, RefusedError
from mint_keras.runs.run import choose_samples
from mint_keras.runs.spec import read_spec
from mint_keras.statistics import division
from tests.statistics.worlds import draw


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.stack([synthetic.render(f"synthetic:1/phone/{k}/0") for k in range(6)])


def network(size: int = 112) -> keras.Model:
    return iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), size)


@pytest.fixture(scope="module")
def fused() -> keras.Model:
    keras.utils.set_random_seed(1)
    extractor = taps.extractor(network(), ["conv1"])
    return export.fuse(extractor, cnn.build({"conv1": extractor.output["conv1"].shape[1:]}))


@pytest.fixture(scope="module")
def plain(fused: keras.Model) -> bytes:
    return litert.to_tflite(fused)


def run(content: bytes, faces: np.ndarray, folder: Path) -> np.ndarray:
    (folder / bundle.SCORER).write_bytes(content)
    return scorer.TfliteScorer(folder / bundle.SCORER).logits(faces)


@pytest.mark.parametrize("head", ["vanilla", "cnn"])
def test_fused_model_and_tflite_equal_the_parts(head: str, faces: np.ndarray, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    names, pooling = (["conv1", "outcome"], "max") if head == "vanilla" else (["conv1", "conv2"], None)
    extractor = taps.extractor(network(), names, pooling)
    shapes = {tap: extractor.output[tap].shape[1:] for tap in names}
    model = (vanilla if head == "vanilla" else cnn).build(shapes)
    joined = export.fuse(extractor, model)
    outputs = joined(faces)
    np.testing.assert_allclose(outputs["score"], model(extractor(iresnet.normalise(faces))), atol=1e-6)
    np.testing.assert_allclose(run(litert.to_tflite(joined), faces, tmp_path), outputs["logit"][:, 0], atol=1e-5)


@pytest.mark.parametrize("head", ["cnn_counted_x3", "vit_reduced"])
@pytest.mark.long
def test_heads_of_table_7_as_tflite(head: str, faces: np.ndarray, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    extractor = taps.extractor(iresnet.build("tiny"), ["conv3"])
    joined = export.fuse(extractor, specs.find(head).build({"conv3": (14, 14, 16)}))
    logits = joined(faces)["logit"][:, 0]
    assert np.ptp(logits) > 1e-4
    tolerance = 1e-5 * max(1.0, np.abs(logits).max())
    np.testing.assert_allclose(run(litert.to_tflite(joined), faces, tmp_path), logits, atol=tolerance)


# Measured on other weights: half of these differences. Each is under a tenth of the logits' spread but for int8's.
@pytest.mark.parametrize(
    ("precision", "share", "size"),
    [("fp32", 1e-5, 1.01), ("fp16", 0.01, 0.6), ("int8_dynamic", 0.1, 0.4), ("int8", 0.5, 0.4), ("mixed", 0.5, 1.0)],
)
def test_precisions(
    precision: str, share: float, size: float, fused: keras.Model, plain: bytes, faces: np.ndarray, tmp_path: Path
) -> None:
    expected = np.asarray(fused(faces)["logit"])[:, 0]
    content = export.in_precision(plain, precision, "cnn", faces)
    received = run(content, faces, tmp_path)
    assert np.abs(received - expected).max() <= share * np.ptp(expected)
    assert len(content) <= size * len(plain)
    assert not [kind for kind, _ in litert.operations(content) if "Flex" in kind or "CUSTOM" in kind]


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_scores_stay_float32_under_int8(precision: str, plain: bytes, faces: np.ndarray) -> None:
    content = export.in_precision(plain, precision, "cnn", faces)
    model = litert.open_plain(content)
    details = model.get_signature_runner().get_output_details()
    assert {name: entry["dtype"] for name, entry in details.items()} == {"logit": np.float32, "score": np.float32}
    types = {entry["index"]: entry["dtype"] for entry in model.get_tensor_details()}
    given = [types[entry["outputs"][0]] for entry in model._get_ops_details() if entry["op_name"] == "CONV_2D"]
    assert set(given) == ({np.int8} if precision == "int8" else {np.int8, np.float32})
    assert [kind for kind, _ in litert.operations(content)][-2:] == ["FULLY_CONNECTED", "LOGISTIC"]


def test_mixed_refuses_a_model_whose_parts_it_cannot_find(plain: bytes, faces: np.ndarray) -> None:
    with pytest.raises(InputError, match="head 'other'"):
        export.in_precision(plain, "mixed", "other", faces)


def test_unknown_precision_and_missing_faces(plain: bytes) -> None:
    with pytest.raises(InputError, match="int4"):
        litert.quantise(plain, "int4")
    with pytest.raises(InputError, match="representative"):
        litert.quantise(plain, "int8")


def test_one_file_takes_any_number_of_faces(plain: bytes, fused: keras.Model, faces: np.ndarray) -> None:
    from ai_edge_litert.interpreter import Interpreter

    run_all = Interpreter(model_content=plain).get_signature_runner()
    np.testing.assert_allclose(run_all(faces=faces)["logit"], fused(faces)["logit"], atol=1e-5)


def test_faces_are_enlarged_for_a_model_of_more_pixels(faces: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    extractor = taps.extractor(network(160), ["conv1"], "max")
    head = vanilla.build({"conv1": extractor.output["conv1"].shape[1:]})
    enlarged = np.stack([images.Framing(160).apply(face) for face in faces])  # rounded to whole numbers there
    expected = head.predict(extractor.predict(iresnet.normalise(enlarged), verbose=0), verbose=0)
    found = export.fuse(extractor, head).predict(faces, verbose=0)["score"]
    np.testing.assert_allclose(found, expected, atol=0.002)


def test_operations_outside_tflite_are_refused() -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Lambda(lambda v: keras.ops.erfinv(v * 0.1), output_shape=(192,))(x)
    logit = keras.layers.Dense(1)(x)
    model = keras.Model(inputs, {"logit": logit, "score": keras.ops.sigmoid(logit)})
    with pytest.raises(RefusedError, match="built into TFLite"):
        litert.to_tflite(model)


@pytest.fixture
def no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they do not matter, costs are not measured."""
    latency = {threads: {"p50": 1.0, "p95": 1.0} for threads in ("1", "2")}
    costs = {"latency_ms": latency, "rss_mib": None}
    monkeypatch.setattr(scorer, "costs", lambda models, faces: dict.fromkeys(models, costs))


class TestStage:
    """Bundles of the small run."""

    def export(self, run_folder: Path, out: Path, **options: object) -> str:
        return export_tflite(ExportTflite(run_folder, out, tap="conv4", quiet=True, **options)).text

    def test_the_manifest_says_what_was_measured(self, exported_folder: Path) -> None:
        out, text = exported_folder, exported_folder.with_suffix(".txt").read_text()
        made = bundle.read_bundle(out)
        found = made.manifest["parity"]
        assert (made.head, made.tap, made.seed, made.manifest["exported_as"]) == ("vanilla", "combination", 1, "fp32")
        assert (found["refused"], found["auc_tolerance"], found["decision_flips"]) == ("", 0.005, 0)
        assert found["bytes"] == (out / bundle.SCORER).stat().st_size
        assert 0 < found["max_logit_difference"] < 1e-4
        assert found["operations"]["CONV_2D"] > 1
        assert {0 < found["latency_ms"][threads]["p50"] < 1000 for threads in ("1", "2")} == {True}
        assert 20 < found["rss_mib"] < 300
        assert set(found["evaluations"]) == {"unseen_database", "same_database", "familiar"}
        assert "fp32*" in text
        assert sorted(p.name for p in (out / "samples").iterdir()) == [
            "external_0.png", "external_1.png", "member_0.png", "member_1.png",
        ]  # fmt: skip

    def test_laptop_scores_equal_the_runs(self, run_folder: Path, exported_folder: Path) -> None:
        """Every test face of the run, from pixels, against scores.csv."""
        parts = score_files.read_scores(run_folder / "scores.csv")
        key = ("vanilla", "audited", "combination", "unseen_database")
        (main,) = [p for p in parts if (p.scorer, p.model, p.tap, p.evaluation) == key]
        read = images.FaceReader()
        names = [sample_id.split("-") for sample_id in main.samples.sample_id]
        faces = [read.image(f"synthetic:{seed}/{data}/{int(who)}/{int(k)}") for seed, data, who, k in names]
        received = scorer.TfliteScorer(exported_folder / bundle.SCORER).logits(np.stack(faces))
        np.testing.assert_allclose(received, main.logit, atol=1e-5)

    @pytest.mark.long
    def test_what_drops_the_auc_is_refused_unless_forced(
        self, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_costs: None
    ) -> None:
        """A conversion that turns scores around."""
        real = export.TfliteScorer

        class Wrong(real):  # type: ignore[misc, valid-type]
            def logits(self, faces: np.ndarray) -> np.ndarray:
                return -super().logits(faces)

        monkeypatch.setattr(export, "TfliteScorer", Wrong)
        with pytest.raises(RefusedError, match=r"fp32: its AUC on \w+ dropped by"):
            self.export(run_folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        self.export(run_folder, tmp_path / "out", force=True)
        assert "dropped" in bundle.read_bundle(tmp_path / "out").manifest["parity"]["refused"]

    @pytest.mark.slow
    def test_a_dead_head_is_refused(self, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from mint_keras.scorers import head as heads

        load = heads.load_model

        def dead(path: Path) -> keras.Model:
            head = load(path)
            kernel, bias = head.get_layer("logit").get_weights()
            head.get_layer("logit").set_weights([0 * kernel, bias])
            return head

        monkeypatch.setattr(heads, "load_model", dead)
        with pytest.raises(RefusedError, match="tells faces apart"):
            self.export(run_folder, tmp_path / "out")

    @pytest.mark.long
    def test_sweep(self, run_folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "sweep"
        text = self.export(run_folder, out, sweep=True, tolerance=1.0)
        found = json.loads((out / stage.SWEEP).read_text())
        assert list(found["artefacts"]) == sorted(export.ARTEFACTS)
        best = found["recommended"]
        medians = {name: record["latency_ms"]["1"]["p50"] for name, record in found["artefacts"].items()}
        assert medians[best] == min(medians.values())
        made = bundle.read_bundle(out)
        assert made.manifest["exported_as"] == best
        names = {bundle.SCORER, bundle.CALIBRATION, bundle.CARD, stage.SWEEP, stage.SWEEP_TABLE}
        assert set(made.manifest["files"]) == names
        assert (out / stage.SWEEP_TABLE).read_text().rstrip() in text

    def test_unknown_head(self, run_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="conv4"):
            export_tflite(ExportTflite(run_folder, tmp_path / "out", tap="conv2"))
        with pytest.raises(InputError, match="of seed 9"):
            self.export(run_folder, tmp_path / "out", head_seed=9)
        assert not (tmp_path / "out").exists()


def test_logits_that_are_no_numbers_are_refused(run_folder: Path) -> None:
    protocol = choose_samples(read_spec(run_folder))
    head = export.TrainedHead("vanilla", "conv4", 1, None, None)  # type: ignore[arg-type] # only its name counts
    faces = export.ComparedFaces(protocol, np.zeros(0), np.zeros(0))
    logit = np.zeros(len(protocol.table))
    assert faces.scores(head, [logit])
    logit[:3] = np.nan
    with pytest.raises(RefusedError, match=f"NaN or infinity for 3 of {len(logit)}"):
        faces.scores(head, [logit])


@pytest.mark.parametrize("is_wrong_where_it_is_chosen", [True, False])
def test_a_precision_is_not_chosen_on_whom_it_reports(
    is_wrong_where_it_is_chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = draw((20, 20), 3, 2.0, np.random.default_rng(1))
    divided = division.of_all([part, dataclasses.replace(part, evaluation="familiar")], 1)
    assert set(divided.validation) == set(division.divide(part, 1).validation)
    is_lost = np.isin(part.samples.people(), divided.validation) == is_wrong_where_it_is_chosen
    given = dataclasses.replace(part, logit=np.where(is_lost, -part.logit, part.logit))
    faces = types.SimpleNamespace(pixels=np.zeros((1, 1)), representative=np.zeros(1), scores=lambda *_: [given])
    monkeypatch.setattr(export, "TfliteScorer", lambda file: None)
    monkeypatch.setattr(litert, "operations", lambda content: [])
    monkeypatch.setattr(scorer, "costs", lambda files, few: {})
    (tmp_path / "int8").touch()
    files, head = {"int8": tmp_path / "int8"}, export.TrainedHead("vanilla", "conv4", 1, None, None)  # type: ignore[arg-type]
    record = export.measure(head, files, faces, [part], 0.005, divided)["int8"]  # type: ignore[arg-type]
    assert bool(record["refused"]) == is_wrong_where_it_is_chosen
    assert record["faces"] == 2 * 3 * 12  # those of the other people
    (found,) = record["evaluations"].values()
    assert (found["auc_change"][0] < -0.1) != is_wrong_where_it_is_chosen


@pytest.mark.parametrize("wrong", [{"tolerance": float("nan")}, {"tolerance": -1.0}, {"num_test": 0}])
def test_numbers_are_refused_at_the_door(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError, match="--tolerance"):
        export_tflite(ExportTflite(tmp_path / "none", tmp_path / "out", **wrong))
    assert not (tmp_path / "out").exists()
