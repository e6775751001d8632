"""Observations of people who exist in name only, for the tests of scorers."""

from collections.abc import Mapping

import numpy as np

from mint_keras.records import Observations, SampleTable


def observed(people: np.ndarray, arrays: Mapping[str, np.ndarray], database: str = "web") -> Observations:
    """Arrays of n rows, of photos of these people, (n,)."""
    people = np.asarray(people).astype(str)
    names = np.array([f"photo{k:05d}" for k in range(len(people))])
    return Observations(SampleTable(names, np.full(len(people), database), people, names), dict(arrays))


def only(seen: Observations, names: tuple[str, ...]) -> Observations:
    """The same samples without other arrays than these."""
    return Observations(seen.table, {name: seen[name] for name in names})
