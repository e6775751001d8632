r"""Count the cnn heads that die in training: as the paper prints them, and with the warm-up that is the default here.

A head is dead when all ReLUs of its dense layer are: it scores every sample alike, and no gradient comes back. The
lab's models, their members and people of three other databases. What is counted stays in --out: a command adds the
trainings that it names and that are missing, and an interrupted one continues.

Examples:
    python scripts/dead_heads.py --out runs/dead-heads
    python scripts/dead_heads.py --taps conv1 --epochs 8 --num-seeds 3 --minutes 8 --out runs/dead-heads
    python scripts/dead_heads.py --heads cnn_third cnn_x3 --taps conv1 --sizes 64 --out runs/dead-heads
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.report import tables
from studies import num_databases

if TYPE_CHECKING:
    import numpy as np

    from mint_keras.records import Observations

KIND = "dead_heads"
RESULTS = "dead_heads.json"
# What tells two trainings apart.
_KEY = ("model", "size", "head", "tap", "epochs", "seed", "literal")


@dataclasses.dataclass(frozen=True)
class DeadHeads(Common):
    """Options of dead_heads.py.

    Attributes:
        out: Folder for dead_heads.json and for what the taps gave.
        models: Audited models of the lab.
        heads: The cnn heads: cnn, or those of the paper's Table 7.
        taps: What they look at.
        sizes: Training samples of each class.
        num_seeds: Trainings of each head, with seeds from 1.
        epochs: Passes over the training samples; 0 is as many as the head has, 30. Fewer may end within the
            warm-up of 24 steps.
        variants: literal is the head as printed, warm-up the default.
        minutes: Begin no training after so many minutes; 0 ends with the last.
    """

    out: Path
    models: tuple[str, ...] = ("lab", "lab2", "lab3")
    heads: tuple[str, ...] = ("cnn",)
    taps: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4")
    sizes: tuple[int, ...] = (192,)
    num_seeds: int = 5
    epochs: int = 0
    variants: tuple[str, ...] = ("literal", "warm-up")
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Counted(Result):
    """How many heads died.

    Attributes:
        content: The content of dead_heads.json.
    """

    content: dict[str, Any]


def dead_heads(options: DeadHeads) -> Counted:
    """Trains the heads that are missing, and counts the dead."""
    path, end = options.out / RESULTS, time.monotonic() + 60 * options.minutes
    with formats.output_folder(options.out, formats.make_manifest(KIND, {}, {}), options.overwrite):
        done = formats.read_json(path)["trainings"] if path.is_file() else []
        known = {tuple(one[name] for name in _KEY) for one in done}
        wanted = itertools.product(
            options.models, options.sizes, options.heads, options.taps, [options.epochs],
            range(1, options.num_seeds + 1), [name == "literal" for name in options.variants],
        )  # fmt: skip
        missing = [key for key in wanted if key not in known]
        with progress.bar(total=len(missing), desc="heads", unit="head") as bar:
            for (model, size), keys in itertools.groupby(missing, key=lambda key: key[:2]):
                if options.minutes and time.monotonic() > end:
                    break
                seen, is_member = _look(options.out, model, size)
                for key in keys:
                    if options.minutes and time.monotonic() > end:
                        break
                    what = dict(zip(_KEY, key, strict=True))
                    done.append({**what, **_train(what, seen, is_member)})
                    formats.write_json(path, {"trainings": done})
                    bar.update()
    content = {"trainings": done}
    return Counted(f"{render(content)}\nWritten: {path}", content)


def _look(out: Path, model: str, size: int) -> tuple[Observations, np.ndarray]:
    """Returns what all taps give for a run's training samples, kept in `out`, and who of them are members."""
    import numpy as np

    from mint_keras.aad import models, observe
    from mint_keras.audited import taps
    from mint_keras.records import AUDITED, Observations
    from mint_keras.runs import run as runs
    from mint_keras.runs.spec import RunSpec

    externals, evaluate = num_databases.NAMED_EXTERNALS, runs.LAB_EVALUATE
    run = RunSpec("cnn", Path(model), num_train=size, num_test=64, externals=externals, evaluate=evaluate)
    protocol = runs.choose_samples(run)
    rows, is_member = protocol.training_rows()
    table, path = protocol.table.take(rows), out / f"{model}-{size}.npz"
    if not path.is_file():
        spec = models.ModelSpec(run.model_folder, taps.CONV_TAPS)
        look = models.face_functions(spec, models.extractors(spec, models.load(spec)))[AUDITED]
        seen = observe.observe(table, lambda faces: {tap: maps.astype(np.float16) for tap, maps in look(faces).items()})
        with formats.atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **seen.arrays)
    with np.load(path) as arrays:
        return Observations(table, dict(arrays)), is_member


def _train(what: dict[str, Any], seen: Observations, is_member: np.ndarray) -> dict[str, Any]:
    """Trains one head, once; returns how it scores its training samples."""
    import numpy as np

    from mint_keras.heads import specs
    from mint_keras.scorers.head import Head
    from mint_keras.training import batches, checkpoints, fit_heads

    taps = ("conv1", "conv2", "conv3", "conv4") if what["tap"] == "combination" else (what["tap"],)
    inputs, spec = Head(what["head"], taps).inputs(seen), specs.find(what["head"])
    checkpoints.seed_everything(what["seed"])
    head = spec.build({tap: values.shape[1:] for tap, values in inputs.items()})
    data = batches.LabelledAad(inputs, np.arange(len(is_member)), is_member)
    settings = fit_heads.HeadTraining(
        what["epochs"] or spec.epochs, what["seed"], warmup=0 if what["literal"] else spec.warmup
    )
    start = time.monotonic()
    fit_heads.fit_head(head, data, settings)
    logit = fit_heads.predict_logits(fit_heads.logit_model(head), data)
    found = fit_heads.evaluate_logits(head, logit, {"all": (np.arange(len(logit)), is_member)})["all"]
    is_dead = bool(np.ptp(logit) == 0)
    return {"is_dead": is_dead, **found, "seconds": round(time.monotonic() - start, 1)}


def render(content: dict[str, Any]) -> str:
    """Returns the content of dead_heads.json as a Markdown table, a row for each head, tap, size and length."""
    groups: dict[tuple[Any, ...], dict[bool, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for one in content["trainings"]:
        groups[one["head"], one["tap"], one["size"], one["epochs"] or 30][one["literal"]].append(one)
    rows = [["head", "tap", "samples of each class", "epochs", "as printed: dead", "accuracy of the living",
             "with the warm-up: dead", "accuracy of the living"]]  # fmt: skip
    total = {True: [0, 0], False: [0, 0]}
    for key, by_variant in sorted(groups.items()):
        cells = []
        for literal in (True, False):
            found = by_variant[literal]
            living = [one["accuracy"] for one in found if not one["is_dead"]]
            total[literal][0] += len(found) - len(living)
            total[literal][1] += len(found)
            cells.append(f"{len(found) - len(living)} of {len(found)}" if found else "")
            cells.append(f"{min(living):.2f} to {max(living):.2f}" if living else "")
        rows.append([*map(str, key), *cells])
    printed, warmed = (f"{dead} of {num}" for dead, num in (total[True], total[False]))
    return tables.format_table([*rows, ["all", "", "", "", printed, "", warmed, ""]])
