"""What heads train and are evaluated on: balanced batches of AAD, read as they are needed."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mint_keras import paper
from mint_keras.records import InputError

CLASS_BATCH = paper.BATCH_SIZE // 2  # a batch holds as many members as externals
_BLOCK = 16  # batches
# Held, a vanilla head trains on 40,000 vectors a second on two cores, faster than Python reads them one by one.
HELD_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class LabelledAad:
    """Some rows of an AAD store, or of its pixels, with their labels.

    Attributes:
        features: Arrays in memory or of `aad.store`, each of shape (N, ...), by input of the model.
        rows: Row numbers of the features, shape (n,).
        is_member: Classes of these rows, shape (n,), bool.
        held_bytes: Features of no more bytes than these are held in memory; larger ones are read batch by batch.
    """

    features: Mapping[str, Any]
    rows: np.ndarray
    is_member: np.ndarray
    held_bytes: int = HELD_BYTES

    def batch(self, chosen: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns features {tap: (k, ...)} as they are stored and labels (k, 1), float32, of k of the n rows."""
        features = {tap: values[self.rows[chosen]] for tap, values in self.features.items()}
        return features, self.is_member[chosen, None].astype(np.float32)

    def dataset(self, batches: Callable[[], Iterator[np.ndarray]], batch_size: int) -> tf.data.Dataset:
        """Returns a dataset of the batches that an iterator of choices names; AAD is float32 there, pixels uint8.

        Each choice has `batch_size` of the n rows; the last may be smaller.
        """
        if sum(num_bytes(values, len(self.rows)) for values in self.features.values()) <= self.held_bytes:
            # Python only chooses, for many batches at once; TensorFlow gathers.
            everything = tf.nest.map_structure(tf.constant, self.batch(np.arange(len(self.rows))))

            def blocks() -> Iterator[np.ndarray]:
                choices = batches()
                while block := list(itertools.islice(choices, _BLOCK)):
                    yield np.concatenate(block)

            choices = tf.data.Dataset.from_generator(blocks, output_signature=tf.TensorSpec((None,), tf.int64))
            made = choices.rebatch(batch_size).map(
                lambda chosen: tf.nest.map_structure(lambda values: tf.gather(values, chosen), everything)
            )
        else:
            features = {tap: tf.TensorSpec((None, *v.shape[1:]), v.dtype) for tap, v in self.features.items()}
            made = tf.data.Dataset.from_generator(
                lambda: (self.batch(chosen) for chosen in batches()),
                output_signature=(features, tf.TensorSpec((None, 1), tf.float32)),
            )

        return made.map(lambda features, labels: (widened(features), labels)).prefetch(2)


def num_bytes(values: Any, num_rows: int | None = None) -> int:
    """Returns what rows of an array take, by default all, also of one on the disk."""
    num = len(values) if num_rows is None else num_rows
    return num * int(np.prod(values.shape[1:])) * int(values.dtype.itemsize)


def widened(features: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns AAD as float32, and pixels as they are."""
    # In TensorFlow, which is faster at it than NumPy.
    tensors = {tap: tf.convert_to_tensor(values) for tap, values in features.items()}
    return {tap: tf.cast(v, tf.float32) if v.dtype.is_floating else v for tap, v in tensors.items()}


def balanced_batches(is_member: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields one epoch of batches as row indices: 64 members, then 64 externals, from the class of every sample, (n,).

    An epoch is one pass over the larger class; the smaller is repeated; the last partial batch is dropped.
    """
    classes = [np.flatnonzero(is_member), np.flatnonzero(~is_member)]
    size = max(len(rows) for rows in classes)
    # Each pass in an order of its own: nobody is seen twice before everybody was seen once.
    orders = [np.concatenate([rng.permutation(rows) for _ in range(0, size, len(rows))]) for rows in classes]
    for start in range(0, size - CLASS_BATCH + 1, CLASS_BATCH):
        yield np.concatenate([order[start : start + CLASS_BATCH] for order in orders])


def check_class_sizes(is_member: np.ndarray) -> None:
    """Raises InputError if a class has too few training samples to fill its half of one batch."""
    num_members, num_externals = np.count_nonzero(is_member), np.count_nonzero(~is_member)
    if min(num_members, num_externals) < CLASS_BATCH:
        received = f"{num_members} members and {num_externals} externals"
        raise InputError(f"Expected at least {CLASS_BATCH} training samples of each class, received {received}.")


def endless(is_member: np.ndarray, seed: int, start: int = 0) -> Iterator[np.ndarray]:
    """Yields the batches of `balanced_batches` of one epoch after another, from epoch `start` on."""
    rng = np.random.default_rng(seed)
    for epoch in itertools.count():
        chosen = balanced_batches(is_member, rng)
        if epoch < start:
            collections.deque(chosen, maxlen=0)  # draws the order, reads nothing
        else:
            yield from chosen


def steps_per_epoch(is_member: np.ndarray) -> int:
    """Counts the batches of an epoch; InputError if a class has fewer than 64 samples."""
    check_class_sizes(is_member)
    return int(max(np.count_nonzero(is_member), np.count_nonzero(~is_member))) // CLASS_BATCH


def train_dataset(data: LabelledAad, seed: int, start: int = 0) -> tuple[tf.data.Dataset, int]:
    """Makes the endless stream of balanced training batches from epoch `start` on, and counts the batches of an epoch.

    A batch is ({tap: (128, ...)}, (128, 1)). InputError if a class has fewer than 64 samples.
    """
    steps = steps_per_epoch(data.is_member)
    return data.dataset(lambda: endless(data.is_member, seed, start), 2 * CLASS_BATCH), steps


def evaluation_dataset(data: LabelledAad, batch_size: int = 256) -> tf.data.Dataset:
    """Makes one ordered pass over all samples, for `evaluate` and `predict`."""
    num = -(-len(data.rows) // batch_size)
    made = data.dataset(lambda: in_order(data, batch_size), batch_size)
    return made.apply(tf.data.experimental.assert_cardinality(num))


def in_order(data: LabelledAad, batch_size: int = 256) -> Iterator[np.ndarray]:
    """Yields all of the n rows, batch by batch."""
    starts = range(0, len(data.rows), batch_size)
    return (np.arange(start, min(start + batch_size, len(data.rows))) for start in starts)
