"""What an ablation of MINT+ leaves out and leaves alone, on people who differ by the length of their embeddings."""

import numpy as np

from mint_keras.audited.taps import OUTCOME
from mint_keras.records import REFERENCE, Observations, SampleTable
from mint_keras.scorers import mint_plus
from mint_keras.scorers.mint_plus import MintPlus
from studies.plus.ablation import Known, ablate


def draw(seed: int, num_people: int = 80, num_photos: int = 4) -> Known:
    """People at random directions; the first half are members, whose embeddings are longer."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(num_people), num_photos)
    is_member = person < num_people // 2
    centres, noise = rng.normal(size=(num_people, 24)), rng.normal(size=(len(person), 24))
    outcome = (centres[person] + noise) * np.where(is_member, 1.3, 1.0)[:, None]
    names = np.array([f"{seed}/{row}" for row in range(len(person))])
    table = SampleTable(names, np.full(len(person), "web"), np.array([f"{seed}-{who}" for who in person]), names)
    arrays = {
        OUTCOME: outcome.astype(np.float32),
        f"{REFERENCE}_model": centres[person] @ rng.normal(size=(24, 12)) / 5 + noise[:, :12],
    }
    return Observations(table, arrays), is_member


def test_an_ablation_leaves_out_and_leaves_alone() -> None:
    calibration, evaluation = draw(1), draw(2)
    found = ablate(calibration, evaluation, MintPlus())
    assert set(found["default"].ingredients) == {"norm", "cohort", "reference"}
    names = {f"{kind} {name}" for kind in ("only", "without") for name in ("norm", "cohort", "reference")}
    assert set(found) == {"default", *names}
    assert found["only norm"].evaluation_auc > found["without norm"].evaluation_auc + 0.05
    assert found["only norm"].calibration_auc > 0.7


def test_what_is_no_default_is_added() -> None:
    seen, is_member = draw(1, 40)
    found = ablate(
        (Observations(seen.table, {OUTCOME: seen[OUTCOME]}), is_member), None, MintPlus(level=mint_plus.WITH_OTHERS)
    )
    assert {label for label in found if label.startswith("with ")} == {"with grouped"}
    assert found["with grouped"].ingredients == (*found["default"].ingredients, "grouped")


def test_nobody_is_evaluated_while_something_is_to_be_chosen() -> None:
    seen, is_member = draw(1)
    few = Observations(seen.table, {OUTCOME: seen[OUTCOME]})
    assert {row.evaluation_auc for row in ablate((few, is_member), None, MintPlus()).values()} == {None}
