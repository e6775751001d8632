"""Who is the same person as whom, where a database only says it of pairs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def join_people(pairs: Iterable[Iterable[str]]) -> dict[str, str]:
    """Returns for every name the first name, in alphabetical order, that a chain of pairs joins it to."""
    from scipy.sparse import coo_array  # the laptop scorer has no SciPy
    from scipy.sparse.csgraph import connected_components

    ends = np.array([list(pair) for pair in pairs], dtype=np.str_).reshape(-1, 2)
    names, positions = np.unique(ends, return_inverse=True)
    first, second = positions.reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    # Backwards, so that the first name of each component is set last and stays.
    leaders = dict(zip(component[::-1].tolist(), names[::-1].tolist(), strict=True))
    return {name: leaders[label] for name, label in zip(names.tolist(), component.tolist(), strict=True)}
