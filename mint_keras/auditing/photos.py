"""What may be said of single photos, and of several photos of a person."""

from __future__ import annotations

import dataclasses

import numpy as np

from mint_keras.auditing import plus
from mint_keras.auditing.opened import Opened
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, InputError, Scores
from mint_keras.scorers import mint_plus
from mint_keras.statistics import bounds, conformal, figures, findings, paired, person, verdict

_MAX_PHOTOS = 8


def power_curves(opened: Opened, tasks: plus.Tasks) -> dict[str, list[person.CurvePoint]]:
    """Returns by scorer of single photos what 1, 2, ... photos of a person say by their mean.

    Args:
        opened: the audit; its reference is other people of the members' database, without whom there is no curve.
        tasks: of `plus.plan`, scored through the audited model already.
    """
    if not opened.has_reference:
        return {}
    own = opened.scorer.parts(opened.scores, protocols.SAME_DATABASE)
    reported = {str(opened.scorer): opened.division.reported(own)}
    scores = plus.score(opened, tasks, AUDITED, opened.run.spec.audited)
    reported |= {
        task.name: [scores[task.name]]
        for task in tasks.tasks
        if (task.truth, task.level) == (findings.PERSON, mint_plus.PHOTO)
    }
    return {
        name: person.power_curve(parts, num, seed=opened.spec.seed)
        for name, parts in reported.items()
        if (num := _num_photos(parts[0]))
    }


def _num_photos(part: Scores) -> int:
    """Returns how many photos enough people of both sides have, up to a limit."""
    enough = []
    for side in (figures.membership(part), ~figures.membership(part)):
        counts = np.sort(np.unique(part.samples.people()[side], return_counts=True)[1])[::-1]
        enough.append(int(counts[verdict.MIN_PEOPLE - 1]) if len(counts) >= verdict.MIN_PEOPLE else 0)
    return min(*enough, _MAX_PHOTOS)


def accusations(opened: Opened) -> str:
    """Says what may be said of single photos, calibrated on externals the head never saw, checked on other people."""
    main, scorer = opened.run.protocol.main_evaluation, opened.scorer
    claimed, familiar = scorer.parts(opened.scores, main), scorer.parts(opened.scores, protocols.FAMILIAR)
    if main == protocols.SAME_DATABASE or not claimed or not familiar:
        return "Single photos: no p-values without externals of another database and held-out people to check them on."
    part, others = claimed[0], familiar[0]
    externals, held_out = paired.take(part, ~figures.membership(part)), paired.take(others, figures.membership(others))
    held_out = dataclasses.replace(held_out, is_member=np.zeros(len(held_out.logit), bool))
    training = opened.run.protocol.table.take(opened.run.protocol.training_rows()[0]).people()
    try:
        calibration = conformal.verify(conformal.calibrate(externals, training), held_out, training)
    except InputError as error:
        return f"Single photos: no p-values. {error}"
    assert calibration.validity is not None  # noqa: S101 # just measured
    said = [f"Single photos: {calibration.validity.describe()}"]
    if calibration.validity.is_valid:
        p = conformal.p_values(calibration, paired.take(part, figures.membership(part)).logit)
        low = bounds.exact_interval(int((p <= calibration.validity.alpha).sum()), len(p)).low
        said += [
            f"Of {len(p)} photos of claimed members {int(conformal.select(p).sum())} stand out.",
            conformal.describe_floor(calibration, len(p)),
            conformal.describe_risk(opened.spec.prevalence, low, calibration.validity.high),
        ]
    return " ".join(said)
