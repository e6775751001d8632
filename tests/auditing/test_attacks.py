"""The table of attacks, and somebody else's scores in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mint_keras import score_files
from mint_keras.auditing import attacks
from mint_keras.data import images
from mint_keras.records import InputError, Observations, Sample, Scores, tabulate
from mint_keras.scorers import attacks as scorers
from mint_keras.scorers import mint_plus
from mint_keras.statistics import figures

IS_MEMBER = np.arange(120) % 4 < 2


@pytest.fixture(scope="module")
def seen() -> Observations:
    table = tabulate([Sample(f"photo{row}", "web", str(row // 2), "") for row in range(120)])
    rng = np.random.default_rng(1)
    look = rng.normal(size=(60, 12)).repeat(2, axis=0)
    near = np.where(IS_MEMBER, 0.4, 1.0)[:, None] * rng.normal(size=look.shape)
    return Observations(table, {"outcome": look + near, "reference_001": look + rng.normal(size=look.shape)})


def test_the_best_come_first_and_somebody_else_s_beside_them(seen: Observations, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    rows = np.flatnonzero(np.arange(120) % 8 != 7)  # without some, in another order, and wrong about who is a member
    given = Scores("theirs", "outcome", "any", 7, seen.table.take(rows[::-1]), None, IS_MEMBER[rows[::-1]] * 1.0)
    score_files.write_scores(path, [given])
    ranked, scores = attacks.rank(seen, IS_MEMBER, [path])
    names = [one.name for one in ranked]
    assert names[0] == "theirs (theirs.csv)"
    assert ranked[0].num_photos == len(rows)
    assert ranked[0].person.value == 1.0
    assert {"mint_plus_photo", "mint_plus_with_others_with_references", "log_odds_less_references", "rmia"} <= set(
        names
    )
    assert not {"lira_offline", "lira_online", "confidence"} & set(names)  # of one reference, nobody known in it
    values = [one.photos[figures.AUC].value for one in ranked]
    assert values == sorted(values, reverse=True)
    assert len(scores) == len(ranked)
    table = attacks.table_of(ranked)
    assert len(table) == len(ranked) + 1
    assert table[1][0] == "theirs (theirs.csv)"


@pytest.mark.slow
def test_an_attack_that_scores_one_side_only_has_no_figures(seen: Observations) -> None:
    """No shadow was trained on people who are no members, so that online attacks say nothing of them."""
    rng = np.random.default_rng(2)
    shadows = {f"reference_{k:03d}": seen["outcome"] + rng.normal(size=seen["outcome"].shape) for k in range(1, 7)}
    is_in = {f"{scorers.IS_IN}{name}": IS_MEMBER & (rng.random(120) < 0.5) for name in shadows}
    ranked, _ = attacks.rank(seen.adding(**shadows, **is_in), IS_MEMBER, with_heads=False)
    names = {one.name for one in ranked}
    assert "lira_offline" in names
    assert "lira_online" not in names


def test_members_and_others_of_two_folders_of_one_name_are_not_compared(tmp_path: Path) -> None:
    """What tells the two apart would rank the attacks."""
    for place in ("ours", "theirs"):
        (folder := tmp_path / place / "faces" / place).mkdir(parents=True)
        images.write_png(folder / "1.png", np.zeros((112, 112, 3), np.uint8))
    sides = (str(tmp_path / place / "faces") for place in ("ours", "theirs"))
    with pytest.raises(InputError, match="both called faces"):
        attacks.look(attacks.AttackSpec(Path("lab"), *sides))


def test_of_images_there_is_no_figure_of_persons(seen: Observations) -> None:
    used = np.arange(120) % 2 == 0  # one photo of everybody
    recipes = {name: recipe for name, recipe, _ in attacks.recipes(seen, used)}
    assert recipes["mint_plus_with_others_with_references"] == mint_plus.MintPlus("image", "with_others")
    part = Scores("mine", "outcome", "any", 1, seen.table, used, used * 1.0)
    one = attacks.summarise("mine", [part], 0.0, seed=1)
    assert (one.photos[figures.AUC].value, one.person) == (1.0, None)
    assert attacks.table_of([one])[1][-2] == "-"
    assert attacks.from_json(json.loads(attacks.to_json([one]))) == one


def test_some_people_on_both_sides_are_neither_people_nor_images() -> None:
    spec = attacks.AttackSpec(Path("lab"), "synthetic:1/web/0-9/2", "synthetic:1/web/8-11/2")
    with pytest.raises(InputError, match="2 of 4 people on both sides, such as 'web/"):
        attacks.look(spec)


def test_scores_of_other_samples_are_refused(seen: Observations, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    table = tabulate([Sample(f"other{row}", "web", str(row), "") for row in range(4)])
    score_files.write_scores(path, [Scores("theirs", "outcome", "any", 1, table, None, np.zeros(4))])
    with pytest.raises(InputError, match="other samples, such as 'other0'"):
        attacks.rank(seen, IS_MEMBER, [path])
