"""The one loop that shows samples to something, whatever they come from and in whatever batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mint_keras.aad.observe import observe, run
from mint_keras.data import images, synthetic
from mint_keras.records import InputError, Observations, SampleTable, concatenate_tables

TABLE = synthetic.sample_table("synthetic:1/web/0-6/1")
FACES = np.stack([synthetic.render(location) for location in TABLE.location])


class Look:
    """Gives the mean colour and a corner of each face, and remembers how many faces it saw at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        self.sizes.append(len(faces))
        return {"colour": faces.mean((1, 2)), "corner": faces[:, :2, :2]}


def test_samples_are_read_where_their_table_says() -> None:
    seen = observe(TABLE, Look())
    assert seen.table.sample_id.tolist() == TABLE.sample_id.tolist()
    assert set(seen.arrays) == {"colour", "corner"}
    np.testing.assert_array_equal(seen["colour"], FACES.mean((1, 2)))
    np.testing.assert_array_equal(seen["corner"], FACES[:, :2, :2])


def test_faces_in_memory_are_not_read_and_are_kept() -> None:
    nowhere = SampleTable(TABLE.sample_id, TABLE.database, TABLE.identity, np.full(len(TABLE), "nowhere.png"))
    shown = Observations(nowhere, {images.PIXELS: FACES, "age": np.arange(len(TABLE))})
    seen = observe(shown, Look())
    assert set(seen.arrays) == {images.PIXELS, "age", "colour", "corner"}
    assert seen.table is nowhere
    np.testing.assert_array_equal(seen["colour"], observe(TABLE, Look())["colour"])


def test_observations_without_pixels_are_read() -> None:
    seen = observe(Observations(TABLE, {"age": np.arange(len(TABLE))}), Look())
    np.testing.assert_array_equal(seen["colour"], FACES.mean((1, 2)))


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
@pytest.mark.parametrize("is_filled", [False, True])
def test_values_do_not_depend_on_the_batches(in_memory: bool, batch_size: int, is_filled: bool) -> None:
    samples = Observations(TABLE, {images.PIXELS: FACES}) if in_memory else TABLE
    look = Look()
    seen = observe(samples, look, batch_size=batch_size, is_filled=is_filled)
    np.testing.assert_array_equal(seen["colour"], FACES.mean((1, 2)))
    whole = [batch_size] * (len(TABLE) // batch_size)
    rest = [batch_size if is_filled else len(TABLE) % batch_size] if len(TABLE) % batch_size else []
    assert look.sizes == whole + rest
    found = run(Look(), FACES, batch_size, is_filled)
    np.testing.assert_array_equal(found["corner"], seen["corner"])


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no picture")
    broken = [SampleTable(*(np.array([value]) for value in (name, "web", name, str(tmp_path / f"{name}.png"))))
              for name in ("a", "b")]  # fmt: skip
    mixed = concatenate_tables([broken[0], TABLE.take(np.arange(4)), broken[1], TABLE.take(np.arange(4, 7))])
    seen = observe(mixed, Look(), batch_size=2)
    assert seen.table.sample_id.tolist() == TABLE.sample_id.tolist()
    np.testing.assert_array_equal(seen["colour"], FACES.mean((1, 2)))
    with pytest.raises(InputError, match="received 2 samples without any"):
        observe(concatenate_tables(broken), Look())


def test_images_become_what_the_framing_says() -> None:
    seen = observe(
        TABLE, lambda faces: {"size": np.full(len(faces), faces.shape[1])}, images.Framing(32, is_face=False)
    )
    assert seen["size"].tolist() == [32] * len(TABLE)
