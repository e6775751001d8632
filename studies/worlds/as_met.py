"""One world of a kind as an auditor meets it: a model, lists of samples and a run, for audit.py."""

from __future__ import annotations

import shutil

from mint_keras import formats
from mint_keras.audited import taps
from mint_keras.data import sample_tables
from mint_keras.records import SampleTable
from mint_keras.runs import report, run
from mint_keras.runs.spec import COMBINATION, RunSpec
from studies.worlds import drawing, summary
from studies.worlds.networks import WorldsLab
from studies.worlds.spec import World

MODEL, FOREIGN = 1, 2
EXTERNALS, EVALUATE = "externals.parquet", "evaluate.parquet"
# Who finds a model, and photos elsewhere, has nobody who was kept out.
_WITHOUT_REFERENCE = "shift"
# The number of the first of these worlds, which no other draw has.
_NUMBER = 91


def make(lab: WorldsLab, kind: str) -> str:
    """Draws a world of the first audited model, trains heads on it as train_mint.py does, and says how to audit it.

    Args:
        lab: The audited models.
        kind: A key of `drawing.KINDS`.
    """
    for number in (MODEL, FOREIGN):
        lab.train(number)
    folder = lab.out / "worlds" / kind
    world = World(MODEL, _NUMBER + list(drawing.KINDS).index(kind), kind)
    sources = lab.spec.sources(world, lab.people(MODEL))
    lists: dict[str, SampleTable] = {formats.MEMBERS: sources.members, EXTERNALS: sources.externals}
    if sources.evaluate is not None:
        lists[EVALUATE] = sources.evaluate
    if sources.held_out is not None and kind != _WITHOUT_REFERENCE:
        lists[formats.HELD_OUT] = sources.held_out
    audited = folder / "model"
    audited.mkdir(parents=True, exist_ok=True)
    # Without the lists of its own people, which an auditor has not.
    for name in (formats.MODEL, formats.MANIFEST):
        shutil.copyfile(lab.folder(MODEL) / name, audited / name)
    for name, table in lists.items():
        sample_tables.write_samples(folder / name, table)
    spec = RunSpec(
        head="vanilla",
        audited=audited,
        taps=(COMBINATION, taps.OUTCOME),
        members=str(folder / formats.MEMBERS),
        externals=(str(folder / EXTERNALS),),
        evaluate=(str(folder / EVALUATE),) if EVALUATE in lists else (),
        held_out=str(folder / formats.HELD_OUT) if formats.HELD_OUT in lists else "",
        num_train=lab.spec.num_train,
        num_test=lab.spec.num_test,
        num_seeds=1,
        seed=lab.spec.seed,
    )
    if not run.is_finished(spec, folder / "run"):
        opened = run.open_run(spec, folder / "run")
        run.fit_heads(opened, spec.keys)
        report.write(opened, *run.evaluate(opened))
    return (
        f"{kind}: {expected(kind)} is expected of\n  python scripts/audit.py --run {folder / 'run'} "
        f"--foreign {lab.folder(FOREIGN)} --out {folder / 'audit'}"
    )


def expected(kind: str) -> str:
    """Returns the verdict that is expected of a world as an auditor meets it, in words."""
    return "cannot decide" if kind == _WITHOUT_REFERENCE else summary.EXPECTED[kind]
