"""What could be said at all: references, people, and how small an effect would be found."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.data import samples
from mint_keras.report import preflight
from mint_keras.report.preflight import Material
from mint_keras.statistics.verdict import CANNOT_DECIDE, EVIDENCE, MIN_PEOPLE, NO_EVIDENCE

ALL = (EVIDENCE, NO_EVIDENCE, CANNOT_DECIDE)


@pytest.mark.parametrize(
    ("material", "expected"),
    [
        (Material(200), (CANNOT_DECIDE,)),
        (Material(200, kept_out=MIN_PEOPLE - 1, with_two=90), (CANNOT_DECIDE,)),
        (Material(200, kept_out=MIN_PEOPLE, with_two=90), ALL),
        # A look network is tried on people who were kept out.
        (Material(9, unseen=MIN_PEOPLE, with_two=90), (NO_EVIDENCE, CANNOT_DECIDE)),
        (Material(200, other_model=MIN_PEOPLE, with_two=90), (NO_EVIDENCE, CANNOT_DECIDE)),
        (Material(9, other_model=200, with_two=90), (CANNOT_DECIDE,)),
        (Material(200, kept_out=90, with_two=19), (NO_EVIDENCE, CANNOT_DECIDE)),
        (Material(200, kept_out=90, with_two=90, is_of_faces=False), (NO_EVIDENCE, CANNOT_DECIDE)),
    ],
)
def test_verdicts_that_are_possible(material: Material, expected: tuple[str, ...]) -> None:
    assert preflight.outcomes(material) == expected
    said = preflight.describe(material)
    assert all(outcome in said.splitlines()[0] for outcome in expected)
    assert ("What would change this" in said) == (expected != ALL)


def test_people_are_counted_by_side_and_database() -> None:
    members, others = samples.list_samples("synthetic:1/web/0-59/2"), samples.list_samples("synthetic:1/web/60-99/1")
    elsewhere = samples.list_samples("synthetic:1/phone/0-99/2")
    found = preflight.of_tables(members, samples.join([others, elsewhere]))
    assert found == Material(60, 40, with_two=60, databases="web")
    assert preflight.of_tables(members, elsewhere).kept_out == 0
    unseen = samples.list_samples("synthetic:1/web/50-69/3")  # two of the three photos of a member were used
    more = preflight.with_options(found, members, unseen, samples.join([others, elsewhere]))
    assert (more.unseen, more.other_model) == (10, 40)
    assert preflight.with_options(found, members, members, members)[2:4] == (0, 0)


def test_the_standard_error_is_that_of_drawn_scores() -> None:
    rng = np.random.default_rng(1)
    members, others = rng.normal(0.75, 1, (2000, 60)), rng.normal(0, 1, (2000, 90))
    drawn = (members[:, :, None] > others[:, None, :]).mean(axis=(1, 2))
    assert preflight.standard_error(drawn.mean(), 60, 90) == pytest.approx(drawn.std(), rel=0.1)


def test_more_people_find_less() -> None:
    assert preflight.smallest_auc(60, 60) > preflight.smallest_auc(600, 600) > 0.5
    num = preflight.people_needed(0.6)
    assert preflight.is_found(0.6, num, num)
    assert not preflight.is_found(0.6, int(num / 1.05), int(num / 1.05))
    assert preflight.people_needed(0.99) == MIN_PEOPLE
