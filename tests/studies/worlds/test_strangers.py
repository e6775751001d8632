"""People of one photo each who are split unevenly: the shares, what is too few, and that an auditor is asked."""

import numpy as np
import pytest

from mint_keras.aad import views
from mint_keras.audited import taps
from mint_keras.records import AUDITED, InputError, Observations, Sample, tabulate
from mint_keras.scorers import blind
from mint_keras.statistics import findings, verdict
from studies.worlds import strangers
from studies.worlds.drawing import PIXELS


def test_both_sides_have_the_shares_that_are_said_and_nobody_is_on_both() -> None:
    has_it = np.arange(700) % 2 == 0
    drawn = strangers.draw(has_it, 0.75, np.random.default_rng(1), 200)
    assert len(set(drawn.tolist())) == 400
    assert has_it[drawn[:200]].mean() == 0.75
    assert has_it[drawn[200:]].mean() == 0.25


def test_too_few_are_refused() -> None:
    with pytest.raises(InputError, match="received 100 and 300"):
        strangers.draw(np.arange(400) < 100, 0.75, np.random.default_rng(1), 200)


def test_single_photos_show_nobody_that_a_look_network_is_competent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "_NUM_A_SIDE", 60)
    rng, is_woman = np.random.default_rng(2), np.arange(160) % 2
    said = [Sample(f"{k}", "utk", f"{k}", "", attributes={"gender": str(sex), "age": "20", "race": "0"})
            for k, sex in enumerate(is_woman)]  # fmt: skip
    table = tabulate(said)
    outcome = rng.normal(size=(160, 16)) + 3 * np.eye(16)[0] * is_woman[:, None]  # the network sees who is a woman
    arrays = {
        taps.OUTCOME: outcome,
        "view_cosines": rng.random((160, len(views.VIEWS))),
        "view_norm_ratios": rng.random((160, len(views.VIEWS))),
    }
    by_network = {name: Observations(table, arrays) for name in (AUDITED, findings.LOOK)}
    by_network[PIXELS] = Observations(table, {blind.STATISTICS: rng.normal(size=(160, 5))})
    found = strangers.decide("sex", 0.75, 0, table, by_network)
    assert not found["is_competent"]
    reference = found[strangers.AS_IT_IS]["auc"]["mint_plus on photo, audited"]
    assert reference["low"] > 0.5  # somebody who takes this for membership accuses wrongly
    assert found[strangers.AS_IT_IS]["outcome"] == verdict.CANNOT_DECIDE
    text = strangers.render({"draws": [found]})
    assert "| sex, 75:25" in text
