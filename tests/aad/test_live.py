"""AAD that is computed when rows are asked for: the numbers of a store, one pass for all taps."""

import keras
import numpy as np
import pytest

from mint_keras.aad import live, store
from mint_keras.data import images
from mint_keras.records import InputError, Observations, Sample, tabulate

FACES = np.random.default_rng(1).integers(0, 256, (150, 4, 4, 3), np.uint8)


def extractor() -> keras.Model:
    pixels = keras.Input((4, 4, 3))
    maps = keras.layers.Conv2D(2, 1, name="first")(pixels)
    return keras.Model(pixels, {"conv1": maps, "outcome": keras.layers.Flatten(name="flat")(maps)})


def test_it_gives_what_a_store_would_hold_in_one_pass() -> None:
    shown: list[int] = []
    scaled = (FACES.astype(np.float32) - 127.5) / 127.5

    def forward(batch: np.ndarray) -> dict[str, np.ndarray]:
        shown.append(len(batch))
        return {"conv1": batch[..., :2] / 3, "outcome": batch[..., :2].reshape(len(batch), -1) / 3}

    given = live.arrays(FACES, extractor(), forward)
    assert {name: (a.shape, a.dtype) for name, a in given.items()} == {
        "conv1": ((150, 4, 4, 2), np.float16),
        "outcome": ((150, 32), np.float32),
    }
    table = tabulate([Sample(str(row), "web", str(row), "") for row in range(150)])
    rows = np.array([149, 3, 3, 80])
    seen = Observations(table, given).take(rows)
    assert not shown  # nothing until rows are asked for
    maps, vectors = seen["conv1"][np.array([3, 0, 1])], seen["outcome"][np.array([3, 0, 1])]
    assert shown == [64]  # one filled batch, for both taps
    wanted = scaled[[80, 149, 3]]
    np.testing.assert_array_equal(maps, store.cast(wanted[..., :2] / 3, "float16", "conv1"))
    np.testing.assert_array_equal(vectors, wanted[..., :2].reshape(3, -1) / 3)
    assert len(given["conv1"][:]) == 150


def test_what_does_not_fit_is_refused() -> None:
    given = live.arrays(FACES, extractor(), lambda batch: {"conv1": batch[..., :2] * 1e6, "outcome": batch[:, 0, 0]})
    with pytest.raises(InputError, match="fit float16"):
        given["conv1"][:2]
    assert images.PIXELS not in given
