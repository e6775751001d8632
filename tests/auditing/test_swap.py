"""Two models of one database: each person is one, and neither what people look like nor copies without use accuse."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mint_keras import formats, vectors
from mint_keras.audited import runtime, taps, zoo
from mint_keras.auditing import controls, swap
from mint_keras.auditing import look as looks
from mint_keras.data import images, people, sample_tables
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, Observations, Sample, SampleTable, tabulate
from mint_keras.scorers import blind
from mint_keras.statistics import rule, verdict
from mint_keras.statistics.identities import Competence

OURS, THEIRS, LOOK = Path("ours"), Path("theirs"), Path("look")


def test_collapsed_copies_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def untrained(opened: Any, audited: Path, name: str, number: int) -> Path:
        if name.endswith("_2"):
            raise InputError("Expected a copy that could be a control.")
        return Path(f"{audited}-{number}")

    monkeypatch.setattr(controls, "untrained", untrained)
    opened: Any = types.SimpleNamespace(
        spec=types.SimpleNamespace(num_untrained=3),
        run=types.SimpleNamespace(spec=types.SimpleNamespace(audited=Path("ours"))),
    )
    found = swap.untrained_pairs(opened, Path("theirs"))
    assert {name: tuple(map(str, pair)) for name, pair in found.items()} == {
        "untrained_1": ("ours-1", "theirs-1001"), "untrained_3": ("ours-3", "theirs-1003"),
    }  # fmt: skip


@pytest.mark.parametrize(("num", "of_whom", "said"), [(4, "", "at least 5"), (9, "unknown", "at least 5 people")])
def test_whom_nothing_can_be_fitted_on_shows_at_once(
    num: int, of_whom: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(images, "read_faces", lambda table, _: (np.arange(len(table)), None))
    names = [people.unknown(str(k)) if of_whom else str(k) for k in range(num)]
    sample_tables.write_samples(tmp_path / formats.MEMBERS, tabulate(Sample(one, "web", one, one) for one in names))
    ours = tabulate(Sample(f"a{k}", "web", f"a{k}", "") for k in range(9))
    protocol = protocols.Protocol(ours, np.full(9, protocols.TEST_MEMBERS), protocols.SAME_DATABASE, 1)
    run: Any = types.SimpleNamespace(protocol=protocol, spec=types.SimpleNamespace(framing=None))
    opened: Any = types.SimpleNamespace(spec=types.SimpleNamespace(seed=1), run=run)
    with pytest.raises(InputError, match=said):
        swap.choose(opened, tmp_path)


def test_members_of_two_folders_of_one_name_are_no_swap(tmp_path: Path) -> None:
    """Models of two databases, each familiar with its own, would look like two groups of members."""
    ours, theirs = (
        tabulate(
            Sample(f"faces/{k}/1.png", "faces", str(k), f"/{place}/faces/{k}/1.png") for k in range(first, first + 9)
        )
        for place, first in (("ours", 0), ("theirs", 20))
    )
    sample_tables.write_samples(tmp_path / formats.MEMBERS, theirs)
    protocol = protocols.Protocol(ours, np.full(9, protocols.TEST_MEMBERS), protocols.SAME_DATABASE, 1)
    opened: Any = types.SimpleNamespace(run=types.SimpleNamespace(protocol=protocol))
    with pytest.raises(InputError, match="both called faces"):
        swap.choose(opened, tmp_path)


def decided(
    patch: pytest.MonkeyPatch,
    folder: Path,
    effect: float,
    look: float = 0.0,
    pixels: float = 0.0,
    num: int = 60,
    seed: int = 4,
    ours: float = 1.0,
) -> verdict.Verdict:
    """The verdict on two groups of people with a photo each, whatever the cause of the effect is.

    Args:
        patch: Puts numbers in the place of networks.
        folder: Where the audit keeps what it measures.
        effect: How much longer embeddings of a group are through its own model, in standard deviations.
        look: How far the groups are apart to the look network, likewise.
        pixels: How far they are apart in their pixels.
        num: People of each group.
        seed: Seeds all.
        ours: How much of the effect the audited model has.
    """
    rng, is_first = np.random.default_rng(seed), np.arange(2 * num) < num
    names = np.array([f"{k:03d}" for k in range(2 * num)])
    table = SampleTable(names, np.full(2 * num, "web"), names, names)
    person = rng.normal(size=2 * num)

    def network(known: np.ndarray, shown: float = 0.0) -> dict[str, np.ndarray]:
        outcome = rng.normal(size=(2 * num, 16))
        outcome[:, 0] += shown * is_first
        length = 0.5 * person + effect * known + rng.normal(size=2 * num)
        return {taps.OUTCOME: vectors.unit_rows(outcome) * np.exp(0.1 * length)[:, None]}

    networks = {OURS: network(ours * is_first), THEIRS: network(~is_first), LOOK: network(0 * is_first, look)}
    statistics = rng.normal(size=(2 * num, 6))
    statistics[:, 0] += pixels * is_first
    seen_by_nobody = {blind.STATISTICS: statistics, blind.THUMBNAILS: np.zeros((2 * num, 8, 8, 3), np.uint8)}

    def observe(of: SampleTable, _: Any, framing: Any, *__: Any, **___: Any) -> Observations:
        return Observations(of, networks.get(framing, seen_by_nobody))

    def untrained(_: Any, __: Path, name: str, number: int) -> Path:
        networks[Path(f"{name}-{number}")] = network(0 * is_first)
        return Path(f"{name}-{number}")

    for module in (swap, controls, looks):
        patch.setattr(module, "observe", observe, raising=False)
    patch.setattr(zoo, "kind_of", lambda _: zoo.KIND)
    patch.setattr(zoo, "load_audited", lambda *_: None)
    patch.setattr(zoo, "framing", lambda path, *_: path)
    patch.setattr(taps, "extractor", lambda *_: None)
    patch.setattr(runtime, "forward", lambda _: None)
    patch.setattr(controls, "untrained", untrained)
    run: Any = types.SimpleNamespace(
        protocol=protocols.Protocol(table, np.full(2 * num, protocols.TEST_MEMBERS), protocols.SAME_DATABASE, 1),
        spec=types.SimpleNamespace(audited=OURS, native_resolution=0, framing="pixels"),
    )
    opened: Any = types.SimpleNamespace(
        spec=types.SimpleNamespace(seed=1, num_untrained=1), folder=folder, run=run,
        look=looks.Chosen("look", LOOK, Competence(0.99, 0.98, 20, 20), 0, (), ()),
    )  # fmt: skip
    found = swap.score(opened, THEIRS, table, is_first)
    signs = swap.known_signs(opened, table, is_first)
    return rule.by_rule([found], {}, 1, {protocols.CROSS_MODEL: signs})[swap.SCORER]


def test_what_the_other_model_does_to_its_own_is_not_the_audited_one_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A model that knows nobody was accused because the one beside it knew its members."""
    found = decided(monkeypatch, tmp_path, effect=1.5, num=75, seed=1, ours=0.0)
    assert found.findings[0].is_above_chance(0.05)
    assert found.outcome == verdict.CANNOT_DECIDE
    assert "nothing whose sign no label set" in found.assessments[0].reason


