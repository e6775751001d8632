"""Two workers of a Ray on this machine: the same bytes as one process, also when a worker dies."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, workers
from mint_keras.aad import extract, models, scale, store
from mint_keras.data import synthetic
from mint_keras.records import InputError

ray = pytest.importorskip("ray", reason="Ray is not installed: requirements-scale.txt")
LAYOUT = extract.Layout(batch_size=8, shard_size=16)


class Fragile(scale.ShardWorker):
    """Dies once, in the middle of the third shard, as a machine that loses its power."""

    def __call__(self, shard: int) -> int:
        died = self._work.folder / "died"
        if shard == 2 and not died.exists():
            died.touch()
            (self._work.folder / "shards" / ".000002.half").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(shard)


class Refuses(scale.ShardWorker):
    def __call__(self, shard: int) -> int:
        raise InputError(f"Expected activations that fit, received others in shard {shard}.")


def files(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("died", None)
    return found


@pytest.mark.long
def test_two_workers_one_of_whom_dies(audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = models.ModelSpec(audited_folder, ("conv4", "outcome"), untrained_seed=1)
    table = synthetic.sample_table("synthetic:1/web/0-29/3")
    cut = models.extractors(spec, models.load(spec))
    extract.extract(table, models.face_functions(spec, cut), tmp_path / "one", LAYOUT)
    work = scale.ShardWork(tmp_path / "many", spec, LAYOUT)
    store.begin(work.folder, table, LAYOUT.shard_size)
    done = sorted(workers.map_parts(Fragile, work, range(6), workers.RAY))
    assert (work.folder / "died").exists()
    assert done == [10, 16, 16, 16, 16, 16]
    store.begin(work.folder, table, LAYOUT.shard_size)  # tidies up after the dead
    for folder in (tmp_path / "one", work.folder):
        store.finish(folder, formats.make_manifest(store.KIND, {}, {}), table, LAYOUT.shard_size)
    assert files(work.folder) == files(tmp_path / "one")
    opened = store.open_store(work.folder)
    assert opened is not None
    faces = np.stack([synthetic.render(location) for location in table.location[-2:]])
    expected = models.face_functions(spec, cut)["audited"](faces)["outcome"]
    np.testing.assert_allclose(opened.arrays["audited"]["outcome"][-2:], expected, atol=1e-4)

    monkeypatch.setattr(workers, "_map", workers._map_there)  # what ray://HOST:PORT does, without a cluster of its own
    started = time.monotonic()
    with pytest.raises(InputError, match="in shard"):
        list(workers.map_parts(Refuses, work, [0], workers.RAY))
    assert time.monotonic() - started < 120


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"requirements-scale.txt"):
        workers.check("ray")
    workers.check(workers.HERE)


def test_parts_in_this_process_come_in_order() -> None:
    assert list(workers.map_parts(lambda work: lambda part: work * part, 2, [3, 1], workers.HERE)) == [6, 2]
    assert list(workers.map_parts(lambda work: 1 / 0, 2, [], workers.RAY)) == []
