"""Statistics whose sign no label set: networks do these things to the people that they were trained on, and not others.

MINT+ learns from labels which way its scores point, so it finds either side: where the people who are said to be kept
out are the ones that were used, it finds them as members. These statistics can only find the side that was used.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from mint_keras import vectors
from mint_keras.aad import views
from mint_keras.data import splits
from mint_keras.records import Observations
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.scorers.contract import Fitted, Needs
from mint_keras.scorers.log_odds import People, log_odds, people_of

NAME = "direction"


@dataclasses.dataclass(frozen=True)
class Direction:
    """The mean of standardised statistics, each larger for members; see `scorers.contract.Scorer`.

    These are the length of the embedding (longer for faces that a network knows well), how little it turns when the
    face is changed a little (`aad.views`), and, where everybody has two photos or more, the log-odds of the person's
    own other photos against all other people (a margin loss pulls a member's photos together and pushes other people
    away). In worlds of known truth they point to the side that was used (docs/results).
    """

    name: str = NAME
    tap: str = "known signs"
    needs: ClassVar[Needs] = Needs(has_views=True, has_labels=False)

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Takes scales, and the other people, from samples; what is a member's among them makes no difference."""
        del is_member, seed
        others = people_of(seen[OUTCOME], seen.people())
        known = _statistics(seen, others)
        scale = {name: (values.mean(), max(float(values.std()), 1e-12)) for name, values in known.items()}

        def score(shown: Observations) -> np.ndarray:
            found = _statistics(shown, others)
            # Both or neither: a statistic that some people lack would say who has many photos.
            shared = [name for name in found if name in scale]
            return np.mean([(found[name] - scale[name][0]) / scale[name][1] for name in shared], 0).astype(np.float32)

        return score


def _statistics(seen: Observations, others: People) -> dict[str, np.ndarray]:
    """Returns statistics of n photos, (n,) each."""
    found = {"norm": vectors.log_norms(seen[OUTCOME])}
    if views.COSINES in seen.arrays:
        found["stability"] = np.asarray(seen[views.COSINES], np.float64).mean(axis=1)
    if all(len(rows) > 1 for rows in splits.rows_by_person(seen.people())):
        found["log-odds"] = log_odds(seen[OUTCOME], seen.people(), others)
    return found
