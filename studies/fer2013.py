r"""Audit a network that nobody here trained: checkpoints of a public emotion network, whose training photos are known.

mini-Xception of oarriaga/face_classification was trained on the photos of FER2013 that are marked Training; PublicTest
and PrivateTest were kept out. So there are members, others of the same database, and two sides neither of which was
used. Photos have classes, and nobody knows who is on them: each counts as a person of its own. Near copies on one side
are one person, and those on both sides are left out.

Examples:
    python scripts/fer2013.py --models fer2013_mini_xception --data fer2013 --out runs/fer2013
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mint_keras import formats, progress, score_files, shelf
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import REFERENCE, InputError

if TYPE_CHECKING:
    from mint_keras.records import Observations, Scores
    from mint_keras.scorers.contract import Scorer
    from mint_keras.statistics.verdict import Verdict
    from studies.worlds.emotions import Photos

KIND, RESULTS, TEXT = "fer2013", "fer2013.json", "fer2013.md"
_NUM_UNTRAINED = 3
_NUM_LOOKED_AT = 1000  # photos of a side that the look network sees
_NO_LOOK = "Nobody knows who is on these photos, so no network can be shown to know them."


@dataclasses.dataclass(frozen=True)
class Fer2013(Common):
    """Options of fer2013.py.

    Attributes:
        models: Folder of the checkpoints, epoch_NNN.hdf5; attacks on one have those before it as references.
        data: Folder with training, public_test and private_test, each with a folder for every emotion.
        out: Folder for fer2013.md and fer2013.json, and for what they rest on. An interrupted study goes on there.
        look: A network of faces, which looks at some of the photos.
        photos: Photos of a side, drawn by lot among those without a copy on the other; 0 takes all.
        seed: Seed of folds, copies and intervals.
    """

    models: Path
    data: Path
    out: Path
    look: Path = Path("dlib")
    photos: int = 0
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Fer2013Audit(Result):
    """The content of fer2013.json."""

    content: dict[str, Any]


def fer2013(options: Fer2013) -> Fer2013Audit:
    """Attacks every checkpoint, decides on it by the rule, and writes both down."""
    from studies.worlds import emotions

    checkpoints = sorted(options.models.glob("epoch_*.hdf5"))
    if not checkpoints:
        raise InputError(f"Expected checkpoints epoch_NNN.hdf5 in {options.models}, received none.")
    inputs = {path.stem: formats.sha256_file(path) for path in checkpoints}
    inputs["look"] = formats.sha256_file(shelf.find(options.look) / formats.MODEL)
    manifest = formats.make_manifest(KIND, inputs, {"photos": options.photos, "seed": options.seed})
    with formats.output_folder(options.out, manifest, options.overwrite):
        photos = emotions.read_photos(options.data, options.out).draw(options.photos, options.seed)
        content: dict[str, Any] = {"copies": photos.copies, "checkpoints": {}}
        content["photos"] = {part: int((photos.part == part).sum()) for part in emotions.PARTS}
        for number, path in enumerate(progress.bar(checkpoints, desc="checkpoints", unit="checkpoint"), start=1):
            make = functools.partial(_audited, options, photos, checkpoints[:number])
            kept = options.out / f"{path.stem}.json"
            content["checkpoints"][path.stem] = formats.kept(kept, make, formats.write_json, formats.read_json)
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, render(content))
    return Fer2013Audit(f"{render(content)}\nWritten: {options.out / TEXT}, {RESULTS}", content)


def _audited(options: Fer2013, photos: Photos, checkpoints: Sequence[Path]) -> dict[str, Any]:
    """Returns what attacks find in the last checkpoint, beside those before it, and the verdicts on it."""
    from mint_keras.auditing import attacks
    from mint_keras.statistics import figures, intervals
    from studies.worlds import emotions

    *before, path = checkpoints
    seen = _seen(options.out, photos, path)
    beside = seen
    for one in before:
        other = _seen(options.out, photos, one)
        beside = beside.adding(**{f"{REFERENCE}_{one.stem}": other["outcome"]})
        beside = beside.adding(**{f"{emotions.MIRRORED}_{one.stem}": other[emotions.MIRRORED]})
    tried = [*attacks.recipes(beside, photos.is_member), ("joint", emotions.Joint(), seen)]
    tried += [("joint_with_references", emotions.Joint(), beside)] if before else []
    scores = {name: _kept(options, path.stem, name, recipe, shown, photos.is_member) for name, recipe, shown in tried}
    ranked = attacks.best_first(attacks.summarise(name, [part], 0.0, options.seed) for name, part in scores.items())
    loss, out = scores["loss"], ~photos.is_member
    null = dataclasses.replace(
        loss, samples=photos.table.take(out), is_member=photos.part[out] == emotions.PUBLIC, logit=loss.logit[out]
    )
    is_right = np.argmax(seen["outcome"], axis=1) == photos.label
    auc = intervals.estimate([null], seed=options.seed, names=[figures.AUC], method="student")[figures.AUC]
    return {
        "accuracy": {part: float(is_right[photos.part == part].mean()) for part in emotions.PARTS},
        "attacks": [dataclasses.asdict(one) for one in ranked],
        "public against private": dataclasses.asdict(auc),
        "verdicts": [one.to_dict() for one in _decided(options, photos, path, loss)],
    }


def _kept(
    options: Fer2013, folder: str, name: str, recipe: Scorer, seen: Observations, is_member: np.ndarray
) -> Scores:
    """Returns cross-fitted scores under a name; what is there is read."""
    from mint_keras.data import protocol
    from mint_keras.scorers.contract import cross_fit

    def make() -> list[Scores]:
        part = cross_fit(recipe, seen, is_member, protocol.SAME_DATABASE, options.seed)
        return [dataclasses.replace(part, scorer=name)]

    path = options.out / folder / f"{name}.csv"
    return formats.kept(path, make, score_files.write_scores, score_files.read_scores)[0]


def _seen(out: Path, photos: Photos, path: Path, copy: int = 0) -> Observations:
    """Returns what a checkpoint, or an untrained copy of it, gives of all photos; what is there is read."""
    from mint_keras.aad import observe
    from mint_keras.audited import recalibration
    from mint_keras.records import Observations
    from mint_keras.scorers.attacks import LABEL
    from mint_keras.scorers.baselines import FIRST_MAXIMA
    from studies import arrays
    from studies.worlds import emotions

    def make() -> Mapping[str, np.ndarray]:
        model = emotions.open_checkpoint(path)
        if copy:
            model = recalibration.recalibrated_copy(model, photos.faces[::8], copy, emotions.normalise)
        return observe.run(emotions.face_function(model), photos.faces)

    # An untrained copy has of the checkpoint its architecture, and the scale of the logits: that of the first will do.
    name = f"untrained_{copy}" if copy else path.stem
    found = formats.kept(out / f"{name}.npz", make, arrays.write, arrays.read)
    return Observations(photos.table, {**found, LABEL: photos.label, FIRST_MAXIMA: found["conv1_max"]})


def _blind(options: Fer2013, photos: Photos) -> dict[str, Scores]:
    """Returns what knows nothing of the audited network, by name; scores that are there are read."""
    from mint_keras.aad import observe
    from mint_keras.auditing import look
    from mint_keras.data import images, protocol
    from mint_keras.records import Observations
    from mint_keras.scorers import blind
    from mint_keras.scorers.attacks import LABEL
    from mint_keras.scorers.contract import cross_fit
    from mint_keras.scorers.look import Look
    from mint_keras.statistics import findings
    from studies.worlds import emotions

    def make() -> list[Scores]:
        pixels = observe.run(blind.features, photos.faces, blind.BATCH_SIZE, is_filled=False)
        seen = Observations(photos.table, {**pixels, LABEL: photos.label})
        recipes: list[Scorer] = [blind.PixelStatistics(), emotions.ClassAlone()]
        fits = [(recipe, seen, photos.is_member) for recipe in recipes]
        rng = np.random.default_rng(options.seed)
        sides = (np.flatnonzero(photos.is_member), np.flatnonzero(~photos.is_member))
        rows = np.sort(np.concatenate([rng.permutation(side)[:_NUM_LOOKED_AT] for side in sides]))
        faces = np.stack([images.FACE.apply(face) for face in photos.faces[rows]])
        some = Observations(photos.table.take(rows), observe.run(look.embedder(options.look), faces))
        fits.append((Look(name=findings.LOOK), some, photos.is_member[rows]))
        return [cross_fit(*fit, protocol.SAME_DATABASE, options.seed) for fit in fits]

    path = options.out / "blind" / formats.SCORES
    return {one.scorer: one for one in formats.kept(path, make, score_files.write_scores, score_files.read_scores)}


def _decided(options: Fer2013, photos: Photos, path: Path, loss: Scores) -> list[Verdict]:
    """Returns two verdicts by the loss: by the rule as it is, and as if the look network were known to be good."""
    from mint_keras.data import protocol
    from mint_keras.records import UNTRAINED
    from mint_keras.scorers.attacks import Attack
    from mint_keras.statistics import division, findings, paired, rule, verdict

    seed = options.seed
    # A small loss is a member's by what training is: no label set the sign.
    controls = {"known sign": (findings.DIRECTION, loss)}
    controls["nobody a member"] = findings.NULL, division.without_membership([loss], seed)[0]
    for name, scores in _blind(options, photos).items():
        controls[name] = findings.LOOK if name == findings.LOOK else findings.BLIND, scores
    for copy in range(1, _NUM_UNTRAINED + 1):
        seen = _seen(options.out, photos, path, copy)
        scores = _kept(options, f"{UNTRAINED}_{copy}", "loss", Attack("loss"), seen, photos.is_member)
        controls[f"{UNTRAINED} {copy}"] = findings.UNTRAINED, scores
    measured = [findings.reference(*rule.REFERENCES[protocol.SAME_DATABASE], findings.PERSON, [loss], seed=seed)]
    for name, (role, scores) in controls.items():
        shared, of = (scores, loss) if role in (findings.NULL, findings.DIRECTION) else paired.shared([scores, loss])
        what = (name, findings.ROLES[role], role)
        measured.append(findings.control(what, [shared], measured[0], [of], seed=seed))
    tainted = {protocol.SAME_DATABASE: verdict.taints(measured)}
    strict = [one for one in measured if one.role != findings.LOOK]
    return [verdict.decide(strict, tainted, {findings.LOOK: _NO_LOOK}), verdict.decide(measured)]


def render(content: Mapping[str, Any]) -> str:
    """Returns the tables of docs/results: checkpoints, and attacks."""
    from mint_keras.report.tables import format_table
    from mint_keras.statistics.intervals import Estimate

    checkpoints = content["checkpoints"]
    rows = [["", *(f"epoch {int(name[-3:])}" for name in checkpoints)]]
    parts = {"training": "members", "public_test": "PublicTest", "private_test": "PrivateTest"}
    for part, said in parts.items():
        rows.append([f"accuracy, {said}", *(f"{one['accuracy'][part]:.3f}" for one in checkpoints.values())])
    null = "public against private"
    rows.append([f"loss, {null}: AUC", *(str(Estimate(**one[null])) for one in checkpoints.values())])
    verdicts = [one["verdicts"] for one in checkpoints.values()]
    for place, finding in enumerate(verdicts[0][1]["findings"]):
        aucs = [str(Estimate(**of[1]["findings"][place]["auc"])) for of in verdicts]
        rows.append([f"loss, {finding['name']}: AUC", *aucs])
    for place, said in enumerate(("verdict", "verdict, if the look network counts")):
        rows.append([said, *(of[place]["outcome"] for of in verdicts)])
    every = list(dict.fromkeys(a["name"] for one in reversed(checkpoints.values()) for a in one["attacks"]))
    figures = {"auc": "AUC", "tpr_at_1_fpr": "TPR at 1% FPR", "tnr_at_1_fnr": "TNR at 1% FNR"}
    attacks = [["attack", *(f"AUC, epoch {int(name[-3:])}" for name in checkpoints), *list(figures.values())[1:]]]
    for name in every:
        of = [next((a["photos"] for a in one["attacks"] if a["name"] == name), None) for one in checkpoints.values()]
        aucs = ["-" if photos is None else str(Estimate(**photos["auc"])) for photos in of]
        last = [str(Estimate(**of[-1][figure])) if of[-1] else "-" for figure in list(figures)[1:]]
        attacks.append([name.replace("_", " "), *aucs, *last])
    return f"{format_table(rows)}\n\n{format_table(attacks)}"
