"""Whether a TFLite scorer says of faces what its Keras model says of them: as scores, decisions and membership."""

from __future__ import annotations

import collections
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras.audited import litert
from mint_keras.data import protocol
from mint_keras.edge import cost
from mint_keras.records import RefusedError, Scores
from mint_keras.statistics import figures, paired

TOLERANCE = 0.005  # of the AUC: what a second training of the same head moves it by is several times as much
_NAMES = (figures.AUC, figures.TPR_AT_1)
_THREADS = ("1", "2")
_ROUNDS = 3


def compare(reference: Sequence[Scores], received: Sequence[Scores]) -> dict[str, Any]:
    """Compares the scores of an artefact with those of its Keras model.

    Args:
        reference: of Keras in float32, one for each evaluation.
        received: of the artefact, for the same samples in the same order.

    Returns:
        Over all faces, each once: "faces", "max_logit_difference", "mean_logit_difference", "decision_flips". And
        "evaluations": by name, Keras' AUC and TPR at 1% FPR, and the artefact's changes of both as value, low, high:
        95% intervals over people, paired (`statistics.paired`).

    Raises:
        RefusedError: if some logits of the artefact are no numbers.
    """
    if not all(np.isfinite(part.logit).all() for part in received):
        raise RefusedError("Expected logits that are numbers, received NaN or infinity from the TFLite file.")
    difference, flips = _by_face(reference, received)
    return {
        "faces": len(difference),
        "max_logit_difference": float(difference.max()),
        "mean_logit_difference": float(difference.mean()),
        "decision_flips": int(flips.sum()),
        "evaluations": {
            before.evaluation: _changes(before, after) for before, after in zip(reference, received, strict=True)
        },
    }


def _by_face(reference: Sequence[Scores], received: Sequence[Scores]) -> tuple[np.ndarray, np.ndarray]:
    """An evaluation shares its faces with others: each counts once."""
    ids = np.concatenate([part.samples.sample_id for part in reference])
    _, rows = np.unique(ids, return_index=True)
    before, after = (np.concatenate([part.logit for part in parts])[rows] for parts in (reference, received))
    return np.abs(after.astype(np.float64) - before), (before > 0) != (after > 0)


def _changes(before: Scores, after: Scores) -> dict[str, Any]:
    changes = paired.difference([after], [before], names=_NAMES)
    plain = {
        name: float(value[0])
        for name, value in figures.figures(before, np.ones((1, len(before.logit))), _NAMES).items()
    }
    intervals = {f"{name}_change": [e.value, e.low, e.high] for name, e in changes.items()}
    return {"num_samples": len(before.logit), **plain, **intervals}


def check(comparison: Mapping[str, Any], tolerance: float = TOLERANCE) -> str:
    """Says why an artefact is not what it stands for; "" if it is.

    It is refused if the AUC of an evaluation may have dropped by more than the tolerance: if the lower end of the
    change's interval lies below. `familiar` is left out, whose AUC is no evidence of membership.
    """
    drops = {
        name: -found["auc_change"][1] for name, found in comparison["evaluations"].items() if name != protocol.FAMILIAR
    }
    worst = max(drops, key=lambda name: drops[name])
    if drops[worst] <= tolerance:
        return ""
    value = -comparison["evaluations"][worst]["auc_change"][0]
    return f"its AUC on {worst} dropped by {value:.4f}, and may have dropped by {drops[worst]:.4f}, over {tolerance:g}"


def check_alive(reference: Sequence[Scores]) -> None:
    """Raises RefusedError for a head that gives every face the same score: any artefact would agree with it."""
    logits = np.concatenate([part.logit for part in reference])
    if float(np.ptp(logits)) <= 1e-6 * max(1.0, float(np.abs(logits).max())):
        raise RefusedError(
            f"Expected a head that tells faces apart, received one that gives all of them the logit {logits[0]:.4g}: "
            "its training failed. Export another seed or tap."
        )


def describe(content: bytes) -> dict[str, Any]:
    """Returns the size of a TFLite file, plain and zipped, and how often it uses which operation."""
    kinds = collections.Counter(kind for kind, _ in litert.operations(content))
    return {
        "bytes": len(content),
        "zipped_bytes": len(zlib.compress(content, 9)),
        "operations": dict(sorted(kinds.items())),
    }


def costs(models: Mapping[str, Path], faces: Path) -> dict[str, dict[str, Any]]:
    """Measures artefacts in turns, so that all meet the same machine; of several, the quietest of three rounds counts.

    Args:
        models: TFLite files by name.
        faces: see `cost.measure`.

    Returns:
        By name: "latency_ms", by number of threads {"p50", "p95"}, and "rss_mib".
    """
    rounds = [
        {name: cost.measure(path, faces) for name, path in models.items()}
        for _ in range(_ROUNDS if len(models) > 1 else 1)
    ]
    return {
        name: {
            "latency_ms": {threads: _latency([found[name][threads] for found in rounds]) for threads in _THREADS},
            "rss_mib": rounds[0][name]["rss_mib"],
        }
        for name in models
    }


def _latency(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    p50, p95 = np.percentile(min(rounds, key=np.median), [50, 95]).tolist()
    return {"p50": p50, "p95": p95}


def recommend(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the accepted artefact with the smallest median latency on one thread.

    Raises:
        RefusedError: if none was accepted.
    """
    accepted = {name: record for name, record in records.items() if not record["refused"]}
    if not accepted:
        reasons = "; ".join(f"{name}: {record['refused']}" for name, record in records.items())
        raise RefusedError(
            f"Expected an artefact that keeps the AUC, received none: {reasons}. --force takes it all the same."
        )
    return min(accepted, key=lambda name: accepted[name]["latency_ms"]["1"]["p50"])
