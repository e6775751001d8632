"""Attacks beside one another: every scorer of membership, ours and published ones, on people of whom it is known."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, progress, score_files, shelf
from mint_keras.aad import pooling, views
from mint_keras.aad.observe import observe
from mint_keras.audited import engines, iresnet, taps, zoo
from mint_keras.auditing import look as looks
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.records import REFERENCE, InputError, Observations, SampleTable, Scores
from mint_keras.scorers import attacks, log_odds, mint_plus
from mint_keras.scorers.baselines import FIRST_MAXIMA
from mint_keras.scorers.contract import Scorer, cross_fit
from mint_keras.scorers.direction import Direction
from mint_keras.scorers.head import Head
from mint_keras.scorers.ingredients import IDENTITY, IMAGE
from mint_keras.statistics import division, figures, intervals
from mint_keras.statistics.intervals import Estimate
from mint_keras.training import batches

_FIGURES = {
    figures.AUC: "AUC per photo",
    figures.TPR_AT_1: "TPR at 1% FPR",
    "tpr_at_0.1_fpr": "TPR at 0.1% FPR",
    figures.TNR_AT_1: "TNR at 1% FNR",
}


@dataclasses.dataclass(frozen=True)
class AttackSpec:
    """What is attacked. `mint attacks --help` says what each field is."""

    audited: Path
    members: str = ""
    others: str = ""
    reference: tuple[Path, ...] = ()
    scores: tuple[Path, ...] = ()
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Ranked:
    """What an attack finds: figures of photos, and the AUC of the mean of a person's; seconds of CPU, 0 if unknown.

    There is no figure of persons where each has photos on both sides.
    """

    name: str
    num_photos: int
    photos: dict[str, Estimate]
    person: Estimate | None
    seconds: float


def measure(spec: AttackSpec) -> tuple[list[Ranked], list[Scores]]:
    """Returns what every attack finds, the best first, and the scores behind it.

    Raises:
        InputError: if a sample is on both sides or cannot be read, some people are on both and some are not, or scores
            are of other samples.
    """
    seen, is_member = look(spec)
    return rank(seen, is_member, spec.scores, spec.seed)


def look(spec: AttackSpec) -> tuple[Observations, np.ndarray]:
    """Returns what the audited model and the references give of members and others, and who is a member, (n,).

    Where the others are photos of the members' people only these people are looked at: which photos were used is the
    question.
    """
    folder = shelf.find(spec.audited)
    sides = [
        samples.list_samples(given or str(folder / name))
        for given, name in ((spec.members, formats.MEMBERS), (spec.others, formats.HELD_OUT))
    ]
    samples.check_databases(zip((spec.members, spec.others), sides, strict=True))
    members, others = (side.people() for side in sides)
    is_known = np.isin(others, members)
    by_image = bool(is_known.all())
    if is_known.any() and not by_image:
        raise InputError(
            f"Expected others who are not the members' people, or other photos of the members' people only, received "
            f"{len(np.unique(others[is_known]))} of {len(np.unique(others))} people on both sides, such as "
            f"{str(others[is_known][0])!r}. Leave them out."
        )
    if by_image:
        sides[0] = sides[0].take(np.isin(members, others))
    is_of_faces, table = zoo.kind_of(folder) == zoo.KIND, samples.join(sides)
    framing = zoo.framing(folder)
    shown = iresnet.normalise(images.first_faces(table, batches.CLASS_BATCH, framing))
    opener = engines.opener([], shown, len(table) * views.NUM_PASSES)
    function = views.face_function(zoo.load_audited(folder, zoo.kind_of(folder)), opener=opener)
    seen = observe(table, function, framing)
    found = dict(seen.arrays)
    if (first := pooling.array_name(taps.CONV_TAPS[0], pooling.MAX)) in found:
        found[FIRST_MAXIMA] = found[first]
    if not is_of_faces:
        classes = formats.read_manifest(folder, zoo.CLASSIFIER)["classes"]
        names = [str(name) for name in samples.attribute(seen.table, "class")]
        if strange := sorted(set(names) - set(classes)):
            raise InputError(f"Expected pictures of the {len(classes)} classes of {folder}, received {strange[0]!r}.")
        found[attacks.LABEL] = np.array([classes.index(name) for name in names])
    for number, path in enumerate(spec.reference, start=1):
        name = f"{REFERENCE}_{number:03d}"
        with_views = is_of_faces and len(spec.reference) == 1
        found |= looks.as_reference(name, looks.embed(path, seen.table, 0, with_views).arrays)
        if (listed := shelf.find(path) / formats.MEMBERS).is_file():
            table, trained_on = seen.table, samples.list_samples(str(listed))
            by_person = is_of_faces and not by_image
            ours, theirs = (of.people() if by_person else of.sample_id for of in (table, trained_on))
            found[f"{attacks.IS_IN}{name}"] = np.isin(ours, theirs)
    return Observations(seen.table, found), np.isin(seen.table.sample_id, sides[0].sample_id)


def rank(
    seen: Observations, is_member: np.ndarray, others: Sequence[Path] = (), seed: int = 1, with_heads: bool = True
) -> tuple[list[Ranked], list[Scores]]:
    """Does what `measure` does with what was seen already.

    Args:
        seen: What `look` returns, or its like.
        is_member: Which of the samples are members, (n,), bool.
        others: Files of scores by somebody else's attack.
        seed: Seeds folds, fits and intervals.
        with_heads: Whether the paper's heads are tried, which take most of the time.
    """
    theirs = [(path, part) for path in others for part in _of_somebody(path, seen.table, is_member)]
    ranked, scores = [], []
    for name, recipe, shown in progress.bar(list(recipes(seen, is_member, with_heads)), desc="attacks", unit="attack"):
        start = time.process_time()
        try:
            part = cross_fit(recipe, shown, is_member, protocols.SAME_DATABASE, seed)
        except InputError:  # too few people, or photos of each, for this one
            continue
        seconds = time.process_time() - start
        part = dataclasses.replace(part, scorer=name)
        if len(np.unique(np.asarray(part.is_member))) == 2:  # who was in no shadow has no score of some
            ranked.append(summarise(name, [part], seconds, seed))
            scores.append(part)
    for path, part in theirs:
        ranked.append(summarise(f"{part.scorer} ({path.name})", [part], 0.0, seed))
        scores.append(part)
    return best_first(ranked), scores


def recipes(
    seen: Observations, is_member: np.ndarray, with_heads: bool = True
) -> Iterator[tuple[str, Scorer, Observations]]:
    """Yields all that there is to try: how it is called, and on what it is fitted; see `rank`."""
    names = log_odds.references(seen)
    alone = Observations(seen.table, {key: values for key, values in seen.arrays.items() if key not in names})
    if attacks.LABEL not in seen.arrays:
        truth = IMAGE if _is_by_image(seen.people(), is_member) else IDENTITY
        for level in (mint_plus.PHOTO, mint_plus.WITH_OTHERS):  # of persons the latter is their score
            recipe = mint_plus.MintPlus(truth, level)
            yield f"mint_plus_{level}", recipe, alone
            if names:
                yield f"mint_plus_{level}_with_references", recipe, seen
        yield "known_signs", Direction(), alone
        if names:
            yield "log_odds_less_references", log_odds.LogOdds(), seen
    for name in attacks.available(seen):
        yield name, attacks.Attack(name), seen
    # The paper's own, and its adaptation of the attack [19] of Table 6.
    groups = {"mint": [tap for tap in taps.CONV_TAPS if f"{tap}_max" in seen.arrays], "mia_19": [taps.OUTCOME]}
    if with_heads and min(is_member.sum(), (~is_member).sum()) * 4 // 5 >= batches.CLASS_BATCH:
        for name, group in groups.items():
            if group:
                yield f"{name}_vanilla", Head("vanilla", tuple(group), name), seen


def summarise(name: str, parts: Sequence[Scores], seconds: float, seed: int) -> Ranked:
    """Returns what an attack finds, from its scores of one or several audited models."""
    photos = intervals.estimate(parts, seed=seed, names=list(_FIGURES), method="student")
    person = None
    if not any(_is_by_image(part.samples.people(), figures.membership(part)) for part in parts):
        persons = [division.mean_of_persons(part) for part in parts]
        person = intervals.estimate(persons, seed=seed, names=[figures.AUC], method="student")[figures.AUC]
    return Ranked(name, sum(len(part.logit) for part in parts), photos, person, seconds)


def _is_by_image(people: np.ndarray, is_member: np.ndarray) -> bool:
    """Says whether people have photos on both sides, so that photos and not people are members."""
    return bool(np.isin(people[is_member], people[~is_member]).any())


def best_first(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Returns attacks by the AUC of photos."""
    return sorted(ranked, key=lambda one: -one.photos[figures.AUC].value)


