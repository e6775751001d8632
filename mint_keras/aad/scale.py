"""Many workers: the shards of a store as Ray Data `map_batches`, one actor for each device. We write no scheduler."""

import dataclasses
from pathlib import Path

from mint_keras import formats, workers
from mint_keras.aad import extract, models, store
from mint_keras.data import sample_tables


@dataclasses.dataclass(frozen=True)
class ShardWork:
    """What a worker has to know to make any shard of a store in a folder, on a disk that all workers share."""

    folder: Path
    spec: models.ModelSpec
    layout: extract.Layout


class ShardWorker:
    """Loads the models once and writes shards; the store's list of samples must have one part for each of them."""

    def __init__(self, work: ShardWork) -> None:
        workers.use_one_device()
        self._work = work
        self._functions = models.face_functions(work.spec, models.extractors(work.spec, models.load(work.spec)))

    def __call__(self, shard: int) -> int:
        """Writes a shard unless it is there; returns how many samples it covers."""
        part = sample_tables.read_samples(self._work.folder / formats.SAMPLES, part=shard)
        if not store.is_written(self._work.folder, shard):
            decoded = extract.decode(part, self._work.layout.framing)
            extract.write_shard(self._work.folder, shard, decoded, self._functions, self._work.layout)
        return len(part)
