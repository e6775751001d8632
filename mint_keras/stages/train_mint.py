"""Stage: train the heads of a run, evaluate them, and say what the numbers mean."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np

from mint_keras import formats
from mint_keras.audit import metrics
from mint_keras.data import protocol as protocols
from mint_keras.records import ResultRow, Scores
from mint_keras.report import plots, tables
from mint_keras.stages import mint_run

_LEGEND = """Cells: accuracy, AUC, TPR at 1% FPR; chance is 0.500, 0.500, 0.010.
  audited model   members against externals ({main})
  untrained copy  the same through a network that was never trained: what the databases alone give away
  same database   members against people of their own database whom the model never saw: only membership differs
  familiar        those people, falsely claimed to be members, against the externals: none of it is membership"""


def train_mint(config: mint_run.TrainMint) -> str:
    """Extracts AAD, trains a head per tap and combination, evaluates them, and returns the table."""
    run = mint_run.open_run(config)
    mint_run.fit_heads(run)
    scores, results = mint_run.evaluate_heads(run)
    write_evaluation(run, scores, results)
    written = f"Written: {config.out / formats.RESULTS}, {formats.SCORES}, heads/, roc.png"
    return f"{describe(run)}\n\n{summary(run, results)}\n\n{written}"


def write_evaluation(run: mint_run.Run, scores: Sequence[Scores], results: Sequence[ResultRow]) -> None:
    """Writes scores.csv, results.jsonl, rejected.csv and the ROC picture into the run's folder."""
    out, main = run.config.out, run.protocol.main_evaluation
    rejected = out / "aad" / formats.REJECTED
    if rejected.is_file():
        shutil.copyfile(rejected, out / formats.REJECTED)
    formats.write_scores(out / formats.SCORES, scores)
    formats.write_results(out / formats.RESULTS, results)
    curves = {
        part.tap: metrics.roc_curve(part.is_member, part.score)
        for part in scores
        if (part.scorer, part.evaluation) == (run.config.head, main) and part.is_member is not None
    }
    plots.save_roc(out / "roc.png", curves, f"{run.config.head} head, {main.replace('_', ' ')}")


def summary(run: mint_run.Run, results: Sequence[ResultRow]) -> str:
    """Returns the table with its legend."""
    main = run.protocol.main_evaluation
    table = tables.mint_table(results, run.config.head, main)
    return f"{table}\n\n{_LEGEND.format(main=main.replace('_', ' '))}"


def describe(run: mint_run.Run) -> str:
    """Says in a few lines what is compared with what, and what could not be used."""
    table, part, met = run.protocol.table, run.protocol.part, run.aad.manifest
    lines = [f"Audited model: {run.config.audited}"]
    names = {
        protocols.TRAIN_MEMBERS: "train, members", protocols.TRAIN_EXTERNALS: "train, externals",
        protocols.TEST_MEMBERS: "test, members", protocols.TEST_EXTERNALS: "test, externals",
        protocols.HELD_OUT: "held-out people",
    }  # fmt: skip
    for key, name in names.items():
        chosen = table.take(part == key)
        databases = ", ".join(np.unique(chosen.database)) or "none given"
        lines.append(
            f"{name + ':':17} {len(chosen):6} images, {len(np.unique(chosen.people())):5} identities ({databases})"
        )
    if met["resized"]:
        counts = ", ".join(f"{name} {count}" for name, count in met["resized"].items())
        lines.append(f"Not 112x112, so resized without alignment: {counts}. Heads may tell databases by this alone.")
    if met["rejected"]:
        lines.append(f"{met['rejected']} files could not be used: {run.config.out / formats.REJECTED}")
    return "\n".join(lines)
