"""What every ingredient of MINT+ is worth: without it, with it, and by itself."""

from __future__ import annotations

import dataclasses

import numpy as np

from mint_keras.data.protocol import SAME_DATABASE
from mint_keras.records import Observations
from mint_keras.scorers import mint_plus
from mint_keras.scorers.contract import cross_fit
from mint_keras.scorers.mint_plus import MintPlus
from mint_keras.statistics import metrics

Known = tuple[Observations, np.ndarray]  # of n samples, and which of them are members, (n,), bool


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What some ingredients are worth.

    Attributes:
        ingredients: The ingredients that were used.
        calibration_auc: The AUC of the calibration's people, each scored by what was fitted without their fold.
        evaluation_auc: The AUC of the evaluation; None where there is none.
    """

    ingredients: tuple[str, ...]
    calibration_auc: float
    evaluation_auc: float | None


def ablate(calibration: Known, evaluation: Known | None, recipe: MintPlus, seed: int = 1) -> dict[str, Ablation]:
    """Fits MINT+ on its default ingredients, on all but each of them, with each of the rest, and on each alone.

    Args:
        calibration: What it is fitted on.
        evaluation: Other people, whom it scores. None while anything is still to be chosen.
        recipe: What is asked of it; its ingredients are replaced.
        seed: Seeds the folds.

    Returns:
        By "default", "without NAME", "with NAME" and "only NAME".
    """
    seen, is_member = calibration
    used = mint_plus.defaults(seen, recipe.level, recipe.truth)
    rest = [name for name in mint_plus.available(seen, recipe.level) if name not in used]
    sets = {"default": used}
    if len(used) > 1:
        sets |= {f"without {name}": tuple(other for other in used if other != name) for name in used}
    sets |= {f"with {name}": (*used, name) for name in rest} | {f"only {name}": (name,) for name in (*used, *rest)}
    found = {}
    for label, chosen in sets.items():
        fitted = dataclasses.replace(recipe, ingredients=chosen).fit(seen, is_member, seed)
        auc = None
        if evaluation is not None:
            logit = fitted(evaluation[0])
            is_scored = np.isfinite(logit)
            auc = metrics.auc(evaluation[1][is_scored], logit[is_scored])
        known = cross_fit(fitted.recipe, seen, is_member, SAME_DATABASE, seed)
        found[label] = Ablation(chosen, metrics.auc(np.asarray(known.is_member), known.logit), auc)
    return found
