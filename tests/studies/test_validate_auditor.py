"""The validation of the auditor: its counts by hand, its verdicts on scores of known truth, and what it makes."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.records import InputError, RefusedError, Scores
from mint_keras.statistics import verdict
from mint_keras.statistics.intervals import Estimate
from studies import validate_auditor as module
from studies.validate_auditor import ValidateAuditor, validate_auditor
from studies.worlds import scores, summary, verdicts
from studies.worlds.drawing import KINDS
from studies.worlds.spec import World
from studies.worlds.verdicts import WorldVerdict
from tests.statistics.worlds import draw

SCORERS = (("embedding_norm", "outcome"), ("mint_plus", "photo"), ("mint_plus", "person"))
NETWORKS = ("audited", "untrained_1", "foreign_2")


def scores_of_world(effect: float, raw: float, seed: int = 1) -> list[Scores]:
    """Scores as `scores.score` gives them: an effect through the audited model only, and raw MINT of a size."""
    rng = np.random.default_rng(seed)

    def part(scorer: str, tap: str, effect: float, model: str = "audited", evaluation: str = "same_database") -> Scores:
        found = draw((60, 60), 2, effect, rng, scorer=scorer, evaluation=evaluation)
        return dataclasses.replace(found, tap=tap, model=model)

    found = [
        part(scorer, tap, effect if network == "audited" else 0.0, network)
        for scorer, tap in SCORERS
        for network in NETWORKS
    ]
    naive = part("vanilla", "combination", raw, evaluation="unseen_database")
    naive = dataclasses.replace(naive, logit=naive.logit - np.float32(raw / 2))
    signs, look = part("direction", "known signs", effect), part("look", "outcome", 0.0, "look")
    return [*found, part("pixel statistics", "pixels", 0.0), signs, look, naive]


def decided(world: str, outcome: str, low: float) -> WorldVerdict:
    raw = {"accuracy": Estimate(0.6, low, 0.7, 1), "auc": Estimate(0.6, 0.4, 0.7, 1)}
    reference = {"mint plus on photo": Estimate(0.6, 0.5, 0.7, 1)}
    return WorldVerdict(world, outcome, verdict.CANNOT_DECIDE, {}, reference, raw)


class TestWorlds:
    def test_the_default_ones(self) -> None:
        found = ValidateAuditor(Path("out")).spec.all_worlds()
        assert len({world.name for world in found}) == 90
        assert collections.Counter(world.kind for world in found) == {
            "neither": 20, "shift": 20, "familiar": 20, "membership": 15, "both": 15,
        }  # fmt: skip
        of_model = collections.Counter((world.model, world.is_member) for world in found)
        assert set(of_model.values()) == {10, 5}

    def test_what_leads_astray(self) -> None:
        drawn = ValidateAuditor(Path("out")).spec.references()
        assert len(drawn) == 48
        everything = ValidateAuditor(Path("out"), usable="net", faces="faces").spec
        found = everything.references()
        assert len({world.name for world in [*everything.all_worlds(), *found]}) == 90 + len(found)
        assert sum(world.is_member is False for world in [*everything.all_worlds(), *found]) >= 200
        assert sum(world.is_member is True and world.model > 100 for world in found) >= 10
        assert not any(world.is_member or world.kind == "swapped" for world in found if world.model == 100)
        labelled = ValidateAuditor(Path("out"), usable="net", faces="faces", labelled="named").spec.references()
        assert set(found) < set(labelled)  # the others keep their numbers, and with them their seeds
        assert {world.kind for world in set(labelled) - set(found)} >= {"sex65", "sex75", "age75", "race75"}

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
            ({"worlds": ("both",), "quick": True}, "one of --worlds, --quick and --made"),
            ({"quick": True, "made": True}, "one of --worlds, --quick and --made"),
            ({"usable": "net"}, "--usable and --faces together"),
            ({"labelled": "faces"}, "--labelled only with them"),
            ({"made": True}, "with and without members"),
        ],
    )
    def test_bad_options_write_nothing(self, tmp_path: Path, changes: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            validate_auditor(ValidateAuditor(tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists()


class TestVerdicts:
    def test_a_member_and_a_null_world(self) -> None:
        found = verdicts.decide(World(1, 1, "both"), scores_of_world(1.5, -1.0))
        assert found.is_accused
        assert not found.is_accused_naively("auc")
        null = verdicts.decide(World(1, 1, "shift"), scores_of_world(0.0, 1.5))
        assert null.outcome == verdict.NO_EVIDENCE
        assert null.is_accused_naively("auc")
        assert null.is_accused_naively("accuracy")
        assert set(found.headlines) == {"embedding norm on outcome", "mint plus on photo", "mint plus on person"}
        assert {found.without_reference, null.without_reference} == {verdict.CANNOT_DECIDE}

    def test_a_world_without_externals_has_no_naive_reading(self) -> None:
        found = verdicts.decide(World(101, 1, "used"), scores_of_world(1.5, 0.0)[:-1])
        assert found.is_accused
        assert not found.raw
        assert not found.is_accused_naively("auc")

    def test_exchanged_sides_and_unlike_looks_are_no_evidence(self) -> None:
        """MINT+ learns its sign from the labels; the known signs do not, and the look network sees no members."""
        parts = scores_of_world(1.5, 0.0)[:-1]
        against = [
            dataclasses.replace(part, logit=-part.logit) if part.scorer == "direction" else part for part in parts
        ]
        found = verdicts.decide(World(101, 1, "swapped"), against)
        assert found.outcome == verdict.CANNOT_DECIDE
        assert "the other side looks used" in found.headlines["mint plus on photo"]
        apart = draw((60, 60), 2, 1.0, np.random.default_rng(2), scorer="look")
        seen = [dataclasses.replace(part, logit=apart.logit) if part.scorer == "look" else part for part in parts]
        found = verdicts.decide(World(101, 1, "look75"), seen)
        assert found.outcome == verdict.CANNOT_DECIDE
        assert all("look different" in headline for headline in found.headlines.values())

    def test_networks_are_only_asked_where_the_verdict_hangs_on_them(self) -> None:
        for effect, expected in ((1.5, True), (0.0, False)):
            alone = [part for part in scores_of_world(effect, 0.0)[:-1] if part.model in ("audited", "look")]
            assert verdicts.hangs_on_networks(World(101, 1, "used"), alone) == expected

    def test_json_and_back(self) -> None:
        found = verdicts.decide(World(1, 1, "both"), scores_of_world(1.0, 0.5))
        assert verdicts.from_json(dataclasses.asdict(found)) == found

    def test_scores_that_are_missing(self) -> None:
        parts = scores_of_world(1.0, 0.5)
        for lacking in (
            [part for part in parts if (part.scorer, part.model, part.tap) != ("mint_plus", "audited", "photo")],
            [part for part in parts if part.scorer != "pixel statistics"],
            [part for part in parts if part.scorer != "direction"],
        ):
            with pytest.raises(InputError, match="Expected scores of pixel statistics on pixels"):
                verdicts.decide(World(1, 1, "both"), lacking)


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
        monkeypatch.setattr(module, "COMMITTED", folder)
        return folder

    def test_decides_the_committed_worlds(self, committed: Path, tmp_path: Path) -> None:
        config = ValidateAuditor(tmp_path / "out", quick=True)
        done = validate_auditor(config)
        content = formats.read_json(config.out / "validation.json")
        assert done.content["by_kind"] == content["by_kind"]
        assert content["by_kind"]["shift"]["no evidence"] == 1
        assert content["by_kind"]["both"]["evidence of training use"] == 1
        assert (config.out / "validation.md").read_text() in done.text
        assert (config.out / "validation.png").stat().st_size > 5_000
        assert validate_auditor(config).text == done.text
        assert not (config.out / "models").exists()

    def test_other_scores_are_refused_in_the_same_folder(self, committed: Path, tmp_path: Path) -> None:
        config = ValidateAuditor(tmp_path / "out", quick=True)
        validate_auditor(config)
        score_files.write_scores(committed / "1-01-shift.parquet", scores_of_world(0.0, 0.0, 9))
        with pytest.raises(RefusedError, match="other inputs"):
            validate_auditor(config)

    def test_nothing_committed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "COMMITTED", tmp_path)
        with pytest.raises(InputError, match="received none"):
            validate_auditor(ValidateAuditor(tmp_path / "out", quick=True))

    def test_the_plan(self, committed: Path, tmp_path: Path) -> None:
        text = validate_auditor(ValidateAuditor(tmp_path / "out", quick=True, plan=True)).text
        assert "2 worlds from the scores" in text
        text = validate_auditor(ValidateAuditor(tmp_path / "out", plan=True)).text
        assert "138 worlds of 6 audited models. To be made: 6 models, 36 looks" in text
        assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_worlds_are_made_and_an_interrupted_validation_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ValidateAuditor(
        tmp_path / "out", num_models=2, num_null=1, num_member=1, claimed=69, held_out=40, externals=23,
        photos=3, trained_photos=3, arch="tiny", resolution=16, epochs=1, num_untrained=1, num_astray=0,
    )  # fmt: skip
    whole, calls = scores.score, []

    def interrupted(*arguments: object) -> list[Scores]:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(scores, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        validate_auditor(config)
    (first,) = (config.out / "scores").iterdir()
    before = first.read_bytes(), first.stat().st_mtime_ns
    validate_auditor(config)
    assert len(calls) == 5  # one of four worlds twice
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    content = formats.read_json(config.out / "validation.json")
    assert {one["world"] for one in content["worlds"]} == {world.name for world in config.spec.all_worlds()}
    assert content["false_accusations"]["audit"]["num"] == 0  # too few people to accuse anybody
    scorers = {("embedding_norm", network) for network in NETWORKS} | {("mint_plus", "audited"), ("look", "look")}
    scorers |= {(name, "audited") for name in ("vanilla", "pixel statistics", "direction")}
    assert {(part.scorer, part.model) for part in score_files.read_scores(first)} >= scorers


@pytest.mark.long
def test_a_world_as_an_auditor_meets_it(tmp_path: Path) -> None:
    options = ValidateAuditor(
        tmp_path / "out", worlds=("shift",), num_models=2, claimed=69, held_out=40, externals=23, photos=3,
        trained_photos=3, arch="tiny", resolution=16, epochs=1,
    )  # fmt: skip
    text = validate_auditor(options).text
    folder = options.out / "worlds" / "shift"
    assert f"shift: cannot decide is expected of\n  python scripts/audit.py --run {folder / 'run'} " in text
    made = {path.name for path in folder.iterdir()}
    assert made == {"model", "run", "members.parquet", "externals.parquet", "evaluate.parquet"}  # nobody was kept out
    assert {part.tap for part in score_files.read_scores(folder / "run" / "scores.csv")} >= {"combination", "outcome"}


class TestCommitted:
    def test_size_and_kinds(self) -> None:
        paths = sorted(module.COMMITTED.glob("*.parquet"))
        assert {World.parse(path.stem).kind for path in paths} >= set(KINDS)
        assert sum(path.stat().st_size for path in paths) < 1_000_000

    @pytest.mark.long
    def test_the_first_worlds_with_and_without_members(self) -> None:
        for kind, outcome in (("familiar", verdict.NO_EVIDENCE), ("both", verdict.EVIDENCE)):
            path = sorted(module.COMMITTED.glob(f"*-{kind}.parquet"))[0]
            assert verdicts.decide(World.parse(path.stem), score_files.read_scores(path)).outcome == outcome
