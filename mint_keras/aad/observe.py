"""The one loop that shows samples to something and keeps what it gives, in memory (`extract` keeps it on the disk)."""

import numpy as np

from mint_keras.aad import extract
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import images
from mint_keras.records import InputError, Observations, SampleTable


def observe(
    samples: SampleTable | Observations,
    look: FaceFunction,
    framing: images.Framing = images.FACE,
    batch_size: int = extract.BATCH_SIZE,
    is_filled: bool = True,
) -> Observations:
    """Shows samples to a model, or to whatever else looks at faces; no more than a batch of images is held.

    Args:
        samples: Samples whose pixels lie where their table says, or faces that are in memory already: observations
            with an array "pixels", which is kept.
        look: From uint8 faces, (batch, size, size, 3), to named arrays, (batch, ...).
        framing: What images become before they are shown.
        batch_size: Images shown at once.
        is_filled: Whether the last batch is filled up. A network's outputs differ in the last bits between batch sizes.

    Returns:
        The samples that could be read, with what was given for each.

    Raises:
        InputError: If none could be read.

    Example:
        >>> from mint_keras.data import synthetic
        >>> people = synthetic.sample_table("synthetic:1/web/0-1/2")
        >>> seen = observe(people, lambda faces: {"mean": faces.mean((1, 2, 3))})
        >>> len(seen), seen["mean"].shape
        (4, (4,))
    """
    if isinstance(samples, Observations) and images.PIXELS in samples.arrays:
        return samples.adding(**run(look, samples[images.PIXELS], batch_size, is_filled))
    table = samples.table if isinstance(samples, Observations) else samples
    rows, parts = [], []
    for some_rows, faces in images.FaceReader(framing).batches(table, batch_size):
        rows.append(some_rows)
        parts.append(run(look, faces, batch_size, is_filled))
    if not rows:
        raise InputError(f"Expected images that can be read, received {len(table)} samples without any.")
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Observations(table.take(np.concatenate(rows)), arrays)


def run(
    look: FaceFunction, faces: np.ndarray, batch_size: int = extract.BATCH_SIZE, is_filled: bool = True
) -> dict[str, np.ndarray]:
    """Shows faces that are in memory; see `observe`."""
    some = [faces[start : start + batch_size] for start in range(0, len(faces), batch_size)]
    parts = [extract.run({"": look}, batch, batch_size if is_filled else len(batch))[""] for batch in some]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
