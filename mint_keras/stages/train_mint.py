"""Stage: train the heads of a run, evaluate them, and say what the numbers mean."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np

from mint_keras import formats, score_files
from mint_keras.aad import pooling
from mint_keras.data import protocol as protocols
from mint_keras.data import protocol_files as make_protocol
from mint_keras.data import synthetic
from mint_keras.records import AUDITED, InputError, ResultRow, Scores
from mint_keras.report import plots, tables
from mint_keras.stages import mint_options, mint_run, run_aad, run_baselines
from mint_keras.statistics import metrics

_LEGEND = """Cells: accuracy, AUC, TPR at 1% FPR; chance is 0.500, 0.500, 0.010.
  audited model   members against externals ({main})
  untrained copy  the same through a network that was never trained: what the databases alone give away
  same database   members against {others} of their own database {whom} the model never saw: only membership differs
  familiar        those {others}, falsely claimed to be members, against the externals: none of it is membership"""


def train_mint(config: mint_options.TrainMint) -> str:
    """Extracts AAD, trains a head per tap and combination, evaluates them, and returns the table."""
    run = mint_run.open_run(config)
    mint_run.fit_heads(run, mint_options.head_keys(config))
    scores, results = mint_run.evaluate_heads(run)
    write_evaluation(run, scores, results)
    written = f"Written: {config.out / formats.RESULTS}, {formats.SCORES}, heads/, roc.png, roc_controls.png"
    return "\n\n".join([describe(run), summary(run, results), *warn_of_dead_heads(scores), written])


def write_evaluation(run: mint_run.Run, scores: Sequence[Scores], results: Sequence[ResultRow]) -> None:
    """Writes scores.csv, results.jsonl, rejected.csv and the ROC pictures into the run's folder."""
    out, main = run.config.out, run.protocol.main_evaluation
    rejected = out / "aad" / formats.REJECTED
    if rejected.is_file():
        shutil.copyfile(rejected, out / formats.REJECTED)
    score_files.write_scores(out / formats.SCORES, scores)
    score_files.write_results(out / formats.RESULTS, results)
    head = run.config.head
    scores = [part for part in scores if part.seed == run.config.seed]
    by_tap = {p.tap: roc(p) for p in scores if (p.scorer, p.model, p.evaluation) == (head, AUDITED, main)}
    plots.save_roc(out / "roc.png", by_tap, f"{head} head, {main.replace('_', ' ')}")
    tap = mint_options.COMBINATION if mint_options.COMBINATION in by_tap else next(iter(by_tap))
    of_tap = {(p.model, p.evaluation): roc(p) for p in scores if (p.scorer, p.tap) == (head, tap)}
    by_column = {name: of_tap[model, e] for name, model, e in tables.columns(main) if (model, e) in of_tap}
    plots.save_roc(out / "roc_controls.png", by_column, f"{head} head on {tap}, and its controls")


def warn_of_dead_heads(scores: Sequence[Scores]) -> list[str]:
    """A head whose ReLUs have all died scores every sample alike; its 0.500 is a failed training, not a finding."""
    dead = sorted(
        {
            f"{part.scorer} on {part.tap}{'' if part.model == AUDITED else f', {part.model} copy'} (seed {part.seed})"
            for part in scores
            if np.ptp(part.logit) == 0
        }
    )
    return [f"Failed trainings, the same score for everybody: {', '.join(dead)}. Try another --seed."] if dead else []


def roc(part: Scores) -> plots.Curve:
    """Returns the ROC curve of scores whose membership is known."""
    if part.is_member is None:
        raise InputError(f"Expected scores with known membership, received {part.evaluation!r} without.")
    return metrics.roc_curve(part.is_member, part.score)


def summary(run: mint_run.Run, results: Sequence[ResultRow]) -> str:
    """Returns the table with its legend."""
    main = run.protocol.main_evaluation
    table = tables.mint_table(results, run.config.head, main)
    others, whom = ("people", "whom") if mint_options.framing(run.config).is_face else ("pictures", "that")
    legend = _LEGEND.format(main=main.replace("_", " "), others=others, whom=whom)
    notes = run_baselines.notes(run.protocol, run.aad, results, mint_run.baseline_names(run))
    return "\n\n".join([table, legend, *notes, *_scan(run)])


def _scan(run: mint_run.Run) -> list[str]:
    """Says whether externals may be members; of the lab's drawn people everything is known."""
    if run.config.protocol is not None:
        return [make_protocol.scan_text(make_protocol.read_protocol(run.config.protocol)[1]["scan"])]
    is_lab = all(synthetic.is_synthetic(location) for location in run.protocol.table.location.tolist())
    return [] if is_lab else [make_protocol.scan_text(None)]


def describe(run: mint_run.Run) -> str:
    """Says in a few lines what is compared with what, and what could not be used."""
    table, part, met = run.protocol.table, run.protocol.part, run.aad.manifest
    framing = mint_options.framing(run.config)
    lines = [f"Audited model: {run.config.audited}"]
    names = {
        protocols.TRAIN_MEMBERS: "train, members", protocols.TRAIN_EXTERNALS: "train, externals",
        protocols.TEST_MEMBERS: "test, members", protocols.TEST_EXTERNALS: "test, externals",
        protocols.HELD_OUT: "held-out people" if framing.is_face else "held out",
    }  # fmt: skip
    for key, name in names.items():
        chosen = table.take(part == key)
        databases = ", ".join(np.unique(chosen.database)) or "none given"
        lines.append(
            f"{name + ':':17} {len(chosen):6} images, {len(np.unique(chosen.people())):5} identities ({databases})"
        )
    if (run.config.out / run_aad.PRECISION).is_file():
        lines.append(_precision(formats.read_json(run.config.out / run_aad.PRECISION)))
    if (run.config.out / run_aad.SOURCE).is_file():
        choice = formats.read_json(run.config.out / run_aad.SOURCE)
        lines.append(f"AAD {choice['source']} ({choice['asked']} was asked for): {choice['why']}.")
    if run.config.pooling != pooling.MAX:
        lines.append(f"Heads take the {run.config.pooling} of every channel; the paper's take its maximum.")
    if met["resized"]:
        counts = ", ".join(f"{name} {count}" for name, count in met["resized"].items())
        lines.append(f"{framing.why_resized()}: {counts}. Heads may tell databases by this alone.")
    if framing.native:
        lines.append(f"Larger images were first shrunk to {framing.native}x{framing.native} (--native-resolution).")
    if met["rejected"]:
        lines.append(f"{met['rejected']} files could not be used: {run.config.out / formats.REJECTED}")
    return "\n".join(lines)


def _precision(measured: dict) -> str:
    cosines = ", ".join(f"{tap} {cosine:.6f}" for tap, cosine in measured["cosine"].items())
    return (
        f"AAD in {measured['precision']}. The lower precision runs {measured['speedup']:.2f} times as fast as float32 "
        f"here; smallest cosine with it: {cosines}."
    )
