"""Work beside other work: in a thread of this process, or in parts spread over many workers by Ray Data."""

import collections
import concurrent.futures
import itertools
import logging
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mint_keras.records import InputError

T = TypeVar("T")
HERE = "1"
RAY = "ray"
_BESIDE = "beside"  # its thread's name


def check(workers: str) -> None:
    """Raises InputError for what is neither this process, a Ray of one's own, nor the address of one."""
    if workers not in (HERE, RAY) and not workers.startswith("ray://"):
        raise InputError(f"Expected --workers 1, ray or ray://HOST:PORT, received {workers!r}.")
    if workers != HERE:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InputError("Expected Ray for --workers: pip install -r requirements-scale.txt") from error


def beside(*works: Callable[[], T]) -> list[concurrent.futures.Future[T]]:
    """Does works one after another in a thread, and returns their results to come.

    The thread ends with the process, which waits for nobody: an interruption is an end.
    """
    coming = [concurrent.futures.Future[T]() for _ in works]

    def run() -> None:
        for result, work in zip(coming, works, strict=True):
            try:
                result.set_result(work())
            except BaseException as error:  # whoever asks for the result is told
                result.set_exception(error)

    threading.Thread(target=run, name=_BESIDE, daemon=True).start()
    return coming


def in_order(works: Iterable[Callable[[], T]], num: int) -> Iterator[T]:
    """Yields the results of works in their order, of which so many are done at once, each in a thread as of `beside`.

    One more than `num` is begun, so that none waits for the first of them to be asked for.
    """
    coming = collections.deque[concurrent.futures.Future[T]]()
    for work in works:
        coming += beside(work)
        if len(coming) > num:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def are_beside() -> bool:
    """Returns whether a thread of `beside` is still at work."""
    return any(thread.name == _BESIDE for thread in threading.enumerate())


def map_parts(
    worker: Callable[[Any], Any], work: Any, parts: Sequence[int], address: str, num_workers: int | None = None
) -> Iterator[Any]:
    """Yields what workers make of parts: in their order from this process, in any order from Ray's.

    Args:
        worker: A class. An instance, made once on each device from `work`, turns the number of a part into a result.
        work: What it needs; it travels to the workers.
        parts: Numbers of the parts.
        address: "1" for this process; "ray" starts workers here, "ray://HOST:PORT" uses a cluster that runs.
        num_workers: At most so many; by default one for each GPU, or else processor core.

    Raises:
        InputError: if a worker raised it. Ray replaces one that dies and gives its part to another.
    """
    if address == HERE or not parts:
        if parts:
            yield from map(worker(work), parts)
        return
    import ray

    package = str(Path(__file__).resolve().parent)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        local: dict[str, Any] = {"_temp_dir": folder, "include_dashboard": False}
        remote: dict[str, Any] = {"address": address, "runtime_env": {"py_modules": [package]}}
        ray.init(**(local if address == RAY else remote), log_to_driver=False, logging_level=logging.ERROR)
        try:
            run = _map if address == RAY else _map_there
            yield from run(worker, work, parts, num_workers)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise InputError(
                f"Expected workers that see this machine's files and packages, received: {last}"
            ) from error
        finally:
            ray.shutdown()


def use_one_device() -> None:
    """Keeps TensorFlow of a worker to the one processor core that it was given, or to its one GPU."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


class _Driver:
    """Runs `_map` inside a cluster: Ray Data does not iterate in a process that is only connected to one."""

    def __init__(self, worker: Callable[[Any], Any], work: Any, parts: Sequence[int], limit: int | None) -> None:
        self._results = _map(worker, work, parts, limit)

    def next_results(self) -> list[Any]:
        """Returns the next result; nothing after the last."""
        return list(itertools.islice(self._results, 1))


def _map_there(worker: Callable[[Any], Any], work: Any, parts: Sequence[int], limit: int | None) -> Iterator[Any]:
    import ray

    driver = ray.remote(num_cpus=0)(_Driver).remote(worker, work, parts, limit)
    try:
        while results := ray.get(driver.next_results.remote()):
            yield from results
    except ray.exceptions.RayTaskError as error:  # what `_map` raises comes wrapped
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise


def _map(worker: Callable[[Any], Any], work: Any, parts: Sequence[int], limit: int | None) -> Iterator[Any]:
    import ray
    import ray.data

    class Actor:
        def __init__(self) -> None:
            self._worker = worker(work)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            (part,) = batch["part"]
            try:
                return {"result": [self._worker(int(part))], "error": [""]}
            except InputError as error:  # which Ray would wrap
                return {"result": [None], "error": [str(error)]}

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    resources = ray.cluster_resources()
    num_gpus = int(resources.get("GPU", 0))
    each: dict[str, Any] = {"num_gpus": 1} if num_gpus else {"num_cpus": 1}
    num_workers = min(num_gpus or int(resources["CPU"]), limit or len(parts), len(parts))
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items([{"part": int(part)} for part in parts], override_num_blocks=len(parts))
    # A part is work for minutes: none waits for a busy worker while another one is free.
    pool = ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1)
    done = dataset.map_batches(Actor, batch_size=1, compute=pool, **each)
    for row in done.iter_rows():
        if row["error"]:
            raise InputError(row["error"])
        yield row["result"]
