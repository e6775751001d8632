"""One world of a kind as an auditor meets it: a model, lists of samples and a run, for audit.py."""

from __future__ import annotations

import shutil

import numpy as np

from mint_keras import formats
from mint_keras.audited import taps
from mint_keras.data import tables, worlds
from mint_keras.records import SampleTable
from mint_keras.stages import mint_options, mint_run, train_mint
from mint_keras.stages.mint_options import TrainMint
from mint_keras.stages.validation import models
from mint_keras.stages.validation.options import TRAIN_SHARE, ValidateAuditor, World
from mint_keras.stages.validation.summary import EXPECTED

MODEL, FOREIGN = 1, 2
EXTERNALS, EVALUATE = "externals.parquet", "evaluate.parquet"
_WITHOUT_REFERENCE = "shift"  # who finds a model and photos elsewhere has nobody who was kept out
_NUMBER = 91  # of the first; no other draw has it


def make(config: ValidateAuditor, kind: str) -> str:
    """Draws a world of the first audited model, trains heads on it as train_mint.py does, and says how to audit it.

    Args:
        config: of the validation.
        kind: a key of `worlds.KINDS`.
    """
    for number in (MODEL, FOREIGN):
        models.train(config, number)
    folder = config.out / "worlds" / kind
    world = World(MODEL, _NUMBER + list(worlds.KINDS).index(kind), kind)
    sources = worlds.draw(
        kind,
        models.people(config, MODEL),
        worlds.Sizes(config.claimed, config.held_out, config.externals),
        np.random.default_rng([config.seed, world.model, world.number]),
    )
    lists: dict[str, SampleTable] = {formats.MEMBERS: sources.members, EXTERNALS: sources.externals}
    if sources.evaluate is not None:
        lists[EVALUATE] = sources.evaluate
    if sources.held_out is not None and kind != _WITHOUT_REFERENCE:
        lists[formats.HELD_OUT] = sources.held_out
    audited = folder / "model"
    audited.mkdir(parents=True, exist_ok=True)
    for name in (formats.MODEL, formats.MANIFEST):  # without the lists of its own people, which an auditor has not
        shutil.copyfile(models.folder(config, MODEL) / name, audited / name)
    for name, table in lists.items():
        tables.write_samples(folder / name, table)
    num_train = config.claimed * config.photos // TRAIN_SHARE
    run = TrainMint(
        head="vanilla",
        out=folder / "run",
        taps=(mint_options.COMBINATION, taps.OUTCOME),
        audited=audited,
        members=str(folder / formats.MEMBERS),
        externals=(str(folder / EXTERNALS),),
        evaluate=(str(folder / EVALUATE),) if EVALUATE in lists else (),
        held_out=str(folder / formats.HELD_OUT) if formats.HELD_OUT in lists else "",
        num_train=num_train,
        num_test=config.claimed * config.photos - num_train,
        seed=config.seed,
        quiet=config.quiet,
    )
    if not mint_run.is_finished(run):
        train_mint.train_mint(run)
    return (
        f"{kind}: {expected(kind)} is expected of\n  python scripts/audit.py --run {run.out} "
        f"--foreign {models.folder(config, FOREIGN)} --out {folder / 'audit'}"
    )


def expected(kind: str) -> str:
    """Returns the verdict that is expected of a world as an auditor meets it, in words."""
    return "cannot decide" if kind == _WITHOUT_REFERENCE else EXPECTED[kind]