def _of_somebody(path: Path, table: SampleTable, is_member: np.ndarray) -> Iterator[Scores]:
    """Yields scores of a file with our knowledge of who is a member."""
    place = {name: row for row, name in enumerate(table.sample_id.tolist())}
    for part in score_files.read_scores(path):
        ids = part.samples.sample_id.tolist()
        if unknown := [name for name in ids if name not in place]:
            raise InputError(
                f"Expected scores of the members and others in {path}, received {len(unknown)} of other samples, such "
                f"as {unknown[0]!r}. Leave them out."
            )
        rows = np.array([place[name] for name in ids])
        yield dataclasses.replace(
            part, evaluation=protocols.SAME_DATABASE, samples=table.take(rows), is_member=is_member[rows]
        )


def table_of(ranked: Sequence[Ranked]) -> list[list[str]]:
    """Returns the rows of a table, the header first."""
    header = ["attack", "photos", *_FIGURES.values(), "AUC per person", "CPU seconds"]
    rows = [
        [
            one.name.replace("_", " "), str(one.num_photos), *(str(one.photos[name]) for name in _FIGURES),
            str(one.person or "-"), f"{one.seconds:.1f}" if one.seconds else "-",
        ]
        for one in ranked
    ]  # fmt: skip
    return [header, *rows]


def from_json(content: Mapping[str, Any]) -> Ranked:
    """Reads back what `dataclasses.asdict` made of an attack's figures."""
    photos = {name: Estimate(**value) for name, value in content["photos"].items()}
    person = Estimate(**content["person"]) if content["person"] else None
    return Ranked(content["name"], content["num_photos"], photos, person, content["seconds"])


def to_json(ranked: Sequence[Ranked]) -> str:
    """Returns a line of JSON for each attack."""
    return "".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in ranked)