def counts(found: verdict.Verdict) -> set[tuple[int, int]]:
    return {(one.num_members, one.num_externals) for one in found.findings}


@pytest.mark.parametrize(("num", "outcome"), [(25, verdict.CANNOT_DECIDE), (60, verdict.EVIDENCE)])
def test_everybody_counts_once(num: int, outcome: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A swap of 25 people and 25 others has 25 on a side, not 50, and intervals as wide as that."""
    found = decided(monkeypatch, tmp_path, effect=1.5, num=num)
    assert counts(found) == {(num, num)}
    assert found.outcome == outcome, found.headline
    assert ("too few identities" in found.headline) == (num < verdict.MIN_PEOPLE)


SPOILED = {"look": "the two groups look different", "pixels": "the sides differ"}


@pytest.mark.parametrize("cause", SPOILED)
def test_a_model_that_is_familiar_with_how_a_group_looks_accuses_nobody(
    cause: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody was used: one model knows men better and the other one women, and the claimed are other men."""
    found = decided(monkeypatch, tmp_path, effect=1.5, **{cause: 3.0})
    by_name = {one.name: one for one in found.findings}
    assert by_name["cross-model swap"].auc.low > 0.7
    assert by_name["look network" if cause == "look" else "pixel statistics"].auc.value > 0.9
    assert found.outcome == verdict.CANNOT_DECIDE
    assert SPOILED[cause] in found.headline


def test_what_looks_explain_as_well_is_no_evidence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Too few people to see that the groups look different, and as many to see that the models differ more."""
    found = decided(monkeypatch, tmp_path, effect=0.5, look=0.4, seed=9)
    assert "look network may explain cross-model swap" in found.headline


def test_groups_drawn_by_lot_that_nobody_used_are_no_evidence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcomes = [decided(monkeypatch, tmp_path / str(seed), effect=0.0, seed=seed).outcome for seed in range(4)]
    assert verdict.EVIDENCE not in outcomes
