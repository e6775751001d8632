"""What is said of single photos: people are counted, and not their photos."""

import dataclasses
import types
from typing import cast

import numpy as np
import pytest

from mint_keras.auditing import changed_photos, plus
from mint_keras.auditing.opened import Opened
from mint_keras.data import protocol as protocols
from mint_keras.records import Labelled, RefusedError, SampleTable, Scores, concatenate_tables
from mint_keras.statistics import bounds, conformal
from mint_keras.statistics.selection import Candidate
from tests.statistics.worlds import scores_of


def joined(*parts: Scores, evaluation: str) -> Scores:
    table = concatenate_tables([part.samples for part in parts])
    ids = np.array([f"{evaluation}{k:05d}" for k in range(len(table))])
    is_member = np.concatenate([part.is_member for part in parts if part.is_member is not None])
    logit = np.concatenate([part.logit for part in parts])
    table = dataclasses.replace(table, sample_id=ids)
    return Scores("vanilla", "conv1", evaluation, 1, table, is_member, logit)


def people(num: int, num_photos: int, database: str, is_member: bool, logit: np.ndarray, first: int = 0) -> Scores:
    person = first + np.repeat(np.arange(num), num_photos)
    return scores_of(np.full(len(person), is_member), person, np.repeat(logit, num_photos), database)


@pytest.fixture
def opened() -> Opened:
    """30 claimed members of ten photos each, twelve of them far above 99 externals of another database."""
    rng = np.random.default_rng(1)
    members = people(30, 10, "web", True, np.where(np.arange(30) < 12, 9.0, 0.0))
    externals = people(99, 2, "news", False, rng.normal(size=99))
    held_out = people(200, 2, "web", True, rng.normal(size=200) - 1, 100)
    scores = [
        joined(members, externals, evaluation=protocols.UNSEEN_DATABASE),
        joined(held_out, externals, evaluation=protocols.FAMILIAR),
    ]
    nobody = SampleTable(*(np.array(["x"]) for _ in range(4)))
    protocol = types.SimpleNamespace(
        main_evaluation=protocols.UNSEEN_DATABASE,
        table=nobody,
        training_rows=lambda: Labelled(np.array([0]), np.array([True])),
    )
    return cast(
        Opened,
        types.SimpleNamespace(
            run=types.SimpleNamespace(protocol=protocol),
            scorer=Candidate("vanilla", "conv1"),
            scores=scores,
            spec=types.SimpleNamespace(prevalence=0.01),
        ),
    )


def test_people_are_counted_and_not_their_photos(opened: Opened) -> None:
    said = changed_photos.accusations(opened)
    expected = bounds.exact_interval(12, 30)
    assert "Of 30 claimed members, by one photo each (the first by name, whatever it scores), 12 stand out" in said
    assert f"has {expected} of them (exact 95% interval over people)" in said
    assert f"at least {expected.low:.1%} of the members are found" in said  # 120 of 300 photos would say more
    assert expected.low < bounds.exact_interval(120, 300).low - 0.1
    assert said.count(conformal.MARGINAL) == 1


def test_without_valid_p_values_nothing_is_counted(opened: Opened) -> None:
    shifted = [
        dataclasses.replace(part, logit=part.logit + np.float32(5) * (part.samples.database == "web"))
        for part in opened.scores
    ]
    opened.scores[:] = shifted  # type: ignore[index]
    said = changed_photos.accusations(opened)
    assert "p-values are not given" in said
    assert conformal.MARGINAL not in said


def test_an_engine_that_is_not_here_takes_no_verdict_with_it(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.spec.robustness = True  # type: ignore[misc]

    def refuse(*given: object) -> None:
        raise RefusedError("no openvino here.")

    asked = types.SimpleNamespace(name="vanilla on conv1")
    monkeypatch.setattr(changed_photos, "_asked", lambda *given: [asked])
    monkeypatch.setattr(changed_photos, "_measure", refuse)
    found, gaps = changed_photos.changed(opened, cast(plus.Tasks, None))
    assert found == []
    assert [gap.why for gap in gaps] == [
        "by vanilla on conv1: no openvino here.",
        "by mint plus on photo: too few people to fix a threshold on.",
    ]
