"""Changed photos are changed as much as they say, the same way every time."""

from __future__ import annotations

import numpy as np
import pytest

from mint_keras.data import changes, synthetic

FACES = np.stack([synthetic.render(f"synthetic:1/web/{person}/0") for person in range(3)])


def distance(name: str, seed: int = 1) -> float:
    changed = changes.CHANGES[name](FACES, np.random.default_rng(seed))
    assert changed.shape == FACES.shape
    assert changed.dtype == np.uint8
    return float(np.abs(changed.astype(float) - FACES).mean())


@pytest.mark.parametrize(
    "names",
    [
        ("unchanged", "JPEG 90", "JPEG 50", "JPEG 10"),
        ("unchanged", "75% size", "50% size", "25% size"),
        ("unchanged", "noise 4", "noise 8", "noise 16"),
    ],
)
def test_each_step_changes_more(names: tuple[str, ...]) -> None:
    distances = [distance(name) for name in names]
    assert distances[0] == 0
    assert distances == sorted(set(distances))


def test_the_same_seed_gives_the_same_noise() -> None:
    noisy = [changes.CHANGES["noise 8"](FACES, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
