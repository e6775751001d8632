"""What was measured, in the form in which a verdict takes it."""

import dataclasses
import itertools
from collections.abc import Sequence

from mint_keras.records import InputError, Scores
from mint_keras.statistics import bounds, figures, intervals, paired
from mint_keras.statistics.bounds import Certified
from mint_keras.statistics.intervals import Estimate

REFERENCE, BLIND, UNTRAINED, OTHER, NULL = "reference", "blind", "untrained", "other", "null"
LOOK, BESIDE, DIRECTION = "look", "beside", "direction"
CLAIM, CONTEXT = "claim", "context"
ROLES = {
    REFERENCE: "the audited model where only membership differs between the sides: people of the members' own database "
    "who were kept out, the members' own unseen photos, or the same photos in a model that was not trained on them",
    BLIND: "a scorer that never looked at the audited model, on a reference's samples: it must see no difference",
    LOOK: "a face network other than the audited one that knows these faces, on a reference's samples: it must see no "
    "difference",
    BESIDE: "a network beside the audited one that was not trained on the claimed members (--reference), on a "
    "reference's samples: it must see no difference",
    DIRECTION: "the audited model by statistics whose sign no label set, on a reference's people: it must point to the "
    "claimed members",
    UNTRAINED: "an untrained copy of the audited model, on a reference's samples: it must do worse than the reference",
    OTHER: "any other control on a reference's samples, such as a foreign model: it must do worse than the reference",
    NULL: "the audited model on two sides of one kind, of a reference's people: it must see no difference",
    CLAIM: "the audited model on members against externals of another database, as in the paper: it decides nothing",
    CONTEXT: "a scorer on different databases where membership cannot be the cause: it says what else tells them apart",
}
PERSON, IMAGE = "person", "image"
_ROUNDING = 1e-9  # an AUC of 0.5 is 0.5 up to this
TRUTHS = {
    PERSON: "the person: whether photos of these people were used, not which ones",
    IMAGE: "the image: whether these very photos were used; the people on both sides are the same",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One comparison of two sides.

    Attributes:
        name: The name of the reference or control, for example "same database".
        question: What it asks, without a question mark.
        role: A key of `ROLES`.
        truth: A key of `TRUTHS`: what differs between the sides if it is membership.
        evaluation: The evaluation of the scores; controls belong to the reference of the same evaluation.
        auc: The AUC of the scorer.
        num_members: The number of people on the claimed members' side.
        num_externals: The number of people on the other side.
        difference: AUC of the reference minus this one on the same samples; None for references, nulls, directions, and
            comparisons of different databases.
        adjusted_p: p-value of the AUC against 0.5, adjusted for everything that was tried (`selection.holm`): one-sided
            for references, two-sided for controls. None if nothing else was tried, or the choice was made before, on
            other people (`selection.choose`).
        certified: The true-positive rate at a low false-positive rate; None for all but references that one fit scored.
        num_folds: `Scores.num_folds` of what was measured.
    """

    name: str
    question: str
    role: str
    truth: str
    evaluation: str
    auc: Estimate
    num_members: int
    num_externals: int
    difference: Estimate | None = None
    adjusted_p: float | None = None
    certified: Certified | None = None
    num_folds: int = 0

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.truth not in TRUTHS:
            raise InputError(
                f"Expected a role of {list(ROLES)} and a truth of {list(TRUTHS)}, received {self.role!r} and "
                f"{self.truth!r}."
            )
        # What is no number is neither above nor below anything, and so would speak against nothing.
        counts = (self.num_members, self.num_externals, self.num_folds)
        are_figures = _is_figure(self.auc, 0.0) and (self.difference is None or _is_figure(self.difference, -1.0))
        are_figures &= self.adjusted_p is None or 0 <= self.adjusted_p <= 1
        if not are_figures or not all(isinstance(num, int) and num >= 0 for num in counts):
            raise InputError(
                f"Expected an AUC and a difference within their intervals, a p-value and numbers of people for "
                f"{self.name!r}, received {self.auc}, {self.difference}, {self.adjusted_p} and {counts}."
            )

    @property
    def is_below_chance(self) -> bool:
        """Whether the interval lies below 0.5: the claimed members score lower than the others."""
        return self.auc.high < 0.5 - _ROUNDING

    @property
    def num_people(self) -> int:
        """People on the smaller side."""
        return min(self.num_members, self.num_externals)

    def is_significant(self, alpha: float) -> bool:
        """Whether the adjusted p-value, where there is one, is small enough."""
        return self.adjusted_p is None or self.adjusted_p <= alpha

    def is_above_chance(self, alpha: float) -> bool:
        """Whether the sides differ in the direction of membership."""
        return self.auc.low > 0.5 and self.is_significant(alpha)

    def tells_sides_apart(self, alpha: float) -> bool:
        """Whether the sides differ in either direction: a score that is wrong throughout knows as much.

        A cross-fitted one that is wrong throughout knows nothing: it was fitted on people of the same two sides, and
        only by chance is a fold unlike the others in what they taught.
        """
        # An AUC of exactly 0.5 comes out a little beside it, and would tell the sides apart without any spread.
        is_apart = self.auc.low > 0.5 + _ROUNDING or (self.is_below_chance and not self.num_folds)
        return is_apart and self.is_significant(alpha)


def _is_figure(one: Estimate, least: float) -> bool:
    """Says whether it is a figure from `least` to 1 within its interval, up to rounding."""
    ends = (least, one.low, one.value, one.high, 1.0)
    return all(lower <= upper + _ROUNDING for lower, upper in itertools.pairwise(ends))


def reference(
    name: str, question: str, truth: str, parts: Sequence[Scores], adjusted_p: float | None = None, seed: int = 1
) -> Finding:
    """Measures a reference, in which only membership differs, from the scores of each training; see `Finding`.

    Raises:
        InputError: if membership is not known, or a side has fewer than two people.
    """
    found = _measure((name, question, REFERENCE, truth), parts, None, adjusted_p, seed)
    # Cross-fitted scores are of several fits: no one threshold, and no order statistic, is theirs.
    return found if found.num_folds else dataclasses.replace(found, certified=bounds.certify(parts))


def control(
    what: tuple[str, str, str],
    parts: Sequence[Scores],
    of: Finding,
    of_parts: Sequence[Scores],
    adjusted_p: float | None = None,
    seed: int = 1,
) -> Finding:
    """Measures a control on the samples of a reference.

    Args:
        what: The control's name, question and role (a key of `ROLES`).
        parts: Scores of the control, for the reference's training seeds or one for all of them; for the roles "null"
            and "direction" scores of other samples, or of some of them.
        of: The reference that it belongs to.
        of_parts: The scores behind the reference.
        adjusted_p: The p-value of its AUC, if other controls of this role were tried.
        seed: Seeds the intervals.

    Raises:
        InputError: if the samples or trainings are not the reference's.
    """
    name, question, role = what
    # A null has other samples than the reference, and a direction perhaps fewer: there is nothing to pair.
    others = None if role in (NULL, DIRECTION) else of_parts
    found = _measure((name, question, role, of.truth), parts, others, adjusted_p, seed)
    return dataclasses.replace(found, evaluation=of.evaluation)


def across(name: str, question: str, role: str, parts: Sequence[Scores], seed: int = 1) -> Finding:
    """Measures a comparison of different databases, such as the paper's own, for the record; see `Finding`.

    Raises:
        InputError: if membership is not known, or a side has fewer than two people.
    """
    return _measure((name, question, role, PERSON), parts, None, None, seed)


def _measure(
    what: tuple[str, str, str, str],
    parts: Sequence[Scores],
    reference_parts: Sequence[Scores] | None,
    adjusted_p: float | None,
    seed: int,
) -> Finding:
    name, question, role, truth = what
    area = intervals.estimate(parts, seed=seed, names=[figures.AUC], method="student")[figures.AUC]
    difference = None
    if reference_parts is not None:
        difference = paired.difference(reference_parts, parts, seed=seed, names=[figures.AUC])[figures.AUC]
    people = figures.count_people(parts[0])
    what_of = (name, question, role, truth, parts[0].evaluation, area, *people, difference, adjusted_p)
    return Finding(*what_of, num_folds=max(part.num_folds for part in parts))
