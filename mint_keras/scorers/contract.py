"""What every scorer is: it says what it must see, learns from samples of known membership, and scores others.

A control is the same scorer through another model: it needs, fits and scores alike.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from mint_keras.audited import taps
from mint_keras.data import images, splits
from mint_keras.records import AUDITED, REFERENCE, InputError, Observations, Scores

NUM_FOLDS = 5  # of cross-fitting: four fifths of the people are fitted on

# From what was seen of n samples to their logits, (n,), float32: higher is more likely a member, NaN where a sample
# cannot be scored.
Fitted = Callable[[Observations], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a scorer must see of every sample.

    Attributes:
        taps: Taps of the model.
        pooling: What is taken of every channel of their maps, a key of `aad.pooling.POOLINGS`; "" for the maps.
        signals: What else the model must give, see `aad.signals`.
        has_views: Whether it looks at how the model answers small changes of a face, see `aad.views`.
        has_pixels: Whether it looks at pixels, and at no model at all, see `scorers.blind`.
        has_labels: Whether it learns from the samples' membership.
    """

    taps: tuple[str, ...] = ()
    pooling: str = "max"
    signals: tuple[str, ...] = ()
    has_views: bool = False
    has_pixels: bool = False
    has_labels: bool = True


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The samples that a scorer was fitted on, with pixels and embeddings if these were in memory, and the fit's seed.

    With them a control can fit the same on what another model gives, beside the same references.
    """

    samples: Observations
    is_member: np.ndarray
    seed: int


def as_truth(is_member: Any) -> np.ndarray:
    """Returns who is a member as bool, of shape (n,), also of 0 and 1.

    Raises:
        InputError: if there is anything else: what nobody knows (NaN, None) and texts would count as members.
    """
    values = np.asarray(is_member)
    if values.dtype != bool and (wrong := [one for one in values.ravel().tolist() if one not in (0, 1)]):
        raise InputError(f"Expected True or False of each sample, received {len(wrong)} others, such as {wrong[0]!r}.")
    return values.astype(bool)


def calibration_of(seen: Observations, is_member: np.ndarray, seed: int) -> Calibration:
    """Returns what a scorer keeps of what it is fitted on: also all arrays with `REFERENCE` anywhere in their names."""
    kept = {name: x for name, x in seen.arrays.items() if name in (images.PIXELS, taps.OUTCOME) or REFERENCE in name}
    return Calibration(Observations(seen.table, kept), as_truth(is_member), seed)


class Scorer(Protocol):
    """A recipe that has seen nothing yet."""

    @property
    def name(self) -> str:
        """How scores name it (`Scores.scorer`)."""

    @property
    def tap(self) -> str:
        """How scores name what it looks at (`Scores.tap`)."""

    @property
    def needs(self) -> Needs:
        """What it must see."""

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns from samples whose membership is known, (n,), bool."""


def cross_fit(
    recipe: Scorer, seen: Observations, is_member: np.ndarray, evaluation: str, seed: int, model: str = AUDITED
) -> Scores:
    """Returns scores of n samples, each by what was fitted without anybody of its fold: all can be reported on.

    A person is in one of `NUM_FOLDS` folds; whatever a recipe chooses, such as its regularisation, it chooses within
    the others (Chernozhukov et al., 2018). Samples that cannot be scored are left out.

    Example:
        >>> from mint_keras.records import Sample, tabulate
        >>> from mint_keras.scorers.look import Look
        >>> table = tabulate([Sample(str(row), "web", str(row // 2), "") for row in range(80)])
        >>> seen = Observations(table, {"outcome": np.random.default_rng(1).normal(size=(80, 8))})
        >>> cross_fit(Look(), seen, np.arange(80) % 4 < 2, "same_database", seed=1).logit.shape
        (80,)
    """
    logit = np.empty(len(seen), np.float32)
    # Scores of several fits are put side by side, which is only fair if none of them knows its fold's people.
    for others, fold in splits.folds_of_people(seen.people(), is_member, NUM_FOLDS, seed):
        logit[fold] = recipe.fit(seen.take(others), is_member[others], seed)(seen.take(fold))
    # Whoever takes nothing from the labels has intervals as if it were fitted on nobody.
    num, kept = NUM_FOLDS if recipe.needs.has_labels else 0, np.flatnonzero(np.isfinite(logit))
    what = (recipe.name, recipe.tap, evaluation, seed, seen.table.take(kept), is_member[kept], logit[kept])
    return Scores(*what, model, num)
