"""Members of whom only some photos were used."""

import numpy as np
import pytest

from mint_keras.records import InputError, Scores
from mint_keras.statistics import paired
from studies.plus.mixtures import mixture_curve
from tests.statistics.worlds import scores_of


def mixed_world(rng: np.random.Generator) -> Scores:
    """40 members with 4 used and 4 unseen photos, 50 externals with 4; only used photos score higher."""
    who = np.concatenate([np.repeat(np.arange(40), 8), 40 + np.repeat(np.arange(50), 4)])
    is_used = np.concatenate([np.tile(np.arange(8) < 4, 40), np.zeros(200, bool)])
    logit = 0.3 * rng.normal(size=90)[who] + 0.7 * rng.normal(size=len(who)) + 1.5 * is_used
    return scores_of(is_used, who, logit)


def test_fewer_used_photos_are_harder_to_find() -> None:
    part = mixed_world(np.random.default_rng(4))
    curve = mixture_curve([part], 4)
    assert [(point.num_used, point.num_photos) for point in curve] == [(k, 4) for k in range(5)]
    assert {(point.num_members, point.num_externals) for point in curve} == {(40, 50)}
    assert curve[0].auc.low < 0.5 < curve[0].auc.high  # being a member changes nothing for unseen photos here
    assert all(np.diff([point.auc.value for point in curve]) > 0)
    assert curve[4].auc.low > 0.9
    without_unseen = paired.take(part, part.is_member | (part.samples.identity.astype(int) >= 40))
    with pytest.raises(InputError, match="received 0 and 50 people"):
        mixture_curve([without_unseen], 4)
