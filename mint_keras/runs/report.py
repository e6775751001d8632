"""What a run leaves behind: scores, results and pictures; and what it says of them."""

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mint_keras import formats, score_files, workers
from mint_keras.aad import pooling, signals
from mint_keras.data import protocol as protocols
from mint_keras.data import protocol_files, synthetic
from mint_keras.data.people import are_unknown
from mint_keras.records import AUDITED, InputError, ResultRow, Scores
from mint_keras.report import plots, run_table, tables
from mint_keras.runs import aad as run_aad
from mint_keras.runs import face_quality, plus
from mint_keras.runs import run as runs
from mint_keras.runs.spec import COMBINATION, RunSpec
from mint_keras.scorers.baselines import BASELINES, EMBEDDING_NORM
from mint_keras.statistics import metrics

TABLE = "table.json"
_LEGEND = """Means over the trainings of each head, with 95% intervals over people and trainings; chance is .50.
  accuracy, AUC   members against externals ({main}), as in the paper
  untrained copy  AUC through a network that was never trained: what the databases alone give away
  same database   members against {others} of their own database {whom} the model never saw
  familiar        those {others}, falsely claimed to be members, against the externals
  MINT+           fitted where only membership differs, between {others} of one database; its last column
                  has {others} on both sides whom the model never saw"""
_PARTS = {
    protocols.TRAIN_MEMBERS: "train, members",
    protocols.TRAIN_EXTERNALS: "train, externals",
    protocols.TEST_MEMBERS: "test, members",
    protocols.TEST_EXTERNALS: "test, externals",
}


def train(
    spec: RunSpec, folder: Path, overwrite: bool = False
) -> tuple[runs.Run, list[Scores], list[ResultRow], run_table.RunTable]:
    """Trains the heads of a run, evaluates them, and writes what it leaves behind; see `runs.run.open_run`."""
    run = runs.open_run(spec, folder, overwrite)
    # Python has little to do while TensorFlow trains heads. MINT+ limits the process to one thread: here for all.
    with threadpool_limits(limits=1):
        found = workers.beside(lambda: plus.scores(run))[0]
        scores, results = runs.evaluate(run, runs.fit_heads(run, spec.keys))
        coming = workers.beside(lambda: table_of(run, scores, found.result()))[0]
        write(run, scores, results)
        table = coming.result()
    formats.write_json(folder / TABLE, table.to_dict())
    return run, scores, results, table


def write(run: runs.Run, scores: Sequence[Scores], results: Sequence[ResultRow]) -> None:
    """Writes scores.csv, results.jsonl, rejected.csv and the ROC pictures into the run's folder."""
    out, main, head = run.folder, run.protocol.main_evaluation, run.spec.head
    rejected = out / "aad" / formats.REJECTED
    if rejected.is_file():
        shutil.copyfile(rejected, out / formats.REJECTED)
    score_files.write_scores(out / formats.SCORES, scores)
    score_files.write_results(out / formats.RESULTS, results)
    of_head = [part for part in scores if (part.seed, part.scorer) == (run.spec.seed, head)]
    by_tap = {part.tap: roc(part) for part in of_head if (part.model, part.evaluation) == (AUDITED, main)}
    plots.save_roc(out / "roc.png", by_tap, f"{head} head, {main.replace('_', ' ')}")
    tap = COMBINATION if COMBINATION in by_tap else next(iter(by_tap))
    of_tap = {(part.model, part.evaluation): roc(part) for part in of_head if part.tap == tap}
    by_column = {name: of_tap[model, e] for name, model, e in tables.columns(main) if (model, e) in of_tap}
    plots.save_roc(out / "roc_controls.png", by_column, f"{head} head on {tap}, and its controls")


def roc(part: Scores) -> plots.Curve:
    """Returns the ROC curve of scores whose membership is known."""
    if part.is_member is None:
        raise InputError(f"Expected scores with known membership, received {part.evaluation!r} without.")
    return metrics.roc_curve(part.is_member, part.logit)


def warn_of_dead_heads(scores: Sequence[Scores]) -> list[str]:
    """A head whose ReLUs have all died scores every sample alike; its 0.500 is a failed training, not a finding."""
    dead = set()
    for part in scores:
        if np.ptp(part.logit) == 0:
            through = "" if part.model == AUDITED else f" through the {part.model} copy"
            dead.add(f"{part.scorer} on {part.tap}{through} (seed {part.seed})")
    listed = ", ".join(sorted(dead))
    return [f"Failed trainings, the same score for everybody: {listed}. Try another --seed."] if dead else []


def table_of(run: runs.Run, scores: Sequence[Scores], of_plus: Sequence[Scores] | None = None) -> run_table.RunTable:
    """Returns the table of a run: what its scores say, and MINT+ of its embeddings, which may be known already."""
    of_plus = plus.scores(run) if of_plus is None else of_plus
    return run_table.measure(scores, of_plus, run.spec.head, run.protocol.main_evaluation, run.spec.seed)


