"""The validation of the auditor: its counts by hand, its verdicts on scores of known truth, and what it makes."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.data.worlds import KINDS
from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.stages.validation import deciding, options, scoring, stage, summary
from mint_keras.stages.validation.deciding import Decided
from mint_keras.stages.validation.options import ValidateAuditor, World
from mint_keras.stages.validation.stage import validate_auditor
from mint_keras.statistics import verdict
from mint_keras.statistics.intervals import Estimate
from tests.conftest import ROOT
from tests.statistics.worlds import draw

SCORERS = (("embedding_norm", "outcome"), ("mint_plus", "photo"), ("mint_plus", "person"))
NETWORKS = ("audited", "untrained_1", "foreign_2")


def scores_of_world(effect: float, raw: float, seed: int = 1) -> list[Scores]:
    """Scores as `scoring.score` gives them: an effect through the audited model only, and raw MINT of a size."""
    rng = np.random.default_rng(seed)

    def part(scorer: str, tap: str, effect: float, evaluation: str = "same_database") -> Scores:
        found = draw((60, 60), 2, effect, rng, scorer=scorer, evaluation=evaluation)
        return dataclasses.replace(found, tap=tap)

    found = [
        part(f"{scorer}:{network}", tap, effect if network == "audited" else 0.0)
        for scorer, tap in SCORERS
        for network in NETWORKS
    ]
    naive = part("vanilla", "combination", raw, "unseen_database")
    naive = dataclasses.replace(naive, logit=naive.logit - np.float32(raw / 2))
    return [*found, part("pixel statistics", "pixels", 0.0), naive]


def decided(world: str, outcome: str, low: float) -> Decided:
    raw = {"accuracy": Estimate(0.6, low, 0.7, 1), "auc": Estimate(0.6, 0.4, 0.7, 1)}
    reference = {"mint plus on photo": Estimate(0.6, 0.5, 0.7, 1)}
    return Decided(world, outcome, verdict.CANNOT_DECIDE, {}, reference, raw)


class TestWorlds:
    def test_the_default_ones(self) -> None:
        found = options.all_worlds(ValidateAuditor(Path("out")))
        assert len({world.name for world in found}) == 90
        assert collections.Counter(world.kind for world in found) == {
            "neither": 20, "shift": 20, "familiar": 20, "membership": 15, "both": 15,
        }  # fmt: skip
        of_model = collections.Counter((world.model, world.is_member) for world in found)
        assert set(of_model.values()) == {10, 5}

    def test_names(self) -> None:
        world = World(3, 7, "familiar")
        assert World.parse(world.name) == world
        for wrong in ("3-07", "3-07-flat", "x-07-both"):
            with pytest.raises(InputError, match="1-02-familiar"):
                World.parse(wrong)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_models": 7}, "2 to 6 audited models"),
            ({"num_null": 0}, "worlds of both kinds"),
            ({"photos": 6}, "1 to 5 photos"),
            ({"claimed": 60}, "more than 66 photos"),
            ({"worlds": ("flat",)}, "flat"),
            ({"worlds": ("both",), "quick": True}, "on its own"),
        ],
    )
    def test_bad_options_write_nothing(self, tmp_path: Path, changes: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            validate_auditor(ValidateAuditor(tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists()


class TestVerdicts:
    def test_a_member_and_a_null_world(self) -> None:
        found = deciding.decide(World(1, 1, "both"), scores_of_world(1.5, -1.0))
        assert found.is_accused
        assert not found.is_accused_naively("auc")
        null = deciding.decide(World(1, 1, "shift"), scores_of_world(0.0, 1.5))
        assert null.outcome == verdict.NO_EVIDENCE
        assert null.is_accused_naively("auc")
        assert null.is_accused_naively("accuracy")
        assert set(found.headlines) == {"embedding norm on outcome", "mint plus on photo", "mint plus on person"}
        assert {found.without_reference, null.without_reference} == {verdict.CANNOT_DECIDE}

    def test_json_and_back(self) -> None:
        found = deciding.decide(World(1, 1, "both"), scores_of_world(1.0, 0.5))
        assert deciding.from_json(dataclasses.asdict(found)) == found

    def test_scores_that_are_missing(self) -> None:
        parts = scores_of_world(1.0, 0.5)
        for lacking in (
            [part for part in parts if (part.scorer, part.tap) != ("mint_plus:audited", "photo")],
            [part for part in parts if part.scorer != "vanilla"],
        ):
            with pytest.raises(InputError, match="Expected scores of vanilla on combination"):
                deciding.decide(World(1, 1, "both"), lacking)


class TestCounts:
    def test_rates_by_hand(self) -> None:
        outcomes = [verdict.EVIDENCE, verdict.NO_EVIDENCE, verdict.EVIDENCE, verdict.EVIDENCE]
        worlds = [
            decided(f"{model}-01-both", outcome, 0.4) for model, outcome in zip((1, 1, 2, 2), outcomes, strict=True)
        ]
        found = summary.rate(worlds, lambda one: one.is_accused)
        assert (found.num, found.worlds, found.models) == (3, 4, 2)
        assert (found.models_with_any, found.models_with_all) == (2, 1)
        assert found.at_least == pytest.approx(0.2486, abs=1e-4)  # of 4 trials, 3 or more once in twenty times
        assert found.models_at_least == pytest.approx(1 - 0.95**0.5)
        assert found.models_at_most == 1.0

    def test_naive_reading_beside_the_audit(self) -> None:
        worlds = [
            decided("1-01-shift", verdict.NO_EVIDENCE, 0.55),
            decided("1-02-neither", verdict.CANNOT_DECIDE, 0.45),
            decided("2-01-both", verdict.EVIDENCE, 0.5),
        ]
        content = summary.summarise(worlds)
        assert content["false_accusations"]["audit"]["num"] == 0
        assert content["false_accusations"]["raw accuracy"]["num"] == 1
        assert content["false_accusations"]["raw auc"]["num"] == 0
        assert content["detections"]["audit"]["num"] == 1
        assert content["detections"]["raw accuracy"]["num"] == 0  # 0.5 itself is chance
        assert content["by_model"]["1"] == {"null": 2, "accused": 0, "with_members": 0, "found": 0}
        assert content["by_model"]["2"]["found"] == 1
        text = summary.render(content)
        assert "False accusations: 0 of 2" in text
        assert "Found: 1 of 1" in text
        assert "accuracy 1 of 2 null worlds and 0 of 1 with members" in text


class TestQuick:
    @pytest.fixture
    def committed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "worlds"
        for world, effect in ((World(1, 1, "shift"), 0.0), (World(2, 11, "both"), 1.5)):
            score_files.write_scores(folder / f"{world.name}.parquet", scores_of_world(effect, 1.5, world.model))
        monkeypatch.setattr(options, "QUICK", folder)
        return folder

    def test_decides_the_committed_worlds(self, committed: Path, tmp_path: Path) -> None:
        config = ValidateAuditor(tmp_path / "out", quick=True, quiet=True)
        text = validate_auditor(config)
        content = formats.read_json(config.out / "validation.json")
        assert content["by_kind"]["shift"]["no evidence"] == 1
        assert content["by_kind"]["both"]["evidence of training use"] == 1
        assert (config.out / "validation.md").read_text() in text
        assert (config.out / "validation.png").stat().st_size > 5_000
        assert validate_auditor(config) == text
        assert not (config.out / "models").exists()

    def test_other_scores_are_refused_in_the_same_folder(self, committed: Path, tmp_path: Path) -> None:
        config = ValidateAuditor(tmp_path / "out", quick=True, quiet=True)
        validate_auditor(config)
        score_files.write_scores(committed / "1-01-shift.parquet", scores_of_world(0.0, 0.0, 9))
        with pytest.raises(RefusedError, match="other inputs"):
            validate_auditor(config)

    def test_nothing_committed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(options, "QUICK", tmp_path)
        with pytest.raises(InputError, match="received none"):
            validate_auditor(ValidateAuditor(tmp_path / "out", quick=True))

    def test_the_plan(self, committed: Path, tmp_path: Path) -> None:
        assert "2 worlds from the scores" in validate_auditor(ValidateAuditor(tmp_path / "out", quick=True, plan=True))
        text = validate_auditor(ValidateAuditor(tmp_path / "out", plan=True))
        assert "90 worlds of 6 audited models. To be made: 6 models, 30 looks" in text
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_worlds_are_made_and_an_interrupted_validation_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ValidateAuditor(
        tmp_path / "out", num_models=2, num_null=1, num_member=1, claimed=69, held_out=40, externals=23,
        photos=3, trained_photos=3, arch="tiny", resolution=16, epochs=1, num_untrained=1, quiet=True,
    )  # fmt: skip
    whole, calls = scoring.score, []

    def interrupted(*arguments: object) -> list[Scores]:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(stage.scoring, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        validate_auditor(config)
    (first,) = (config.out / "scores").iterdir()
    before = first.read_bytes(), first.stat().st_mtime_ns
    validate_auditor(config)
    assert len(calls) == 5  # one of four worlds twice
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    content = formats.read_json(config.out / "validation.json")
    assert {one["world"] for one in content["worlds"]} == {world.name for world in options.all_worlds(config)}
    assert content["false_accusations"]["audit"]["num"] == 0  # too few people to accuse anybody
    scorers = {f"{scorer}:{network}" for scorer in ("embedding_norm", "mint_plus") for network in NETWORKS}
    assert {part.scorer for part in score_files.read_scores(first)} == scorers | {"vanilla", "pixel statistics"}


class TestCommitted:
    def test_size_and_kinds(self) -> None:
        paths = sorted((ROOT / options.QUICK).glob("*.parquet"))
        assert {World.parse(path.stem).kind for path in paths} == set(KINDS)
        assert sum(path.stat().st_size for path in paths) < 1_000_000

    def test_the_first_worlds_with_and_without_members(self) -> None:
        for kind, outcome in (("familiar", verdict.NO_EVIDENCE), ("both", verdict.EVIDENCE)):
            path = sorted((ROOT / options.QUICK).glob(f"*-{kind}.parquet"))[0]
            assert deciding.decide(World.parse(path.stem), score_files.read_scores(path)).outcome == outcome
