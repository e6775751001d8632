"""The calibration that a bundle carries: of people the head never saw, verified or silent."""

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.data import protocol as protocols
from mint_keras.edge import bundle, bundle_calibration
from mint_keras.edge.bundle_calibration import calibrate
from mint_keras.faces import quality
from mint_keras.records import Observations, Scores, concatenate_tables
from mint_keras.statistics import conformal
from tests.statistics.worlds import draw

NOBODY = np.array([], str)


def world(num_people: int, database: str, seed: int, shift: float = 0.0, num_photos: int = 3) -> Scores:
    part = draw((0, num_people), num_photos, 0.0, np.random.default_rng(seed), database=database, evaluation="x")
    return dataclasses.replace(part, logit=part.logit + np.float32(shift))


def measured(*parts: Scores, blur: float = 0.0) -> Observations:
    table = concatenate_tables([part.samples for part in parts])
    table = dataclasses.replace(table, sample_id=np.array([f"{k:05d}" for k in range(len(table))]))
    logit = np.concatenate([part.logit for part in parts])
    rng = np.random.default_rng(7)
    features = rng.normal(blur, 1, (len(table), len(quality.FEATURES)))
    return Observations(table, {bundle_calibration.LOGIT: logit, bundle_calibration.LOOKS: features})


def test_p_values_that_hold_are_given() -> None:
    found = calibrate(measured(world(300, "news", 1)), measured(world(400, "web", 2, shift=-0.5)), NOBODY)
    assert found.photos.silence == ""
    assert sorted(found.persons) == [2, 3]
    assert found.persons[3].silence == ""
    assert found.domain is not None
    assert len(found.photos.calibration.logits["news"]) > 280


def test_p_values_that_do_not_hold_are_not() -> None:
    found = calibrate(measured(world(300, "news", 1)), measured(world(400, "web", 2, shift=3.0)), NOBODY)
    assert "p-values are not given" in found.photos.silence
    assert all("p-values are not given" in one.silence for one in found.persons.values())


def test_without_held_out_people_each_database_is_tried_and_the_worst_counts() -> None:
    alike = [world(300, name, seed) for seed, name in enumerate(("news", "phone", "web"))]
    found = calibrate(measured(*alike), None, NOBODY)
    assert found.photos.silence == ""
    other = dataclasses.replace(alike[2], logit=alike[2].logit + np.float32(5))
    found = calibrate(measured(*alike[:2], other), None, NOBODY)
    assert found.photos.calibration.validity is not None
    assert found.photos.calibration.validity.database == "web"
    assert found.photos.silence
    found = calibrate(measured(alike[0]), None, NOBODY)
    assert found.photos.silence.startswith("No p-values: Expected people of another database")


def test_held_out_people_unlike_the_calibrations_are_not_tried() -> None:
    found = calibrate(measured(world(300, "news", 1)), measured(world(400, "web", 2), blur=50.0), NOBODY)
    assert found.photos.silence.startswith("No p-values: Expected people of another database")


def test_few_people_have_no_domain_and_no_persons() -> None:
    found = calibrate(measured(world(10, "news", 1)), measured(world(400, "web", 2)), NOBODY)
    assert found.domain is None
    assert found.persons == {}
    assert "Too few people for a p-value of 0.05" in found.photos.silence


def test_it_reads_what_it_writes() -> None:
    found = calibrate(measured(world(300, "news", 1)), measured(world(400, "web", 2)), NOBODY)
    found = dataclasses.replace(found, wording={name: name for name in bundle.WORDING})
    assert bundle.FieldCalibration.from_dict(found.to_dict()).to_dict() == found.to_dict()


def test_the_bundle_of_a_run(run_folder: Path, exported_folder: Path) -> None:
    """Its calibration people are the run's test externals, scored as in scores.csv."""
    found = bundle.read_bundle(exported_folder).calibration()
    assert found is not None
    parts = score_files.read_scores(run_folder / "scores.csv")
    key = ("vanilla", "audited", "combination", "unseen_database")
    (main,) = [p for p in parts if (p.scorer, p.model, p.tap, p.evaluation) == key]
    externals = main.logit[~np.asarray(main.is_member)]
    ((name, logits),) = found.photos.calibration.logits.items()
    assert name == "scan"
    assert np.abs(logits[:, None] - externals).min(axis=1).max() < 1e-5
    assert found.wording["limits"].startswith("Limits: this bundle speaks of one model only")


@pytest.mark.parametrize(
    ("config", "title", "licence"),
    [
        ({"card": "fr1"}, "IResNet-100, MS1MV3, ArcFace", "non-commercial research only"),
        ({"data": "synthetic:1/web/0-9/2"}, "lab model trained on drawn faces", "Apache-2.0"),
        ({"card": "/gone/mine.yaml", "data": "faces"}, "audited", "not known"),
    ],
)
def test_terms_of_the_audited_model(tmp_path: Path, config: dict, title: str, licence: str) -> None:
    formats.write_json(
        tmp_path / "audited" / "manifest.json",
        {"kind": "audited_model", "schema": formats.SCHEMA, "config": config, "inputs": {}},
    )
    found = bundle_calibration.describe_audited(tmp_path / "audited")
    assert title in found["title"]
    assert licence in found["licence"]


def test_what_a_bundle_says_of_single_photos_is_said_to_be_marginal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = {
        protocols.TEST_EXTERNALS: measured(world(300, "news", 1)),
        protocols.HELD_OUT: measured(world(400, "web", 2, shift=-0.5)),
    }
    monkeypatch.setattr(bundle_calibration, "TfliteScorer", lambda path: None)
    monkeypatch.setattr(bundle_calibration, "_observe", lambda scorer, protocol, part: observed[part])
    monkeypatch.setattr(bundle_calibration, "describe_audited", lambda folder: {"title": "a model", "licence": "mine"})
    table = observed[protocols.HELD_OUT].table
    protocol = types.SimpleNamespace(table=table.take(np.arange(0)), training_rows=lambda: (np.arange(0), np.zeros(0)))
    found = bundle_calibration.write(tmp_path, protocol, tmp_path)["calibration"]["photos"]  # type: ignore[arg-type]
    assert found.endswith(f"p-values can be used. {conformal.MARGINAL}")
    observed[protocols.HELD_OUT] = measured(world(400, "web", 2, shift=3.0))
    found = bundle_calibration.write(tmp_path, protocol, tmp_path)["calibration"]["photos"]  # type: ignore[arg-type]
    assert found.endswith("p-values are not given.")
