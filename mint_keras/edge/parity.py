"""Says whether a TFLite scorer agrees with its Keras model: in scores, in decisions, and in what shows membership."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mint_keras.data import protocol
from mint_keras.edge.scorer import THREADS
from mint_keras.records import RefusedError, Scores
from mint_keras.report import tables
from mint_keras.statistics import figures, paired

# An auditor may report 0.01 of AUC, and half of that must not be made by rounding. A second training of the same head
# moves the AUC by several times as much.
TOLERANCE = 0.005
_EQUAL = 1e-4  # logits: kernels of float32 differ by less
_NAMES = (figures.AUC, figures.TPR_AT_1)


def compare(reference: Sequence[Scores], received: Sequence[Scores]) -> dict[str, Any]:
    """Compares an artefact's scores with those of Keras, evaluation by evaluation, for the same samples in one order.

    Returns:
        Over all faces: "faces", "max_logit_difference", "mean_logit_difference", "decision_flips". And "evaluations":
        by name, the AUC and TPR at 1% FPR of Keras, and the artefact's change of each as value, low and high of a 95%
        interval over people, paired (`statistics.paired`).
    """
    # An evaluation shares its faces with others; each face counts once.
    ids = np.concatenate([part.samples.sample_id for part in reference])
    _, rows = np.unique(ids, return_index=True)
    before, after = (np.concatenate([part.logit for part in parts])[rows] for parts in (reference, received))
    difference = np.abs(after.astype(np.float64) - before)
    evaluations = {}
    for ours, theirs in zip(received, reference, strict=True):
        plain = figures.figures(theirs, np.ones((1, len(theirs.logit))), _NAMES)
        changes = paired.difference([ours], [theirs], names=_NAMES)
        evaluations[theirs.evaluation] = {
            "num_samples": len(theirs.logit),
            **{name: float(value[0]) for name, value in plain.items()},
            **{f"{name}_change": [change.value, change.low, change.high] for name, change in changes.items()},
        }
    return {
        "faces": len(difference),
        "max_logit_difference": float(difference.max()),
        "mean_logit_difference": float(difference.mean()),
        "decision_flips": int(((before > 0) != (after > 0)).sum()),
        "evaluations": evaluations,
    }


def check(comparison: Mapping[str, Any], tolerance: float = TOLERANCE) -> str:
    """Returns why an artefact is refused: the AUC of an evaluation may have dropped by more than the tolerance; or "".

    The lower end of the change's interval decides.
    """
    # Membership decides, not cosines, and a rise does not refuse. `familiar` does not count, whose AUC is no evidence
    # of membership. Small runs are refused for being small, because nobody knows what they lost.
    changes = {name: found["auc_change"] for name, found in comparison["evaluations"].items()}
    # But for equal logits, of which nothing is uncertain.
    end = int(comparison["max_logit_difference"] > _EQUAL or comparison["decision_flips"] > 0)
    worst = min((name for name in changes if name != protocol.FAMILIAR), key=lambda name: changes[name][end])
    drop, low = max(0.0, -changes[worst][0]), changes[worst][end]
    if -low <= tolerance:
        return ""
    return f"its AUC on {worst} dropped by {drop:.4f}, and may have dropped by {-low:.4f}, over {tolerance:g}"


def check_alive(reference: Sequence[Scores]) -> None:
    """Raises RefusedError for a head that gives every face the same score."""
    logits = np.concatenate([part.logit for part in reference])
    # Any artefact would agree with a head that died.
    if float(np.ptp(logits)) <= 1e-6 * max(1.0, float(np.abs(logits).max())):
        received = f"received one that gives all of them the logit {logits[0]:.4g}: its training failed"
        raise RefusedError(f"Expected a head that tells faces apart, {received}. Export another seed or tap.")


def recommend(records: Mapping[str, Mapping[str, Any]], force: bool = False) -> str:
    """Returns the name of the accepted artefact, or of any by force, with the smallest median latency on one thread.

    Raises:
        RefusedError: if none was accepted.
    """
    accepted = {name: record for name, record in records.items() if force or not record["refused"]}
    if not accepted:
        reasons = "; ".join(f"{name}: {record['refused']}" for name, record in records.items())
        raise RefusedError(
            f"Expected an artefact that keeps the AUC, received none: {reasons}. --force takes it all the same."
        )
    return min(accepted, key=lambda name: accepted[name]["latency_ms"]["1"]["p50"])


def table(records: Mapping[str, Mapping[str, Any]], chosen: str) -> str:
    """Returns a Markdown table of what was measured, with a star at the choice, and why artefacts were refused."""
    # The manifest also has the changes on `familiar`, whose AUC is no evidence of membership.
    evaluations = [name for name in next(iter(records.values()))["evaluations"] if name != protocol.FAMILIAR]
    header = ["artefact", "MiB", "zipped", "logit, max", "mean", "flips"]
    header += [f"{name}: {figure}" for name in evaluations for figure in ("AUC", "TPR at 1%")]
    header += ["ms p50/p95", "2 threads", "RSS MiB", "accepted"]
    rows = [header]
    for name, record in records.items():
        found = [record["evaluations"][evaluation] for evaluation in evaluations]
        changes = [entry[f"{figure}_change"] for entry in found for figure in _NAMES]
        rows.append([
            name + ("*" if name == chosen else ""),
            *(f"{record[size] / 2**20:.2f}" for size in ("bytes", "zipped_bytes")),
            *(f"{record[kind + '_logit_difference']:.2g}" for kind in ("max", "mean")),
            f"{record['decision_flips']}/{record['faces']}",
            *(f"{value:+z.4f} [{low:+z.4f}, {high:+z.4f}]" for value, low, high in changes),
            *("{p50:.2f}/{p95:.2f}".format(**record["latency_ms"][threads]) for threads in THREADS),
            f"{record['rss_mib']:.0f}" if record["rss_mib"] else "-",
            "no" if record["refused"] else "yes",
        ])  # fmt: skip
    reasons = [f"{name} is refused: {record['refused']}." for name, record in records.items() if record["refused"]]
    return "\n".join([tables.format_table(rows), *([""] if reasons else []), *reasons])
