"""Scores of people whose truth is known, for the tests of statistics."""

import numpy as np

from mint_keras.records import SampleTable, Scores


def scores_of(
    is_member: np.ndarray,
    person: np.ndarray,
    logit: np.ndarray,
    database: str | np.ndarray = "web",
    scorer: str = "vanilla",
    evaluation: str = "same_database",
    seed: int = 1,
) -> Scores:
    """Scores of photos named by their person and number."""
    num = len(person)
    names = np.array([f"photo{k:05d}" for k in range(num)])
    database = np.broadcast_to(np.asarray(database), num).copy()
    table = SampleTable(names, database, np.asarray(person).astype(str), names)
    return Scores(scorer, "conv1", evaluation, seed, table, np.asarray(is_member, bool), logit.astype(np.float32))


def draw(
    num_people: tuple[int, int],
    per_person: int,
    effect: float,
    rng: np.random.Generator,
    own: float = 0.7,
    **named: str,
) -> Scores:
    """Members and externals, other people each; `own` is the spread between people, photos of one spread by 0.7."""
    person = np.repeat(np.arange(sum(num_people)), per_person)
    is_member = person < num_people[0]
    logit = own * rng.normal(size=sum(num_people))[person] + 0.7 * rng.normal(size=len(person)) + effect * is_member
    return scores_of(is_member, person, logit, **named)
