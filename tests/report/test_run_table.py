"""The table that ends a run, and the rule behind its sentence, on made-up scores."""

from collections.abc import Mapping

import numpy as np
import pytest

from mint_keras.data.protocol import FAMILIAR, SAME_DATABASE, UNSEEN_DATABASE
from mint_keras.records import AUDITED, UNTRAINED, Sample, Scores, tabulate
from mint_keras.report import run_table
from mint_keras.statistics.intervals import Estimate

NUM = 120
TABLE = tabulate([Sample(str(row), "web", str(row // 2), "") for row in range(NUM)])
IS_MEMBER = np.arange(NUM) < NUM // 2
PHOTO, PERSON = "MINT+ by photo", "MINT+ by person"


def part(
    scorer: str, tap: str, model: str, evaluation: str, effect: float, seed: int = 1, num_folds: int = 0
) -> Scores:
    """Members score higher by `effect` standard deviations."""
    rng = np.random.default_rng([len(tap), len(evaluation), len(model), seed])
    half = rng.permutation(np.linspace(-2, 2, NUM // 2))
    logit = np.concatenate([half, rng.permutation(half)]) + effect * IS_MEMBER
    return Scores(scorer, tap, evaluation, seed, TABLE, IS_MEMBER, logit.astype(np.float32), model, num_folds)


def head(across: float = 0.0, same: float = 0.0, untrained: float = 0.0, tap: str = "conv1") -> list[Scores]:
    places = {
        (AUDITED, UNSEEN_DATABASE): across, (AUDITED, FAMILIAR): across, (AUDITED, SAME_DATABASE): same,
        (UNTRAINED, UNSEEN_DATABASE): 0.0, (UNTRAINED, SAME_DATABASE): untrained,
    }  # fmt: skip
    return [part("vanilla", tap, *place, effect, seed) for place, effect in places.items() for seed in (1, 2, 3)]


def plus(effect: float, untrained: float = 0.0, level: str = "photo") -> list[Scores]:
    by_model = {AUDITED: effect, UNTRAINED: untrained}
    return [part("mint_plus", level, model, SAME_DATABASE, of, 1, 5) for model, of in by_model.items()]


def measured(scores: list[Scores], of_plus: list[Scores]) -> run_table.RunTable:
    return run_table.measure(scores, of_plus, "vanilla", UNSEEN_DATABASE)


@pytest.mark.parametrize(
    ("scores", "of_plus", "outcome", "words"),
    [
        (head(), plus(0.0), run_table.NOTHING, "No head or baseline tells members from other people"),
        (head(across=2.0), plus(0.0), run_table.DATABASE, "Across databases conv1 gives"),
        (head(across=-2.0), [], run_table.DATABASE, "MINT+ was not run."),
        (head(across=2.0), plus(2.0), run_table.TOLD_APART, "MINT+ by photo tells members"),
        (head(same=2.0), [], run_table.TOLD_APART, "Conv1 tells members"),
        (
            head(same=2.0, untrained=2.0),
            plus(0.0),
            run_table.MIXED,
            "but so may its control (untrained copy, same database,",
        ),
        (head(across=2.0), plus(2.0, untrained=2.0), run_table.MIXED, "but so may its control"),
        (head(same=-2.0), plus(-2.0), run_table.NOTHING, "MINT+ does not tell"),
        (head(same=2.0, untrained=2.0), plus(2.0), run_table.TOLD_APART, "MINT+ by photo tells"),
    ],
)
def test_the_rule(scores: list[Scores], of_plus: list[Scores], outcome: str, words: str) -> None:
    found, text = run_table.conclude(measured(scores, of_plus))
    assert found == outcome, text
    assert words in text


def test_rows_that_are_alike_across_databases_do_not_take_turns() -> None:
    """Another processor's last bits make another of them the clearest; the sentence stays."""

    def named(*rows: tuple[str, float, float, float]) -> str:
        table = {
            name: {run_table.AUC: Estimate(*of, 3), run_table.SAME: Estimate(0.5, 0.4, 0.6, 3)} for name, *of in rows
        }
        said = run_table.conclude(run_table.RunTable("vanilla", table, {name: 1.0 for name, *_ in rows}))[1]
        return said.partition("Across databases ")[2].partition(" gives")[0]

    conv1, conv2 = ("conv1", 0.94, 0.89, 0.97), ("conv2", 0.95, 0.85, 0.98)
    assert named(conv1, conv2, ("norm", 0.93, 0.90, 0.95)) == "conv1"
    assert named(conv1, ("conv2", 0.96, 0.91, 0.98)) == "conv1"
    assert named(("outcome", 0.62, 0.55, 0.77), conv2) == "conv2"
    assert named(("mirror", 0.05, 0.02, 0.09), conv2) == "mirror"
    assert named(("exact", 0.9, 0.9 + 1e-16 * 5, 0.9 + 1e-16 * 5)) == "exact", "whose interval lies beside it"


def test_without_others_of_the_database_nothing_is_said_of_membership() -> None:
    scores = [one for one in head(across=2.0) if one.evaluation == UNSEEN_DATABASE]
    table = measured(scores, [])
    assert run_table.conclude(table)[0] == run_table.NOT_RUN
    assert "same database" not in run_table.render(table)


def test_what_was_not_run_is_never_zero() -> None:
    """A tap that was not scored in an evaluation has a dash there, and no entry in the file."""
    scores = head(across=2.0) + [one for one in head(tap="conv2") if one.evaluation != SAME_DATABASE]
    table = measured(scores, plus(0.0))
    lines = {line.split("|")[1].strip(): line for line in run_table.render(table).splitlines()}
    assert lines["conv2"].split("|")[5].strip() == "-"
    assert lines[PHOTO].split("|")[2].strip() == lines[PHOTO].split("|")[3].strip() == "-"
    content = table.to_dict()
    assert [row["row"] for row in content["rows"]] == ["conv1", "conv2", PHOTO]
    assert "same database" not in content["rows"][1]["figures"]
    assert set(content["adjusted_p"]) == {"conv1", PHOTO}
    assert content["outcome"] == run_table.DATABASE


def test_a_row_that_was_the_best_of_many_is_not_yet_found() -> None:
    """One of twenty rows is above chance by luck; alone it would be found."""

    def row(low: float) -> Mapping[str, Estimate]:
        return {run_table.SAME: Estimate(0.56, low, 0.62, 3), run_table.UNTRAINED_SAME: Estimate(0.5, 0.45, 0.55, 3)}

    alone = run_table.RunTable("vanilla", {"conv1": row(0.51)}, {"conv1": 0.02})
    of_many = run_table.RunTable("vanilla", {"conv1": row(0.51), "conv2": row(0.45)}, {"conv1": 0.4, "conv2": 1.0})
    assert run_table.conclude(alone)[0] == run_table.TOLD_APART
    assert run_table.conclude(of_many)[0] == run_table.NOTHING
    assert "(at most conv1: .56 [.51,.62], p = 0.40 as the best of 2)" in run_table.conclude(of_many)[1]


@pytest.mark.parametrize(
    ("control", "why"),
    [
        ({}, "its control was not run"),
        ({run_table.UNTRAINED_SAME: Estimate(0.56, 0.49, 0.63, 1)}, "so may its control"),
    ],
)
def test_who_does_not_exceed_a_control_finds_nothing(control: Mapping[str, Estimate], why: str) -> None:
    """A control that is missing, or whose interval holds both chance and what was found, has not been passed."""
    row = {run_table.SAME: Estimate(0.56, 0.51, 0.62, 3), **control}
    found, text = run_table.conclude(run_table.RunTable("vanilla", {"conv1": row}, {"conv1": 0.01}))
    assert found == run_table.MIXED
    assert why in text


def test_the_order_and_the_width_of_the_table() -> None:
    scores = [one for tap in ("outcome", "combination+outcome", "conv1", "combination") for one in head(0.3, tap=tap)]
    scores += [part("embedding_norm", "outcome", AUDITED, name, 1.0) for name in (UNSEEN_DATABASE, SAME_DATABASE)]
    table = measured(scores, plus(2.0) + plus(2.0, level="person"))
    lines = run_table.render(table).splitlines()
    names = [line.split("|")[1].strip() for line in lines]
    assert names[0] == "vanilla"
    assert names[2:] == ["conv1", "combination", "outcome", "embedding norm", PHOTO, PERSON]
    assert "combination+outcome" in table.rows
    assert {len(line) for line in lines} == {100}
    assert "accuracy" in lines[0]
    assert "AUC" in lines[0]


def test_cells_are_means_over_trainings() -> None:
    scores = head(across=1.0)
    found = measured(scores, []).rows["conv1"][run_table.AUC]
    from mint_keras.statistics import metrics

    each = [
        metrics.auc(IS_MEMBER, one.logit) for one in scores if (one.model, one.evaluation) == (AUDITED, UNSEEN_DATABASE)
    ]
    assert found.num_seeds == len(each) == 3
    assert found.value == pytest.approx(np.mean(each))
    assert found.low < found.value < found.high