def summary(run: runs.Run, results: Sequence[ResultRow], table: run_table.RunTable) -> str:
    """Returns the table with its legend and what it says, the baselines, and whether externals may be members."""
    main = run.protocol.main_evaluation
    others, whom = ("people", "whom") if run.spec.framing.is_face else ("pictures", "that")
    legend = _LEGEND.format(main=main.replace("_", " "), others=others, whom=whom)
    conclusion = textwrap.fill(f"What it says: {run_table.conclude(table)[1]} No verdict: mint audit gives one.", 100)
    said = [run_table.render(table), legend, conclusion]
    names = runs.baseline_names(run)
    if set(names) - {EMBEDDING_NORM}:  # which the README explains
        lines = ["Baselines, fitted on the heads' training samples (the paper's, MIA, is the head on outcome):"]
        lines += [f"  {name.replace('_', ' '):14} {BASELINES[name].meaning}" for name in names]
        if signals.BN_DISTANCE not in run.aad.seen(AUDITED).arrays:
            lines.append(signals.NO_NORMALISATION)
        scored = {(r.scorer, r.evaluation): r.num_members + r.num_externals for r in results if r.model == AUDITED}
        for name in names:
            for evaluation, (rows, _) in run.protocol.evaluations().items():
                if (num := scored.get((name, evaluation), 0)) < len(rows):
                    where, why = f"{name}, {evaluation}".replace("_", " "), BASELINES[name].unscored
                    lines.append(f"{where}: {num} of {len(rows)} samples scored, in balance; {why}.")
        said.append("\n".join(lines))
    if run.spec.protocol is not None:
        scan = protocol_files.read_protocol(run.spec.protocol)[1]["scan"]
        said.append(protocol_files.scan_text(scan))
    # Of the lab's drawn people everything is known.
    elif not all(synthetic.is_synthetic(location) for location in run.protocol.table.location.tolist()):
        said.append(protocol_files.scan_text(None))
    return "\n\n".join(said)


def describe(run: runs.Run) -> str:
    """Says in a few lines what is compared with what, and what could not be used."""
    table, met, spec = run.protocol.table, run.aad.manifest, run.spec
    lines = [f"Audited model: {spec.audited}"]
    parts = {**_PARTS, protocols.HELD_OUT: "held-out people" if spec.framing.is_face else "held out"}
    for part, name in parts.items():
        chosen = table.take(run.protocol.part == part)
        databases = ", ".join(np.unique(chosen.database)) or "none given"
        is_unknown = are_unknown(chosen.people())
        num, unknown = len(np.unique(chosen.people()[~is_unknown])), int(is_unknown.sum())
        said = f", {unknown} of unknown identity" if unknown else ""
        lines.append(f"{name + ':':17} {len(chosen):6} images, {num:5} identities{said} ({databases})")
    lines += face_quality.compare(run.protocol)
    if are_unknown(table.people()).any():
        lines.append("Intervals take all of a database of whom nobody knows who they are for one person.")
    if (run.folder / run_aad.PRECISION).is_file():
        measured: dict[str, Any] = formats.read_json(run.folder / run_aad.PRECISION)
        cosines = ", ".join(f"{tap} {cosine:.6f}" for tap, cosine in measured["cosine"].items())
        lines.append(
            f"AAD in {measured['precision']}. The lower precision runs {measured['speedup']:.2f} times as fast as "
            f"float32 here; smallest cosine with it: {cosines}."
        )
    lines += [formats.read_json(path)["engine_said"] for path in run.folder.glob(run_aad.ENGINE)]
    if (run.folder / run_aad.SOURCE).is_file():
        choice = formats.read_json(run.folder / run_aad.SOURCE)
        lines.append(f"AAD {choice['source']} ({choice['asked']} was asked for): {choice['why']}.")
    again = [
        f"{key.name} ({key.model}, seed {key.seed}; {formats.read_json(path)['trainings']})"
        for key in spec.keys
        if (path := key.path(run.folder, spec.seed).with_name(runs.DIED)).is_file()
    ]
    if again:
        lines.append(
            "Heads whose training failed, the same score for everybody, and that were trained again from another "
            f"seed, how often behind them: {', '.join(again)}."
        )
    if spec.pooling != pooling.MAX:
        lines.append(f"Heads take the {spec.pooling} of every channel; the paper's take its maximum.")
    if met["resized"]:
        counts = ", ".join(f"{name} {count}" for name, count in met["resized"].items())
        lines.append(f"{spec.framing.why_resized()}: {counts}. Heads may tell databases by this alone.")
    if native := spec.framing.native:
        lines.append(f"Larger images were first shrunk to {native}x{native} (--native-resolution).")
    if met["rejected"]:
        lines.append(f"{met['rejected']} files could not be used: {run.folder / formats.REJECTED}")
    return "\n".join(lines)
