"""From scores to a line of results.jsonl."""

from collections.abc import Mapping
from typing import Any

from mint_keras.records import ResultRow, Scores
from mint_keras.statistics import metrics
from mint_keras.statistics.figures import membership


def summarise(scores: Scores, figures: Mapping[str, Any] | None = None) -> ResultRow:
    """Returns the figures of scores; accuracy, loss and cross_entropy are those of `model.evaluate` where given.

    Raises:
        InputError: if nobody knows who is a member, or all are of one class.
    """
    is_member = membership(scores)
    if figures is None:
        # A head's loss has its L1 penalty besides; scores alone know nothing of it.
        cross_entropy = metrics.cross_entropy(is_member, scores.logit)
        accuracy = metrics.accuracy(is_member, scores.score)
        figures = {"accuracy": accuracy, "loss": cross_entropy, "cross_entropy": cross_entropy}
    num_members = int(is_member.sum())
    return ResultRow(
        scorer=scores.scorer,
        tap=scores.tap,
        evaluation=scores.evaluation,
        seed=scores.seed,
        num_members=num_members,
        num_externals=len(is_member) - num_members,
        auc=metrics.auc(is_member, scores.score),
        tpr_at_1_fpr=metrics.tpr_at_fpr(is_member, scores.score),
        model=scores.model,
        **figures,
    )
