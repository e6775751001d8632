"""How people look to a face network other than the audited one: what that network finds is not membership."""

import dataclasses
from typing import ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from mint_keras import vectors
from mint_keras.audited import taps
from mint_keras.records import Observations
from mint_keras.scorers.contract import Fitted, Needs

NAME = "look"


@dataclasses.dataclass(frozen=True)
class Look:
    """A linear discriminant of embeddings and their lengths; see `scorers.contract.Scorer`.

    Its covariance is shrunk by the formula of Ledoit and Wolf (2004), so that nothing about it is to be chosen.
    """

    name: str = NAME
    tap: str = taps.OUTCOME
    needs: ClassVar[Needs] = Needs(taps=(taps.OUTCOME,))

    @threadpool_limits.wrap(limits=1)  # threads of matrices this small wait for one another
    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns from embeddings, (n, d), what tells the sides apart; nothing about it is random."""
        del seed
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=(0.5, 0.5))
        model = make_pipeline(StandardScaler(), discriminant).fit(_columns(seen), is_member)
        return lambda others: model.decision_function(_columns(others)).astype(np.float32)


def _columns(seen: Observations) -> np.ndarray:
    # The length beside the direction: of most networks it says how good a photo is.
    outcome = seen[taps.OUTCOME]
    return np.column_stack([vectors.unit_rows(outcome), vectors.log_norms(outcome)])
